import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { documentsOf } from "../../../services/blacklist/documents.ts";
import { mutated } from "../../services/blacklist/detectors/mutations.ts";
import { eventually, startTestCloud, type TestCloud } from "../cloud.ts";

const HOUR = 3600;
const WEEK = 7 * 86_400;

/** What is blocked by default, and for ever: as long as a detector may. */
const [OWN, EVER] = [HOUR, WEEK];

type Expected = readonly (readonly [cidr: string, seconds: number])[];

const crowdsec = (...last: readonly number[]): Expected =>
  last.map((one) => [`203.0.113.${one}/32`, 4 * HOUR]);
const crowdsecV6: Expected = [["2001:db8::5/128", 4 * HOUR]];

/** Whom each request that was recorded is to block, and for how long. */
const RECORDINGS: Readonly<Record<string, readonly Expected[]>> = {
  fail2ban: [
    [["203.0.113.9/32", 6]],
    [["2001:db8::5/128", 6]],
    [["203.0.113.60/32", 6]],
    [["198.51.100.0/28", 6]],
    [["203.0.113.9/32", 6]],
    [["203.0.113.99/32", 6]],
    [["203.0.113.99/32", 6]],
    [["203.0.113.99/32", 6]],
    [["203.0.113.99/32", 6]],
    [["203.0.113.99/32", 12]],
    [["203.0.113.9/32", 120]],
    [["203.0.113.9/32", 120]],
    [["2001:db8::5/128", EVER]],
  ],
  alertmanager: [
    [["203.0.113.9/32", OWN]],
    [
      ["2001:db8::5/128", OWN],
      ["203.0.113.21/32", OWN],
      ["203.0.113.22/32", OWN],
    ],
    [["203.0.113.31/32", OWN]],
    [["203.0.113.32/32", OWN]],
    [],
    [
      ["2001:db8::5/128", OWN],
      ["203.0.113.21/32", OWN],
    ],
    [
      ["203.0.113.41/32", OWN],
      ["203.0.113.42/32", OWN],
    ],
  ],
  crowdsec: [
    crowdsec(9),
    crowdsec(9),
    crowdsecV6,
    crowdsecV6,
    crowdsec(61, 62, 63),
    crowdsec(61, 62, 63),
    crowdsec(71, 72, 73),
    crowdsec(71, 72, 73),
  ],
};

/** How often each body is changed. */
const CHANGES = 100;

/** Each program has a token of its own, and so its own limits; here they are to be no matter. */
const names = Object.keys(RECORDINGS);
const tokenOf = (name: string) => `${name}-token-of-this-test`;
const CALLERS = JSON.stringify(
  names.map((name) => ({
    name,
    role: "detector",
    token: tokenOf(name),
    addressesPerMinute: 100_000,
  })),
);

type Answer = {
  readonly results?: readonly {
    readonly status: string;
    readonly cidr?: string;
    readonly expiresAt?: number;
    readonly withdraws?: boolean;
  }[];
};

function bodiesOf(name: string): readonly string[] {
  const file = new URL(
    `../../services/blacklist/detectors/fixtures/recordings/${name}.jsonl`,
    import.meta.url,
  );
  const requests = readFileSync(file, "utf8")
    .split("\n")
    .filter(Boolean)
    .map((line): { method: string; body: string } => JSON.parse(line));
  return requests.filter(({ method }) => method === "POST").map(({ body }) => body);
}

const nowSeconds = () => Date.now() / 1000;

