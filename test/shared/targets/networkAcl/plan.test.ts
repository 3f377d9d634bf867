import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { overlaps } from "../../../../shared/domain/cidr.ts";
import { protect } from "../../../../shared/domain/neverBlock.ts";
import {
  type PlanInput,
  plan,
  REMEMBER,
  SETTLE,
} from "../../../../shared/targets/networkAcl/plan.ts";
import {
  type AclEntry,
  ceilingOf,
  type Slot,
} from "../../../../shared/targets/networkAcl/rules.ts";
import type { Change } from "../../../../shared/targets/networkAcl/schedule.ts";
import { cidrOf, RANGES } from "../../../support/ranges.ts";
import { NOW } from "../../../support/reports.ts";

// Plans by example. The laws that hold over whole histories are in
// test/services/enforcer/converge.property.test.ts.

/** No two of them are siblings. */
const [A, B, C] = ["203.0.113.0/32", "203.0.113.4/32", "203.0.113.8/32"] as const;
const V6 = "2001:db8::/48";
/** Two siblings and what they merge into. */
const [LEFT, RIGHT, BOTH] = ["203.0.113.0/32", "203.0.113.1/32", "203.0.113.0/31"] as const;

const wants = (...cidrs: string[]) =>
  cidrs.map((cidr) => ({ cidr: cidrOf(cidr), leastPrefix: 0, expiresAt: NOW / 1000 + 60 }));
const deny = (ruleNumber: number, cidr: string): AclEntry => ({
  ruleNumber,
  cidr: cidrOf(cidr),
  kind: "deny",
});
const allow = (ruleNumber: number, cidr: string): AclEntry => ({
  ruleNumber,
  cidr: cidrOf(cidr),
  kind: "allow",
});
const rangeOf = (cidr: string | null) => (cidr === null ? null : cidrOf(cidr));
const slotOf = (cidr: string | null, was: string[]) => ({
  cidr: rangeOf(cidr),
  was: was.map(cidrOf),
});
/** Confirmed so long ago that what EC2 shows is believed. */
const settled = (cidr: string): Slot => ({ cidr: cidrOf(cidr), confirmedAt: NOW - SETTLE });
/** Confirmed so lately that EC2 may not show it yet. */
const fresh = (cidr: string): Slot => ({ cidr: cidrOf(cidr), confirmedAt: NOW - SETTLE + 1 });
const unconfirmed = (cidr: string | null, ...was: string[]): Slot => slotOf(cidr, was);
/** Emptied by us so long ago that what EC2 shows is believed. */
const left = (...was: string[]): Slot => ({ ...slotOf(null, was), confirmedAt: NOW - SETTLE });
/** Emptied so lately that EC2 may show it still. */
const leaving = (...was: string[]): Slot => ({
  ...slotOf(null, was),
  confirmedAt: NOW - SETTLE + 1,
});

const inputOf = (change: Partial<PlanInput>): PlanInput => ({
  wanted: [],
  slots: {},
  actual: [],
  limits: { 4: 5, 6: 5 },
  numbers: { first: 1, last: 9 },
  neverBlock: [],
  spared: [],
  maxInnocents: 0,
  now: NOW,
  ...change,
});
/** The ACL holds these entries of ours, settled, from number 1 on. */
const holding = (...cidrs: string[]) => ({
  slots: Object.fromEntries(cidrs.map((cidr, index) => [index + 1, settled(cidr)])),
  actual: cidrs.map((cidr, index) => deny(index + 1, cidr)),
});
/** The plan, but for the places that it leaves free. */
const planned = (change: Partial<PlanInput>) => {
  const { free: _, ...rest } = plan(inputOf(change));
  return rest;
};
const freeIn = (change: Partial<PlanInput>) => plan(inputOf(change)).free;
const changesOf = (change: Partial<PlanInput>) => planned(change).changes;

const create = (ruleNumber: number, cidr: string): Change => ({
  kind: "create",
  ruleNumber,
  cidr: cidrOf(cidr),
  before: null,
  needs: [],
});
const replace = (
  ruleNumber: number,
  before: string,
  cidr: string,
  needs: number[] = [],
): Change => ({ kind: "replace", ruleNumber, cidr: cidrOf(cidr), before: cidrOf(before), needs });
const remove = (ruleNumber: number, before: string, needs: number[] = []): Change => ({
  kind: "delete",
  ruleNumber,
  cidr: null,
  before: cidrOf(before),
  needs,
});
const NOTHING = { shadowed: [], foreign: [], drifted: [] };

