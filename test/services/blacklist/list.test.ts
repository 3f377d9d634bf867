import { Logger } from "@aws-lambda-powertools/logger";
import { beforeEach, describe, expect, jest, test } from "@jest/globals";
import type { Block } from "../../../shared/domain/block.ts";
import { parseCidr } from "../../../shared/domain/cidr.ts";
import { protect } from "../../../shared/domain/neverBlock.ts";
import { aclRecord } from "../../../shared/targets/networkAcl/record.ts";
import { newTargetState, type TargetState } from "../../../shared/targets/state.ts";
import { wafRecord } from "../../../shared/targets/wafIpSet/record.ts";
import { blockOf } from "../../support/blocks.ts";
import { ACL, bearer, startEndpoint } from "../../support/endpoint.ts";
import { NOW, type ReportChange } from "../../support/reports.ts";
import { DETECTOR_TOKEN, OPERATOR_TOKEN, READER_TOKEN } from "../../support/tokens.ts";

type Listed = { cidr: string; state: string; ruleNumber: number | null };

const A = "203.0.113.1/32";
const WAF = "web";
const asOperator = { headers: bearer(OPERATOR_TOKEN) };
const error = (code: string) => ({ error: { code, message: expect.stringMatching(/^[^\n]+\.$/) } });

let endpoint: ReturnType<typeof startEndpoint>;
beforeEach(() => {
  endpoint = startEndpoint();
});

/** Puts a block into the table, as the worker does. */
function put(cidr: string, change: ReportChange = {}): Block {
  const block = blockOf(cidr, change);
  endpoint.table.blockItems.set(cidr, block);
  return block;
}

/** Slots of an ACL by their numbers; unconfirmed ones are marked. */
type Slots = Readonly<Record<number, string | { readonly unconfirmed: string } | null>>;

const aclRecordOf = (slots: Slots) =>
  aclRecord.stored({
    slots: {
      ingress: Object.fromEntries(
        Object.entries(slots).map(([number, slot]) => [
          number,
          typeof slot === "object" && slot !== null
            ? { cidr: parseCidr(slot.unconfirmed) }
            : { cidr: slot === null ? null : parseCidr(slot), confirmedAt: NOW - 1_000 },
        ]),
      ),
      egress: {},
    },
    learntLimits: {},
  });
const wafRecordOf = (...texts: string[]) =>
  wafRecord.stored({ ours: new Set(texts), confirmed: new Set(texts) });

/** Records what the enforcer has seen of a target. */
const record = (id: string, kind: TargetState["kind"], change: Partial<TargetState>) =>
  endpoint.table.targetStates.set(id, { ...newTargetState(kind), version: 1, ...change });
const recordAcl = (slots: Slots, change: Partial<TargetState> = {}) =>
  record(ACL, "networkAcl", { record: aclRecordOf(slots), ...change });
/** An endpoint that shows an ACL and a pair of IP sets. */
const startWithBoth = () =>
  startEndpoint({
    targets: [
      { id: ACL, kind: "networkAcl" },
      { id: WAF, kind: "wafIpSet" },
    ],
  });

const list = (query = "") => endpoint.call("GET", `/blacklist${query}`, asOperator);
const listed = async (query = ""): Promise<Listed[]> => (await list(query)).body.blocks;
const cidrs = async (query = "") => (await listed(query)).map(({ cidr }) => cidr);

