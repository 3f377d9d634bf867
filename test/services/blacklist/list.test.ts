import { beforeEach, describe, expect, test } from "@jest/globals";
import { applyReport, type Block } from "../../../shared/domain/block.ts";
import type { Slots } from "../../../shared/domain/plan.ts";
import { bearer, startEndpoint } from "../../support/endpoint.ts";
import { NOW, reportOf } from "../../support/reports.ts";
import { DETECTOR_TOKEN, OPERATOR_TOKEN } from "../../support/tokens.ts";

type Listed = { cidr: string; state: string; ruleNumber: number | null };

const A = "203.0.113.1/32";
const CONFIRMED = NOW - 1_000;
const asOperator = { headers: bearer(OPERATOR_TOKEN) };
const error = (code: string) => ({ error: { code, message: expect.stringMatching(/^[^\n]+\.$/) } });

let endpoint: ReturnType<typeof startEndpoint>;
beforeEach(() => {
  endpoint = startEndpoint();
});

/** Puts a block into the table, as the worker does. */
function put(cidr: string, change: Parameters<typeof reportOf>[1] = {}): Block {
  const report = reportOf(cidr, change);
  const block = applyReport(
    undefined,
    report,
    0,
    { factor: 1, maxSeconds: 1 },
    report.reportedAt,
  ) as Block;
  endpoint.table.blocks.set(cidr, block);
  return block;
}
const record = (ingress: Slots, monitored: Slots = {}) => {
  endpoint.table.state = {
    ...endpoint.table.state,
    slots: { ingress, egress: {} },
    monitored: { ingress: monitored, egress: {} },
  };
};
const list = (query = "") => endpoint.call("GET", `/blacklist${query}`, asOperator);
const listed = async (query = ""): Promise<Listed[]> => (await list(query)).body.blocks;
const cidrs = async (query = "") => (await listed(query)).map(({ cidr }) => cidr);

describe("a block in the list", () => {
  test("says what it is, until when, by whom, why and how often", async () => {
    put(A, { seconds: 600, severity: 8, reason: "brute force", requestId: "request-7" });
    record({ 4: { cidr: A, confirmedAt: CONFIRMED } });
    const answer = await list();
    expect(answer).toMatchObject({ status: 200, headers: { "cache-control": "no-store" } });
    expect(answer.body.blocks).toEqual([
      {
        cidr: A,
        state: "enforced",
        ruleNumber: 4,
        expiresAt: NOW / 1000 + 600,
        severity: 8,
        strikes: 1,
        hits: 1,
        detectors: ["suricata"],
        reason: "brute force",
        firstSeenAt: NOW,
        lastSeenAt: NOW,
        requestId: "request-7",
      },
    ]);
  });

  test.each<[string, Slots, Slots, string, number | null]>([
    ["whose entry EC2 confirmed", { 4: { cidr: A, confirmedAt: CONFIRMED } }, {}, "enforced", 4],
    ["whose entry EC2 has not confirmed", { 4: { cidr: A } }, {}, "waiting", null],
    ["without an entry", { 4: { cidr: "203.0.113.9/32", confirmedAt: 1 } }, {}, "waiting", null],
    ["whose number is on its way out", { 4: { cidr: null, confirmedAt: 1 } }, {}, "waiting", null],
    [
      "that was merged with its neighbours",
      { 4: { cidr: "203.0.113.0/30", confirmedAt: CONFIRMED } },
      {},
      "compressed into 203.0.113.0/30",
      4,
    ],
    [
      "with an entry of its own beside a wider one",
      {
        4: { cidr: "203.0.113.0/30", confirmedAt: CONFIRMED },
        7: { cidr: A, confirmedAt: CONFIRMED },
      },
      {},
      "enforced",
      7,
    ],
    ["that monitor mode would enforce", {}, { 4: { cidr: A } }, "monitored", 4],
    ["that it would merge", {}, { 4: { cidr: "203.0.113.0/30" } }, "monitored", 4],
    [
      "that was enforced before monitor mode",
      { 4: { cidr: A, confirmedAt: CONFIRMED } },
      { 5: { cidr: A } },
      "enforced",
      4,
    ],
  ])("%s", async (_what, slots, monitored, state, ruleNumber) => {
    put(A);
    record(slots, monitored);
    expect(await listed()).toMatchObject([{ cidr: A, state, ruleNumber }]);
    expect(await listed("?ip=203.0.113.1")).toMatchObject([{ cidr: A, state, ruleNumber }]);
  });

  test("that has ended is expired, though DynamoDB and the ACL still hold it", async () => {
    put(A, { seconds: 60 });
    record({ 4: { cidr: A, confirmedAt: CONFIRMED } });
    endpoint.now = NOW + 60_000;
    expect(await listed()).toMatchObject([{ state: "expired", ruleNumber: null }]);
    expect(await listed("?ip=203.0.113.1")).toMatchObject([{ state: "expired" }]);
  });
});

test("the list tells mode, time and limits of the last converge, and how many wait", async () => {
  endpoint.table.state = {
    ...endpoint.table.state,
    mode: "monitor",
    convergedAt: NOW,
    waiting: 7,
    learntLimits: { "ingress/4": { limit: 18, learntAt: NOW } },
  };
  const { body } = await list();
  expect(body).toEqual({
    mode: "monitor",
    convergedAt: NOW,
    waiting: 7,
    learntLimits: { "ingress/4": { limit: 18, learntAt: NOW } },
    blocks: [],
    next: expect.any(String),
  });
});