describe("free places", () => {
  test.each<[string, Partial<PlanInput>, { 4: number; 6: number }]>([
    ["are what the limits leave", { wanted: wants(A, B, V6) }, { 4: 3, 6: 4 }],
    ["need numbers", { wanted: wants(A), numbers: { first: 1, last: 3 } }, { 4: 2, 6: 2 }],
    ["lie before an allow of everything", { actual: [allow(2, "0.0.0.0/0")] }, { 4: 1, 6: 5 }],
    ["lie behind an allow of something", { actual: [allow(2, "10.0.0.0/8")] }, { 4: 5, 6: 5 }],
  ])("%s", (_what, change, free) => {
    expect(freeIn(change)).toEqual(free);
  });
});

describe("the table of cases", () => {
  test("ours, the same range there: nothing", () => {
    expect(planned({ wanted: wants(A), ...holding(A) })).toEqual({
      slots: { 1: settled(A) },
      changes: [],
      ...NOTHING,
    });
  });

  test("ours, another range wanted: replace", () => {
    expect(planned({ wanted: wants(B), ...holding(A) })).toEqual({
      slots: { 1: unconfirmed(B, A) },
      changes: [replace(1, A, B)],
      ...NOTHING,
    });
  });

  test("ours, nothing there: create, at the same number", () => {
    const { slots } = holding(A, B);
    expect(planned({ wanted: wants(A, B), slots, actual: [deny(1, A)] })).toEqual({
      slots: { 1: settled(A), 2: unconfirmed(B) },
      changes: [create(2, B)],
      shadowed: [],
      foreign: [],
      drifted: [2],
    });
  });

  test("ours, nothing wanted: delete", () => {
    expect(planned(holding(A))).toEqual({
      slots: { 1: unconfirmed(null, A) },
      changes: [remove(1, A)],
      ...NOTHING,
    });
  });

  test("ours, no plain deny there: a person took the number, and the range gets another", () => {
    const taken = allow(1, C);
    expect(planned({ wanted: wants(A), slots: { 1: settled(A) }, actual: [taken] })).toEqual({
      slots: { 2: unconfirmed(A) },
      changes: [create(2, A)],
      shadowed: [],
      foreign: [taken],
      drifted: [],
    });
  });

  test("free, a range without a slot: create, at the lowest number", () => {
    expect(planned({ wanted: wants(A, B) })).toEqual({
      slots: { 1: unconfirmed(A), 2: unconfirmed(B) },
      changes: [create(1, A), create(2, B)],
      ...NOTHING,
    });
  });

  test.each([deny(1, A), allow(1, C), deny(1, C)])(
    "not ours, %#: left alone, reported",
    (entry) => {
      expect(planned({ wanted: wants(A), actual: [entry] })).toEqual({
        slots: { 2: unconfirmed(A) },
        changes: [create(2, A)],
        shadowed: [],
        foreign: [entry],
        drifted: [],
      });
    },
  );

  test("outside our numbers: never looked at", () => {
    const actual = [allow(100, "0.0.0.0/0"), deny(10, A), deny(32_766, B)];
    expect(planned({ wanted: [], actual })).toEqual({ slots: {}, changes: [], ...NOTHING });
  });
});

describe("what is not wanted", () => {
  test("any more leaves at the very millisecond of its expiry", () => {
    const wanted = [{ cidr: cidrOf(A), leastPrefix: 0, expiresAt: NOW / 1000 }];
    expect(changesOf({ wanted, ...holding(A), now: NOW - 1 })).toEqual([]);
    expect(changesOf({ wanted, ...holding(A) })).toEqual([remove(1, A)]);
  });

  test("as it stands, because a person changed it, is put right", () => {
    const { slots } = holding(A);
    expect(planned({ wanted: wants(A), slots, actual: [deny(1, C)] })).toMatchObject({
      changes: [replace(1, C, A)],
      drifted: [1],
    });
  });

  test("and was deleted by a person is forgotten without a call", () => {
    expect(planned({ slots: { 1: settled(A) } })).toEqual({
      slots: {},
      changes: [],
      shadowed: [],
      foreign: [],
      drifted: [1],
    });
  });
});

