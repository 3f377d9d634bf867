import { describe, expect, test } from "@jest/globals";
import { parseCidr } from "../../../shared/domain/cidr.ts";
import { protect } from "../../../shared/domain/neverBlock.ts";
import { bestOf, type Standing, standingOf, viewOf } from "../../../shared/targets/standing.ts";
import { newTargetState, type Problem, type TargetState } from "../../../shared/targets/state.ts";
import type { Entry } from "../../../shared/targets/target.ts";
import { wafRecord } from "../../../shared/targets/wafIpSet/record.ts";
import { blockOf } from "../../support/blocks.ts";
import { NOW } from "../../support/reports.ts";

const A = "203.0.113.1/32";
const WIDE = "203.0.113.0/24";
const block = blockOf(A, { severity: 5 });

const at = (text: string, ruleNumber?: number): Entry => ({
  cidr: parseCidr(text),
  ...(ruleNumber !== undefined && { ruleNumber }),
});
type Given = {
  readonly entries?: readonly Entry[];
  readonly neverBlock?: readonly string[];
  readonly now?: number;
};
/** Where the block stands in a target of which this is known. */
function standing(
  change: Partial<TargetState>,
  { entries = [], neverBlock = [], now = NOW }: Given = {},
): Standing {
  const state = { ...newTargetState("networkAcl"), ...change };
  const list = protect(neverBlock.map((text) => [text, "office"]));
  return standingOf(block, { id: "acl-1", state, entries }, list, now);
}

describe("a block in a target", () => {
  test.each<[string, Given, Standing]>([
    ["with an entry is enforced", { entries: [at(A, 4)] }, { state: "enforced", ruleNumber: 4 }],
    ["in a set has no rule number", { entries: [at(A)] }, { state: "enforced" }],
    [
      "within a wider entry is merged",
      { entries: [at(WIDE, 4)] },
      { state: "merged", ruleNumber: 4, coveredBy: WIDE },
    ],
    [
      "with an entry of its own beside a wider one is enforced",
      { entries: [at(WIDE, 4), at(A, 9)] },
      { state: "enforced", ruleNumber: 9 },
    ],
    ["without an entry waits", { entries: [at("203.0.113.2/32", 4)] }, { state: "waiting" }],
    [
      "that must never be blocked is excluded",
      { neverBlock: [WIDE] },
      { state: "excluded", why: "never-block" },
    ],
    [
      "that must never be blocked, and still is, is enforced",
      { entries: [at(A, 4)], neverBlock: [A] },
      { state: "enforced", ruleNumber: 4 },
    ],
    [
      "whose time is over is expired",
      { entries: [at(A, 4)], now: NOW + 60_000 },
      { state: "expired" },
    ],
    [
      "is enforced to its last moment",
      { entries: [at(A)], now: NOW + 59_999 },
      { state: "enforced" },
    ],
  ])("%s", (_what, given, expected) => {
    expect(standing({}, given)).toEqual(expected);
  });

  test("in monitor mode would be denied, by its own entry or a wider one", () => {
    const mode = "monitor";
    expect(standing({ mode }, { entries: [at(A, 4)] })).toEqual({
      state: "monitored",
      ruleNumber: 4,
    });
    expect(standing({ mode }, { entries: [at(WIDE)] })).toEqual({
      state: "monitored",
      coveredBy: WIDE,
    });
    expect(standing({ mode })).toEqual({ state: "waiting" });
  });

  test("where the mode is off waits for another one, unless the target has a problem", () => {
    expect(standing({ mode: "off" })).toEqual({ state: "waiting", why: "off" });
    expect(standing({ mode: "off", problem: "missing" })).toEqual({
      state: "waiting",
      why: "missing",
    });
  });

  test("too weak for the target is excluded, whatever else holds of it", () => {
    const excluded = { state: "excluded", why: "severity" };
    expect(standing({ leastSeverity: 6 }, { entries: [at(A, 4)] })).toEqual(excluded);
    expect(standing({ leastSeverity: 6, refused: { [A]: "Bad" } })).toEqual(excluded);
    expect(standing({ leastSeverity: 5 })).toEqual({ state: "waiting" });
  });

  test("of an operator is too weak for none", () => {
    const state = { ...newTargetState("networkAcl"), leastSeverity: 6 };
    const view = { id: "acl-1", state, entries: [at(A, 4)] };
    const own = { ...block, byOperator: true };
    expect(standingOf(own, view, [], NOW)).toMatchObject({ state: "enforced" });
  });

  test("that AWS refused says with which error, unless it is denied all the same", () => {
    const refused = { [A]: "InvalidParameterValue" };
    expect(standing({ refused })).toEqual({ state: "refused", why: "InvalidParameterValue" });
    expect(standing({ refused }, { entries: [at(WIDE, 4)] })).toMatchObject({ state: "merged" });
    expect(standing({ refused: { [WIDE]: "Bad" } })).toEqual({ state: "waiting" });
  });

  test("behind a person's allow is shadowed", () => {
    expect(standing({ shadowed: [A] })).toEqual({ state: "shadowed" });
    expect(standing({ shadowed: [WIDE] })).toEqual({ state: "waiting" });
  });

  test.each<Problem>(["missing", "not ours", "unassociated", "refused", "unreachable"])(
    "waits where the target is %j, and says so",
    (problem) => {
      expect(standing({ problem })).toEqual({ state: "waiting", why: problem });
    },
  );

  test("is enforced by an ACL without a subnet, but denies nobody", () => {
    expect(standing({ problem: "unassociated" }, { entries: [at(A, 4)] })).toEqual({
      state: "enforced",
      ruleNumber: 4,
      why: "unassociated",
    });
  });

  test("waits where the target is gone, whatever is remembered of it", () => {
    expect(standing({ problem: "missing" }, { entries: [at(A, 4)] })).toEqual({
      state: "waiting",
      why: "missing",
    });
  });

  test("stays enforced while the target is refused to us", () => {
    const entries = [at(A, 4)];
    for (const problem of ["not ours", "refused", "unreachable"] as const) {
      expect(standing({ problem }, { entries })).toEqual({ state: "enforced", ruleNumber: 4 });
    }
  });
});

test("a view has the entries that the state records", () => {
  const ours = new Set([A]);
  const record = wafRecord.stored({ ours, confirmed: ours });
  const state = { ...newTargetState("wafIpSet"), record };
  expect(viewOf("web", state)).toEqual({ id: "web", state, entries: [at(A)] });
});

describe("over several targets a block stands where it stands best", () => {
  const ALL = {
    enforced: { state: "enforced", ruleNumber: 4 },
    merged: { state: "merged", coveredBy: WIDE },
    monitored: { state: "monitored", ruleNumber: 5 },
    waiting: { state: "waiting", why: "missing" },
    shadowed: { state: "shadowed" },
    refused: { state: "refused", why: "Bad" },
    excluded: { state: "excluded", why: "severity" },
    expired: { state: "expired" },
  } satisfies Record<string, Standing>;

  test.each<[Standing["state"][], Standing]>([
    [["waiting", "merged", "enforced"], ALL.enforced],
    [["waiting", "monitored", "merged"], ALL.merged],
    [["waiting", "shadowed", "monitored"], ALL.monitored],
    [["shadowed", "waiting", "refused"], ALL.waiting],
    [["expired", "expired"], ALL.expired],
    [["shadowed"], { state: "waiting" }],
    [["refused", "excluded"], { state: "waiting" }],
    [[], { state: "waiting" }],
  ])("%j", (states, best) => {
    expect(bestOf(states.map((state) => ALL[state]))).toEqual(best);
  });
});
