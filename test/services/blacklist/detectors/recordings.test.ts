import { readFileSync } from "node:fs";
import { describe, expect, test } from "@jest/globals";
import { detectors } from "../../../../services/blacklist/detectors/index.ts";
import { documentsOf } from "../../../../services/blacklist/documents.ts";

type Recorded = { readonly method: string; readonly body: string };

/** What a real detector has posted, taken apart. */
async function saidBy(name: string) {
  const lines = readFileSync(
    new URL(`fixtures/recordings/${name}.jsonl`, import.meta.url),
    "utf8",
  ).split("\n");
  const requests = lines.filter(Boolean).map((line): Recorded => JSON.parse(line));
  const posts = requests.filter(({ method }) => method === "POST");
  return Promise.all(
    posts.map(async ({ body }) => {
      const documents = await documentsOf(Buffer.from(body), undefined);
      const said = documents.flatMap((one) => detectors.get(name)?.findings(one, {}) ?? []);
      return said.map((one) => ("ip" in one ? [one.ip, one.seconds] : one.notUnderstood));
    }),
  );
}

describe("what real programs have posted", () => {
  test("fail2ban", async () => {
    expect(await saidBy("fail2ban")).toEqual([
      [["203.0.113.9", 6]],
      [["2001:db8::5", 6]],
      [["203.0.113.60", 6]],
      [["198.51.100.0/28", 6]],
      [["203.0.113.9", 6]],
      [["203.0.113.99", 6]],
      [["203.0.113.99", 6]],
      [["203.0.113.99", 6]],
      [["203.0.113.99", 6]],
      [["203.0.113.99", 12]],
      [["203.0.113.9", 120]],
      [["203.0.113.9", 120]],
      [["2001:db8::5", Number.POSITIVE_INFINITY]],
    ]);
  });

  test("Alertmanager", async () => {
    const own = undefined;
    expect(await saidBy("alertmanager")).toEqual([
      [["203.0.113.9", own]],
      [
        ["2001:db8::5", own],
        ["203.0.113.21", own],
        ["203.0.113.22", own],
      ],
      [["203.0.113.31", own]],
      [["203.0.113.32", own]],
      [],
      [
        ["2001:db8::5", own],
        ["203.0.113.21", own],
      ],
      [
        ["203.0.113.41", own],
        ["203.0.113.42", own],
      ],
    ]);
  });

  test("CrowdSec, in both of its usual shapes", async () => {
    const HOURS = 14_400;
    const all = (...last: number[]) => last.map((one) => [`203.0.113.${one}`, HOURS]);
    expect(await saidBy("crowdsec")).toEqual([
      all(9),
      all(9),
      [["2001:db8::5", HOURS]],
      [["2001:db8::5", HOURS]],
      all(61, 62, 63),
      all(61, 62, 63),
      all(71, 72, 73),
      all(71, 72, 73),
    ]);
  });
});