describe("a swap", () => {
  test("is one replace of the weakest; the others keep their numbers", () => {
    const limits = { 4: 2, 6: 2 };
    expect(changesOf({ wanted: wants(C, A, B), ...holding(A, B), limits })).toEqual([
      replace(2, B, C),
    ]);
  });

  test("does not need a free number", () => {
    const numbers = { first: 1, last: 1 };
    expect(changesOf({ wanted: wants(B), ...holding(A), numbers })).toEqual([replace(1, A, B)]);
  });

  test("of all entries is one call each, strongest first", () => {
    expect(changesOf({ wanted: wants(C, B), ...holding(A, RIGHT) })).toEqual([
      replace(1, A, C),
      replace(2, RIGHT, B),
    ]);
  });

  test("comes before what only goes", () => {
    expect(changesOf({ wanted: wants(C), ...holding(A, B) })).toEqual([
      replace(1, A, C),
      remove(2, B),
    ]);
  });
});

describe("a merge", () => {
  const limits = { 4: 2, 6: 2 };

  test("stands before the number that it frees is used again", () => {
    expect(changesOf({ wanted: wants(LEFT, RIGHT, C), ...holding(LEFT, RIGHT), limits })).toEqual([
      replace(1, LEFT, BOTH),
      replace(2, RIGHT, C, [1]),
    ]);
  });

  test("stands before what it makes superfluous goes", () => {
    const one = { 4: 1, 6: 1 };
    expect(changesOf({ wanted: wants(LEFT, RIGHT), ...holding(LEFT, RIGHT), limits: one })).toEqual(
      [replace(1, LEFT, BOTH), remove(2, RIGHT, [1])],
    );
  });

  test("with innocents happens only up to the cap", () => {
    const pressed = { wanted: wants(A, B), ...holding(A), limits: { 4: 1, 6: 1 } };
    expect(changesOf({ ...pressed, maxInnocents: 5 })).toEqual([]);
    expect(changesOf({ ...pressed, maxInnocents: 6 })).toEqual([replace(1, A, "203.0.113.0/29")]);
  });
});

describe("a split", () => {
  test("places the parts first; the entry becomes the last of them", () => {
    expect(changesOf({ wanted: wants(LEFT, RIGHT), ...holding(BOTH) })).toEqual([
      create(2, LEFT),
      replace(1, BOTH, RIGHT, [2]),
    ]);
  });

  test("where one part's time is over is one replace", () => {
    expect(changesOf({ wanted: wants(LEFT), ...holding(BOTH) })).toEqual([replace(1, BOTH, LEFT)]);
  });

  test("uses what a merge frees, so that the limit holds in between", () => {
    const limits = { 4: 3, 6: 3 };
    const [c, d] = ["203.0.113.8/32", "203.0.113.9/32"];
    const before = holding(BOTH, c, d);
    const wanted = wants(LEFT, "203.0.113.2/32", c, d, "203.0.113.3/32");
    const { changes } = planned({ wanted, ...before, limits });
    expect(changes).toEqual([
      replace(1, BOTH, LEFT),
      replace(2, c, "203.0.113.8/31"),
      replace(3, d, "203.0.113.2/31", [2]),
    ]);
  });
});

describe("numbers", () => {
  test("those of persons are worked around", () => {
    const actual = [deny(1, C), allow(2, C), deny(4, C)];
    expect(changesOf({ wanted: wants(A, B), actual })).toEqual([create(3, A), create(5, B)]);
  });

  test("both families share them, and each has a limit of its own", () => {
    const limits = { 4: 1, 6: 1 };
    expect(changesOf({ wanted: wants(A, B, V6), limits })).toEqual([create(1, A), create(2, V6)]);
  });

  test("that are used up leave the rest waiting", () => {
    const numbers = { first: 5, last: 6 };
    const actual = [deny(5, C)];
    expect(changesOf({ wanted: wants(A, B), actual, numbers })).toEqual([create(6, A)]);
  });

  test("one that was freed lately is ours still, and is used before a new one", () => {
    const slots = { 1: settled(A), 2: leaving(C) };
    const actual = [deny(1, A), deny(2, C)];
    expect(changesOf({ wanted: wants(A, B), slots, actual })).toEqual([create(2, B)]);
  });

  test("one may pass from one family to the other once it is empty", () => {
    expect(changesOf({ wanted: wants(V6), slots: { 1: leaving(A) } })).toEqual([create(1, V6)]);
  });
});