describe("what real programs have posted, posted again", () => {
  let cloud: TestCloud;
  beforeAll(async () => {
    cloud = await startTestCloud({ CALLERS, REPEAT_PERCENT: "100" });
  }, 120_000);
  afterAll(() => cloud?.stop());

  async function post(name: string, body: string) {
    const response = await cloud.call(`/alerts/${name}`, {
      method: "POST",
      token: tokenOf(name),
      headers: { "content-type": "application/json" },
      body,
    });
    const { results = [] } = (await response.json()) as Answer;
    return {
      status: response.status,
      blocked: results.filter(({ status }) => status === "queued"),
    };
  }

  async function listed(): Promise<ReadonlyMap<string, number>> {
    type Page = { blocks: { cidr: string; expiresAt: number }[]; next: string | null };
    const ends = new Map<string, number>();
    for (let next: string | null = ""; next !== null; ) {
      const page = (await cloud.list(next ? `?next=${next}` : "")) as unknown as Page;
      for (const { cidr, expiresAt } of page.blocks) ends.set(cidr, expiresAt);
      next = page.next;
    }
    return ends;
  }

  test.each(names)(
    "%s: exactly the attackers are blocked, for the right time",
    async (name) => {
      const bodies = bodiesOf(name);
      const expected = RECORDINGS[name] ?? [];
      expect(bodies).toHaveLength(expected.length);
      const ends = new Map<string, number>();
      for (const [index, body] of bodies.entries()) {
        const atSeconds = nowSeconds();
        const { status, blocked } = await post(name, body);
        const all = expected[index] ?? [];
        expect(status).toBe(all.length > 0 ? 202 : 200);
        expect(blocked.map(({ cidr }) => cidr)).toEqual(all.map(([cidr]) => cidr));
        for (const [each, [cidr, seconds]] of all.entries()) {
          // A repeat folds for a tenth of the block's time, and is answered with the end of the first.
          const left = (blocked[each]?.expiresAt ?? 0) - atSeconds;
          expect(left).toBeLessThanOrEqual(seconds + (nowSeconds() - atSeconds));
          expect(left).toBeGreaterThanOrEqual(seconds - 1 - Math.min(60, seconds / 10));
          ends.set(cidr, Math.max(ends.get(cidr) ?? 0, blocked[each]?.expiresAt ?? 0));
        }
      }
      const lasting = [...ends].filter(([, end]) => end > nowSeconds() + 60);
      await eventually("the list has them all, until then at least", 30, async () => {
        const list = await listed();
        return lasting.every(([cidr, end]) => (list.get(cidr) ?? 0) >= end);
      });
    },
    120_000,
  );

  test("the list has no others, and the ACL denies none but those", async () => {
    const ends = new Map<string, number>();
    for (const [cidr, seconds] of Object.values(RECORDINGS).flat(2)) {
      ends.set(cidr, Math.max(ends.get(cidr) ?? 0, seconds));
    }
    for (const [cidr, end] of await listed()) {
      const most = ends.get(cidr);
      expect([cidr, most === undefined]).toEqual([cidr, false]);
      expect(end).toBeLessThanOrEqual(nowSeconds() + (most ?? 0) + 1);
    }
    expect([...ends.keys()]).toEqual(expect.arrayContaining(await cloud.denied()));
  }, 60_000);

  test.each(names)(
    `%s: changed in ${CHANGES} ways, no 5xx, and nobody else is blocked`,
    async (name) => {
      const cidrs = (RECORDINGS[name] ?? []).flat().map(([cidr]) => cidr);
      const attackers = new Set(cidrs);
      const statuses: Record<number, number> = {};
      for (const [index, body] of bodiesOf(name).entries()) {
        const documents = await documentsOf(Buffer.from(body), undefined);
        const changed = fc.sample(mutated(documents, attackers), {
          numRuns: CHANGES - 10,
          seed: index,
        });
        const torn = Array.from({ length: 10 }, (_, part) =>
          body.slice(0, Math.floor((body.length * part) / 10)),
        );
        const all = [...changed.map((one) => JSON.stringify(one) ?? ""), ...torn];
        while (all.length > 0) {
          const answers = await Promise.all(all.splice(0, 8).map((one) => post(name, one)));
          for (const { status, blocked } of answers) {
            statuses[status] = (statuses[status] ?? 0) + 1;
            expect(status).toBeLessThan(500);
            for (const { cidr } of blocked) expect(attackers).toContain(cidr);
          }
        }
      }
      // The changes must have reached what they are to try.
      expect(statuses[202]).toBeGreaterThan(0);
      expect(statuses[400]).toBeGreaterThan(0);
      expect(statuses[429]).toBeUndefined();
    },
    180_000,
  );

  test("after all of it the list has nobody but attackers", async () => {
    const attackers = Object.values(RECORDINGS)
      .flat(2)
      .map(([cidr]) => cidr);
    expect(attackers).toEqual(expect.arrayContaining([...(await listed()).keys()]));
  }, 60_000);
});