describe("a block in the list", () => {
  test("says what it is, until when, by whom, why and how often", async () => {
    put(A, { seconds: 600, severity: 8, reason: "brute force", requestId: "request-7", count: 3 });
    recordAcl({ 4: A });
    const answer = await list();
    expect(answer).toMatchObject({ status: 200, headers: { "cache-control": "no-store" } });
    expect(answer.body.blocks).toEqual([
      {
        cidr: A,
        state: "enforced",
        ruleNumber: 4,
        targets: { [ACL]: { state: "enforced", ruleNumber: 4 } },
        expiresAt: NOW / 1000 + 600,
        severity: 8,
        strikes: 1,
        hits: 3,
        detectors: ["suricata"],
        reason: "brute force",
        firstSeenAt: NOW,
        lastSeenAt: NOW,
        requestId: "request-7",
      },
    ]);
  });

  const monitoring = (slots: Slots): Partial<TargetState> => ({
    mode: "monitor",
    monitored: aclRecordOf(slots),
  });

  test.each<[string, Slots, Partial<TargetState>, object]>([
    ["whose entry EC2 confirmed", { 4: A }, {}, { state: "enforced", ruleNumber: 4 }],
    ["whose entry EC2 has not confirmed", { 4: { unconfirmed: A } }, {}, { state: "waiting" }],
    ["without an entry", { 4: "203.0.113.9/32" }, {}, { state: "waiting" }],
    ["whose number is on its way out", { 4: null }, {}, { state: "waiting" }],
    [
      "that was merged with its neighbours",
      { 4: "203.0.113.0/30" },
      {},
      { state: "merged", ruleNumber: 4, coveredBy: "203.0.113.0/30" },
    ],
    [
      "with an entry of its own beside a wider one",
      { 4: "203.0.113.0/30", 7: A },
      {},
      { state: "enforced", ruleNumber: 7 },
    ],
    [
      "that monitor mode would enforce",
      {},
      monitoring({ 4: A }),
      { state: "monitored", ruleNumber: 4 },
    ],
    [
      "that it would merge",
      {},
      monitoring({ 4: "203.0.113.0/30" }),
      { state: "monitored", ruleNumber: 4, coveredBy: "203.0.113.0/30" },
    ],
  ])("%s", async (_what, slots, change, standing) => {
    put(A);
    recordAcl(slots, change);
    const expected = { cidr: A, ruleNumber: null, ...standing, targets: { [ACL]: standing } };
    for (const query of ["", "?ip=203.0.113.1"]) {
      const [block] = await listed(query);
      expect(block).toMatchObject(expected);
      expect("coveredBy" in (block ?? {})).toBe("coveredBy" in standing);
    }
  });

  test.each<[string, Partial<TargetState>, object]>([
    ["is shadowed by a person's allow", { shadowed: [A] }, { state: "shadowed" }],
    ["was refused by AWS", { refused: { [A]: "Bad" } }, { state: "refused", why: "Bad" }],
    ["is too weak for it", { leastSeverity: 6 }, { state: "excluded", why: "severity" }],
    ["waits for a person to mend it", { problem: "missing" }, { state: "waiting", why: "missing" }],
  ])("that %s waits, and the target says why", async (_what, change, standing) => {
    put(A);
    recordAcl({}, change);
    expect(await listed()).toMatchObject([
      { state: "waiting", ruleNumber: null, targets: { [ACL]: standing } },
    ]);
  });

  test("that must never be blocked any more is excluded", async () => {
    endpoint = startEndpoint({ neverBlock: async () => protect([["203.0.113.0/24", "office"]]) });
    put(A);
    expect(await listed()).toMatchObject([
      { state: "waiting", targets: { [ACL]: { state: "excluded", why: "never-block" } } },
    ]);
  });

  test("is listed while the never-block list cannot be read, which the log says", async () => {
    const log = new Logger({ logLevel: "SILENT" });
    const logged = jest.spyOn(log, "error");
    endpoint = startEndpoint({
      log,
      neverBlock: async () => {
        throw new Error("The parameter store is down.");
      },
    });
    put(A);
    recordAcl({ 4: A });
    expect(await listed()).toMatchObject([{ cidr: A, state: "enforced" }]);
    expect(logged).toHaveBeenCalledTimes(1);
  });

  test("that has ended is expired, though DynamoDB and the ACL still hold it", async () => {
    put(A, { seconds: 60 });
    recordAcl({ 4: A });
    endpoint.now = NOW + 60_000;
    expect(await listed()).toMatchObject([
      { state: "expired", ruleNumber: null, targets: { [ACL]: { state: "expired" } } },
    ]);
    expect(await listed("?ip=203.0.113.1")).toMatchObject([{ state: "expired" }]);
  });

  test("stands in each target by itself, and in all where it stands best", async () => {
    endpoint = startWithBoth();
    put(A);
    put("203.0.113.2/32");
    put("203.0.113.3/32");
    recordAcl({ 4: "203.0.113.2/31", 5: "203.0.113.2/32" });
    record(WAF, "wafIpSet", { record: wafRecordOf(A, "203.0.113.2/32") });
    const standings = (await list()).body.blocks.map(
      ({ cidr, state, ruleNumber, coveredBy, targets }: Record<string, unknown>) => ({
        ...{ cidr, state, ruleNumber, coveredBy, targets },
      }),
    );
    expect(standings).toEqual([
      {
        cidr: "203.0.113.3/32",
        state: "merged",
        ruleNumber: 4,
        coveredBy: "203.0.113.2/31",
        targets: {
          [ACL]: { state: "merged", ruleNumber: 4, coveredBy: "203.0.113.2/31" },
          [WAF]: { state: "waiting" },
        },
      },
      {
        cidr: "203.0.113.2/32",
        state: "enforced",
        ruleNumber: 5,
        coveredBy: undefined,
        targets: { [ACL]: { state: "enforced", ruleNumber: 5 }, [WAF]: { state: "enforced" } },
      },
      {
        cidr: A,
        state: "enforced",
        ruleNumber: null,
        coveredBy: undefined,
        targets: { [ACL]: { state: "waiting" }, [WAF]: { state: "enforced" } },
      },
    ]);
  });

  test("waits where there is no target at all", async () => {
    endpoint = startEndpoint({ targets: [] });
    put(A);
    const { body } = await list();
    expect(body).toMatchObject({ mode: "enforce", convergedAt: 0, waiting: 0, targets: [] });
    expect(body.blocks).toMatchObject([{ state: "waiting", ruleNumber: null, targets: {} }]);
  });
});