describe("an allow of a person", () => {
  test("before free numbers: ranges that it overlaps go below it, others anywhere", () => {
    const actual = [deny(1, "198.51.100.0/24"), allow(3, A)];
    expect(changesOf({ wanted: wants(A, C), actual })).toEqual([create(2, A), create(4, C)]);
  });

  test("at the first number: what it overlaps waits, shadowed; the rest is placed", () => {
    const { changes, shadowed } = planned({ wanted: wants(A, C), actual: [allow(1, A)] });
    expect(changes).toEqual([create(2, C)]);
    expect(shadowed).toEqual([cidrOf(A)]);
  });

  test("shadows as many as find no number below it, the weakest", () => {
    const actual = [allow(3, "0.0.0.0/0")];
    const { changes, shadowed } = planned({ wanted: wants(A, B, C), actual });
    expect(changes).toEqual([create(1, A), create(2, B)]);
    expect(shadowed).toEqual([cidrOf(C)]);
  });

  test("of one family does not shadow the other", () => {
    const actual = [allow(2, "0.0.0.0/0")];
    expect(changesOf({ wanted: wants(A, V6), actual })).toEqual([create(1, A), create(3, V6)]);
  });

  test("added while an entry stands behind it: the entry moves below", () => {
    const { slots, actual } = { slots: { 5: settled(A) }, actual: [deny(5, A)] };
    expect(changesOf({ wanted: wants(A), slots, actual: [...actual, allow(4, A)] })).toEqual([
      create(1, A),
      remove(5, A),
    ]);
  });

  test("makes a range that it does not overlap move up, where all numbers below are taken", () => {
    const actual = [allow(3, B)];
    const before = holding(A, C);
    expect(
      changesOf({ wanted: wants(B, A, C), ...before, actual: [...before.actual, ...actual] }),
    ).toEqual([create(4, A), replace(1, A, B, [4])]);
  });
});

describe("a lowered limit", () => {
  test("takes the weakest out, and touches nothing else", () => {
    const limits = { 4: 1, 6: 5 };
    expect(changesOf({ wanted: wants(B, A, C, V6), ...holding(A, B, C, V6), limits })).toEqual([
      remove(1, A),
      remove(3, C),
    ]);
  });

  test("of nothing takes all out", () => {
    expect(changesOf({ wanted: wants(A), ...holding(A), limits: { 4: 0, 6: 0 } })).toEqual([
      remove(1, A),
    ]);
  });

  test("after a crash also takes out what may be there but is not shown", () => {
    const slots = { 1: settled(A), 2: unconfirmed(B) };
    const limits = { 4: 1, 6: 1 };
    expect(changesOf({ wanted: wants(C), slots, actual: [deny(1, A)], limits })).toEqual([
      replace(1, A, C),
      remove(2, B),
    ]);
  });
});

describe("a protected address", () => {
  const neverBlock = protect([[RIGHT, "office"]]);

  test("is not denied, nor is a range that contains it", () => {
    expect(changesOf({ wanted: wants(RIGHT, BOTH, B), neverBlock })).toEqual([create(1, B)]);
  });

  test("that is denied is freed before anything else", () => {
    expect(changesOf({ wanted: wants(C, B), ...holding(B, RIGHT), neverBlock })).toEqual([
      replace(2, RIGHT, C),
    ]);
    expect(changesOf({ wanted: wants(B), ...holding(A, RIGHT), neverBlock })[0]).toEqual(
      replace(2, RIGHT, B),
    );
  });

  test("is freed from a range of which another part stays wanted, by one replace", () => {
    expect(changesOf({ wanted: wants(LEFT), ...holding(BOTH), neverBlock })).toEqual([
      replace(1, BOTH, LEFT),
    ]);
  });

  test("is never covered by a merge", () => {
    const limits = { 4: 1, 6: 1 };
    const change = { wanted: wants(LEFT, "203.0.113.2/32"), limits, maxInnocents: 100 };
    expect(changesOf(change)).toEqual([create(1, "203.0.113.0/30")]);
    expect(changesOf({ ...change, neverBlock })).toEqual([create(1, LEFT)]);
  });
});

