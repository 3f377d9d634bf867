import { expect, test } from "@jest/globals";
import { type Confirmation, createTimeToEntry } from "../../../services/enforcer/timeToEntry.ts";
import type { Block } from "../../../shared/domain/block.ts";
import { cidrOf } from "../../support/ranges.ts";
import { NOW } from "../../support/reports.ts";

const [A, B] = [cidrOf("203.0.113.1"), cidrOf("203.0.113.5")];
const block = (cidr: typeof A, ageMs: number) =>
  ({ cidr, firstSeenAt: NOW - ageMs }) as Partial<Block> as Block;

/** A calm target that has been converged ten seconds ago. */
const calm: Confirmation = {
  target: "one",
  state: { convergedAt: NOW - 10_000, waiting: 0 },
  ranked: [],
  placed: [],
  before: [],
  after: [],
  now: NOW,
};
const entered = (a: Block): Partial<Confirmation> => ({
  ranked: [a],
  placed: [a],
  after: [a.cidr],
});

test("a block counts once, when its entry is confirmed", () => {
  const measure = createTimeToEntry();
  const a = block(A, 700);
  expect(measure({ ...calm, ranked: [a], placed: [a] })).toEqual([]);
  expect(measure({ ...calm, ...entered(a) })).toEqual([700]);
  expect(measure({ ...calm, ...entered(a), before: [A] })).toEqual([]);
});

test("what queue, throttle and failures cost counts, whatever was converged meanwhile", () => {
  const measure = createTimeToEntry();
  expect(measure(calm)).toEqual([]);
  expect(measure({ ...calm, ...entered(block(A, 60_000)) })).toEqual([60_000]);
});

test("what waited for room does not, and what came after it does", () => {
  const measure = createTimeToEntry();
  const [a, b] = [block(A, 60_000), block(B, 400)];
  expect(measure({ ...calm, ranked: [a] })).toEqual([]);
  const both = { ranked: [a, b], placed: [a, b], after: [A, B] };
  expect(measure({ ...calm, ...both })).toEqual([400]);
});

test("targets are full each by itself", () => {
  const measure = createTimeToEntry();
  const a = block(A, 300);
  measure({ ...calm, ranked: [a] });
  expect(measure({ ...calm, ...entered(a), target: "two" })).toEqual([300]);
});

test.each([
  ["nothing waited before", { convergedAt: NOW - 10_000, waiting: 0 }, [30_000]],
  ["something waited, perhaps this", { convergedAt: NOW - 10_000, waiting: 1 }, []],
  ["something waited, but this is newer", { convergedAt: NOW - 40_000, waiting: 1 }, [30_000]],
  ["the target is new", { convergedAt: 0, waiting: 0 }, []],
])("an instance that has just started: %s", (_what, state, expected) => {
  const measure = createTimeToEntry();
  expect(measure({ ...calm, ...entered(block(A, 30_000)), state })).toEqual(expected);
});

test("a clock that is ahead makes no negative time", () => {
  expect(createTimeToEntry()({ ...calm, ...entered(block(A, -50)) })).toEqual([0]);
});