describe("the targets in the list", () => {
  test("say what the last converge of each saw", async () => {
    endpoint = startWithBoth();
    record(ACL, "networkAcl", {
      mode: "monitor",
      convergedAt: NOW,
      enforced: 18,
      waiting: 7,
      shadowed: [A],
      refused: { "203.0.113.2/32": "Bad", "203.0.113.3/32": "Bad" },
      leastSeverity: 3,
    });
    record(WAF, "wafIpSet", { mode: "monitor", convergedAt: NOW - 5, problem: "not ours" });
    expect((await list()).body).toEqual({
      mode: "monitor",
      convergedAt: NOW - 5,
      waiting: 7,
      targets: [
        {
          ...{ id: ACL, kind: "networkAcl", mode: "monitor", leastSeverity: 3, convergedAt: NOW },
          ...{ enforced: 18, waiting: 7, shadowed: 1, refused: 2 },
        },
        {
          ...{ id: WAF, kind: "wafIpSet", mode: "monitor", problem: "not ours", leastSeverity: 1 },
          ...{ enforced: 0, waiting: 0, shadowed: 0, refused: 0, convergedAt: NOW - 5 },
        },
      ],
      blocks: [],
      next: expect.any(String),
    });
  });

  test("are there before the first converge", async () => {
    const { body } = await list();
    expect(body).toMatchObject({ mode: "enforce", convergedAt: 0, waiting: 0 });
    expect(body.targets).toMatchObject([{ id: ACL, enforced: 0, convergedAt: 0 }]);
  });
});

describe("pages", () => {
  const V4 = Array.from({ length: 5 }, (_, i) => `203.0.113.${i}/32`);
  const V6 = Array.from({ length: 3 }, (_, i) => `2001:db8:${i + 1}::/48`);
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
    endpoint.table.blockItems.delete(V4[1] ?? "");
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
  test("must be an operator or a reader", async () => {
    const asReader = { headers: bearer(READER_TOKEN) };
    expect(await endpoint.call("GET", "/blacklist", asReader)).toMatchObject({ status: 200 });
    const asDetector = { headers: bearer(DETECTOR_TOKEN) };
    expect(await endpoint.call("GET", "/blacklist", asDetector)).toMatchObject({
      status: 403,
      body: error("forbidden"),
    });
    expect(await endpoint.call("GET", "/blacklist")).toMatchObject({ status: 401 });
  });

  test("may read, and an operator may undo: other methods are refused", async () => {
    expect(await endpoint.call("POST", "/blacklist", asOperator)).toMatchObject({
      status: 405,
      headers: { allow: "GET, DELETE" },
    });
  });

  test("learns of a table that is down, and not why", async () => {
    endpoint.table.isUnreadable = true;
    const answer = await list();
    expect(answer).toMatchObject({ status: 500, body: error("internal") });
    expect(answer.raw).not.toContain("table");
  });
});

function encode(cursor: string): string {
  return Buffer.from(cursor).toString("base64url");
}