describe("what is spared in merges", () => {
  const limits = { 4: 1, 6: 1 };
  const [first, third] = [LEFT, "203.0.113.2/32"];
  const change = { wanted: wants(first, third), limits, maxInnocents: 100 };
  const spared = (...cidrs: string[]) => ({ ...change, spared: cidrs.map(cidrOf) });

  test("is not covered as an innocent, but is denied where it is wanted itself", () => {
    expect(changesOf(spared("203.0.113.1/32"))).toEqual([create(1, first)]);
    expect(changesOf(spared(first))).toEqual([create(1, "203.0.113.0/30")]);
    expect(changesOf({ ...spared(first), limits: { 4: 2, 6: 2 } })).toHaveLength(2);
  });

  test("is everybody, where it cannot be read", () => {
    expect(changesOf({ ...change, spared: undefined })).toEqual([create(1, first)]);
  });
});

test("no range is wider than whoever reported what is in it may report, without loss either", () => {
  const limits = { 4: 1, 6: 1 };
  const siblings = (leastPrefix: number) =>
    wants("203.0.112.0/24", "203.0.113.0/24").map((one) => ({ ...one, leastPrefix }));
  expect(changesOf({ wanted: siblings(23), limits })).toEqual([create(1, "203.0.112.0/23")]);
  expect(changesOf({ wanted: siblings(24), limits })).toEqual([create(1, "203.0.112.0/24")]);
});

describe("while the never-block list cannot be read", () => {
  const neverBlock = undefined;

  test("nothing new is denied; what is there stays, unless its time is over", () => {
    expect(changesOf({ wanted: wants(C, A), ...holding(A, B), neverBlock })).toEqual([
      remove(2, B),
    ]);
  });

  test("parts of what is denied may still be denied by themselves", () => {
    expect(changesOf({ wanted: wants(LEFT), ...holding(BOTH), neverBlock })).toEqual([
      replace(1, BOTH, LEFT),
    ]);
  });

  test("an entry that a person took out is not put back", () => {
    expect(changesOf({ wanted: wants(A), slots: { 1: settled(A) }, neverBlock })).toEqual([]);
  });

  test("no merge covers innocents", () => {
    const change = { wanted: wants(A, B), ...holding(A, B), limits: { 4: 1, 6: 1 }, neverBlock };
    expect(changesOf({ ...change, maxInnocents: 100 })).toEqual([remove(2, B)]);
  });
});

describe("what EC2 shows lags behind what it has confirmed", () => {
  test.each<[string, Slot, AclEntry[]]>([
    ["an entry that it does not show yet", fresh(A), []],
    ["an entry that it shows as it was before", fresh(A), [deny(1, B)]],
    ["an entry that it shows", fresh(A), [deny(1, A)]],
  ])("%s is believed to be there", (_what, slot, actual) => {
    expect(planned({ wanted: wants(A), slots: { 1: slot }, actual })).toEqual({
      slots: { 1: slot },
      changes: [],
      ...NOTHING,
    });
  });

  test("an entry that it still shows after its delete is believed to be gone", () => {
    expect(planned({ slots: { 1: leaving(A) }, actual: [deny(1, A)] })).toEqual({
      slots: { 1: leaving(A) },
      changes: [],
      ...NOTHING,
    });
  });

  test("a number that is shown empty is remembered as long as a call on it may be under way", () => {
    const slots = { 1: left(A) };
    const leftAt = NOW - SETTLE;
    expect(planned({ slots, now: leftAt + REMEMBER - 1 })).toEqual({
      slots,
      changes: [],
      ...NOTHING,
    });
    expect(planned({ slots, now: leftAt + REMEMBER })).toEqual({
      slots: {},
      changes: [],
      ...NOTHING,
    });
  });

  test("so is what was at a number before its entry", () => {
    const slots = { 1: { ...unconfirmed(A, B), confirmedAt: NOW - REMEMBER + 1 } };
    const change = { wanted: wants(A), slots, actual: [deny(1, A)] };
    expect(planned(change).slots).toEqual(slots);
    expect(planned({ ...change, now: NOW + 1 }).slots).toEqual({
      1: { cidr: cidrOf(A), confirmedAt: NOW - REMEMBER + 1 },
    });
  });

  test("five seconds later what it shows is the truth", () => {
    expect(changesOf({ wanted: wants(A), slots: { 1: settled(A) } })).toEqual([create(1, A)]);
    const again = { slots: { 1: left(A) }, actual: [deny(1, A)] };
    expect(changesOf(again)).toEqual([remove(1, A)]);
  });
});