describe("pages", () => {
  const V4 = Array.from({ length: 5 }, (_, i) => `203.0.113.${i}/32`);
  const V6 = Array.from({ length: 3 }, (_, i) => `2001:db8:${i}::/48`);
  beforeEach(() => {
    for (const [index, cidr] of [...V4, ...V6].entries()) put(cidr, { severity: 10 - index });
  });
  /** Follows the cursor to the end. */
  const pages = async (limit: number) => {
    const found: string[][] = [];
    let next: string | null | undefined;
    do {
      const { status, body } = await list(`?limit=${limit}${next ? `&next=${next}` : ""}`);
      expect(status).toBe(200);
      found.push(body.blocks.map(({ cidr }: Listed) => cidr));
      next = body.next;
    } while (next && found.length < 20);
    return found;
  };

  test.each([1, 2, 3, 5, 200])("of %d show every block once, strongest first", async (limit) => {
    const found = await pages(limit);
    expect(found.flat()).toEqual([...V4, ...V6]);
    expect(Math.max(...found.map(({ length }) => length))).toBeLessThanOrEqual(limit);
  });

  test("are of fifty where nobody says otherwise", async () => {
    for (let i = 0; i < 60; i++) put(`198.51.100.${i}/32`, { severity: 10 });
    expect(await listed()).toHaveLength(50);
  });

  test("go on where the block that the last one ended with is gone", async () => {
    const { body } = await list("?limit=2");
    endpoint.table.blocks.delete(V4[1] ?? "");
    expect(await cidrs(`?limit=2&next=${body.next}`)).toEqual(V4.slice(2, 4));
  });

  test.each([
    ["nothing", ""],
    ["no base64url", "%25"],
    ["no rank", "aGVsbG8"],
    ["another family", encode("5#05#001#01800000000000#203.0.113.1/32")],
    ["something before it", encode("x4#05")],
    ["something after it", encode("4#05\n")],
    ["a rank without end", encode(`4#${"0".repeat(200)}`)],
  ])("of a cursor that is %s are refused", async (_what, next) => {
    expect(await list(`?next=${next}`)).toMatchObject({ status: 400, body: error("invalid_next") });
  });

  test.each(["0", "201", "-1", "1.5", "ten", ""])("of limit=%s are refused", async (limit) => {
    expect(await list(`?limit=${limit}`)).toMatchObject({
      status: 400,
      body: error("invalid_limit"),
    });
  });
});

describe("one address", () => {
  test("is shown with the blocks of the ranges around it, and nothing else", async () => {
    for (const cidr of [A, "203.0.113.0/24", "203.0.0.0/16", "203.0.113.2/32", "198.51.100.0/24"])
      put(cidr);
    expect((await cidrs("?ip=203.0.113.1")).toSorted()).toEqual(
      [A, "203.0.113.0/24", "203.0.0.0/16"].toSorted(),
    );
    expect((await list("?ip=203.0.113.1")).body.next).toBeNull();
  });

  test("that is not blocked itself is shown with what denies it", async () => {
    put("203.0.113.0/24");
    expect(await cidrs("?ip=203.0.113.1")).toEqual(["203.0.113.0/24"]);
  });

  test("that nothing denies is nothing", async () => {
    put("203.0.113.2/32");
    put("203.0.114.0/24");
    expect(await listed("?ip=203.0.113.1")).toEqual([]);
  });

  test("may be a range, which the blocks inside it do not deny", async () => {
    put(A);
    put("203.0.113.0/24");
    expect(await cidrs("?ip=203.0.113.0/24")).toEqual(["203.0.113.0/24"]);
    expect(await cidrs("?ip=203.0.113.0/25")).toEqual(["203.0.113.0/24"]);
    expect(await cidrs("?ip=203.0.0.0/8")).toEqual([]);
  });

  test("may be of IPv6, however wide the ranges around it", async () => {
    put("2001:db8::/32");
    put("2001:db8::/127");
    expect((await cidrs("?ip=2001:db8::1")).toSorted()).toEqual([
      "2001:db8::/127",
      "2001:db8::/32",
    ]);
  });

  test("that is none is refused", async () => {
    expect(await list("?ip=nonsense")).toMatchObject({ status: 400, body: error("invalid_ip") });
  });
});

describe("who asks", () => {
  test("must be an operator", async () => {
    const asDetector = { headers: bearer(DETECTOR_TOKEN) };
    expect(await endpoint.call("GET", "/blacklist", asDetector)).toMatchObject({
      status: 403,
      body: error("forbidden"),
    });
    expect(await endpoint.call("GET", "/blacklist")).toMatchObject({ status: 401 });
  });

  test("may only read: other methods are told so", async () => {
    expect(await endpoint.call("POST", "/blacklist", asOperator)).toMatchObject({
      status: 405,
      headers: { allow: "GET" },
    });
  });

  test("is told of a table that is down, and not why", async () => {
    endpoint.table.isUnreadable = true;
    const answer = await list();
    expect(answer).toMatchObject({ status: 500, body: error("internal") });
    expect(answer.raw).not.toContain("table");
  });
});

function encode(cursor: string): string {
  return Buffer.from(cursor).toString("base64url");
}