describe("after a crash, what was recorded but not confirmed", () => {
  test("and is shown, is there: no call, and it counts as confirmed", () => {
    const slots = { 1: unconfirmed(A) };
    expect(planned({ wanted: wants(A), slots, actual: [deny(1, A)] })).toEqual({
      slots: { 1: { ...unconfirmed(A), confirmedAt: NOW } },
      changes: [],
      ...NOTHING,
    });
  });

  test("and is not shown, is asked for again at its own number", () => {
    const slots = { 2: unconfirmed(B), 1: unconfirmed(A) };
    expect(changesOf({ wanted: wants(B, A), slots })).toEqual([create(2, B), create(1, A)]);
  });

  test("and is not wanted any more, is deleted whether it is shown or not", () => {
    expect(changesOf({ slots: { 1: unconfirmed(A) } })).toEqual([remove(1, A)]);
    expect(changesOf({ slots: { 1: unconfirmed(A) }, actual: [deny(1, A)] })).toEqual([
      remove(1, A),
    ]);
  });

  test("and was a delete, is deleted again where it is still shown", () => {
    expect(changesOf({ slots: { 1: unconfirmed(null, A) }, actual: [deny(1, A)] })).toEqual([
      remove(1, A),
    ]);
  });

  test("and is shown as it was before, by a read that lags or a replace that was lost, is still ours", () => {
    const slots = { 1: unconfirmed(B, A) };
    expect(changesOf({ wanted: wants(B), slots, actual: [deny(1, A)] })).toEqual([
      replace(1, A, B),
    ]);
    expect(planned({ slots, actual: [deny(1, A)] })).toEqual({
      slots: { 1: unconfirmed(null, A, B) },
      changes: [remove(1, A)],
      ...NOTHING,
    });
  });

  test("is remembered within bounds, however often nothing is confirmed", () => {
    const was = Array.from({ length: 10 }, (_, index) => `198.51.100.${index}/32`);
    expect(planned({ slots: { 1: unconfirmed(A, ...was) } }).slots).toEqual({
      1: unconfirmed(null, A, ...was.slice(0, -1)),
    });
  });
});

describe("a deny of a person", () => {
  const persons = deny(1, C);

  test.each<[string, Slot]>([
    ["that we have just left", leaving(A, B)],
    ["that we left", left(A, B)],
    ["that we may have left", unconfirmed(null, A, B)],
    ["at which we may have put another", unconfirmed(A, B)],
    ["that we left, as it was recorded once", { cidr: null, confirmedAt: NOW - SETTLE }],
  ])("at a number %s is the person's", (_what, slot) => {
    const slots = { 1: slot };
    const foreign = [persons];
    const untouched = { changes: [], shadowed: [], foreign, drifted: [] };
    expect(planned({ slots, actual: [persons] })).toEqual({ slots: {}, ...untouched });
    expect(planned({ slots, actual: [persons], wanted: wants(B) })).toMatchObject({
      slots: { 2: unconfirmed(B) },
      changes: [create(2, B)],
      foreign,
    });
  });

  test("cannot be told from ours where it is not known what we asked for", () => {
    expect(changesOf({ slots: { 1: { cidr: null } }, actual: [persons] })).toEqual([remove(1, C)]);
    expect(
      changesOf({ wanted: wants(A), slots: { 1: { cidr: cidrOf(A) } }, actual: [persons] }),
    ).toEqual([replace(1, C, A)]);
  });
});

describe("whatever it is given", () => {
  const range = fc.constantFrom(...RANGES);
  const number = fc.integer({ min: 1, max: 12 });
  const slot = fc.record({
    cidr: fc.option(range),
    age: fc.option(fc.integer({ min: 0, max: 2 * SETTLE })),
    was: fc.option(fc.array(range, { maxLength: 2 })),
  });
  const anyInput = fc
    .record({
      wanted: fc.uniqueArray(range, { maxLength: 10 }),
      slots: fc.dictionary(number.map(String), slot, { maxKeys: 6 }),
      actual: fc.uniqueArray(
        fc.tuple(number, range, fc.constantFrom("deny", "deny", "partial deny", "allow")),
        {
          maxLength: 8,
          selector: ([ruleNumber]) => ruleNumber,
        },
      ),
      limits: fc.record({ 4: fc.nat(4), 6: fc.nat(3) }),
      protectedRanges: fc.option(fc.array(range, { maxLength: 2 }), { nil: undefined }),
      maxInnocents: fc.constantFrom(0, 0, 4),
    })
    .map(({ wanted, slots, actual, protectedRanges, ...rest }) =>
      inputOf({
        ...rest,
        wanted: wants(...wanted),
        slots: Object.fromEntries(
          Object.entries(slots).map(([key, { cidr, age, was }]) => [
            key,
            {
              cidr: rangeOf(cidr),
              ...(age !== null && { confirmedAt: NOW - age }),
              ...(was && { was: was.map(cidrOf) }),
            },
          ]),
        ),
        actual: actual.map(([ruleNumber, cidr, kind]) => ({
          ruleNumber,
          cidr: cidrOf(cidr),
          kind,
        })),
        neverBlock: protectedRanges && protect(protectedRanges.map((cidr) => [cidr, "test"])),
      }),
    );

  test("the same input has the same output, in whatever order EC2 tells its entries", () => {
    fc.assert(
      fc.property(anyInput, (input) => {
        const once = plan(input);
        expect(plan(input)).toEqual(once);
        const turned = plan({ ...input, actual: input.actual.toReversed() });
        expect({ ...turned, foreign: turned.foreign.toReversed() }).toEqual(once);
      }),
      { numRuns: 2_000 },
    );
  });

  test("it changes each number once at most, none of a person, and what it needs comes first", () => {
    fc.assert(
      fc.property(anyInput, (input) => {
        const { changes, foreign, slots } = plan(input);
        const numbers = changes.map(({ ruleNumber }) => ruleNumber);
        expect(new Set(numbers).size).toBe(numbers.length);
        const persons = [...foreign, ...input.actual.filter(({ kind }) => kind !== "deny")];
        const touched = persons.filter(({ ruleNumber }) => numbers.includes(ruleNumber));
        expect(touched).toEqual([]);
        const early = changes.filter(
          ({ needs }, index) => !needs.every((one) => numbers.slice(0, index).includes(one)),
        );
        expect(early).toEqual([]);
        // Every change is on record before it is asked for.
        expect(changes.filter(({ ruleNumber, cidr }) => slots[ruleNumber]?.cidr !== cidr)).toEqual(
          [],
        );
        const wider = Object.values(slots).filter(
          ({ cidr }) => cidr && !input.wanted.some((one) => overlaps(one.cidr, cidr)),
        );
        expect(wider).toEqual([]);
      }),
      { numRuns: 2_000 },
    );
  });

  test("no range is placed, or stays, behind an allow that overlaps it", () => {
    fc.assert(
      fc.property(anyInput, (input) => {
        const { slots, foreign } = plan(input);
        const persons = input.actual.filter(({ ruleNumber }) => !slots[ruleNumber]);
        const allows = [...foreign, ...persons].filter(({ kind }) => kind === "allow");
        const behind = Object.entries(slots).filter(
          ([number, { cidr }]) => cidr && Number(number) >= ceilingOf(cidr, allows),
        );
        expect(behind).toEqual([]);
      }),
      { numRuns: 5_000 },
    );
  });
});
