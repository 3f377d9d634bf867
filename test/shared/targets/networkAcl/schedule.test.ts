import { describe, expect, test } from "@jest/globals";
import {
  type Change,
  type Holding,
  schedule,
} from "../../../../shared/targets/networkAcl/schedule.ts";
import { cidrOf } from "../../../support/ranges.ts";

/** No two of them are siblings. */
const [A, B, C, D] = ["203.0.113.0/32", "203.0.113.4/32", "203.0.113.8/32", "203.0.113.12/32"];
const V6 = "2001:db8::1/128";
const PLENTY = { 4: 9, 6: 9 };

const create = (ruleNumber: number, cidr = A, needs: number[] = []): Change => ({
  ...{ kind: "create", ruleNumber, cidr: cidrOf(cidr), before: null, needs },
});
const replace = (
  ruleNumber: number,
  before: string | undefined,
  cidr: string | undefined,
  needs: number[] = [],
): Change => ({
  ...{ kind: "replace", ruleNumber, cidr: cidrOf(cidr ?? A), before: cidrOf(before ?? A), needs },
});
const remove = (ruleNumber: number, before = A, needs: number[] = []): Change => ({
  ...{ kind: "delete", ruleNumber, cidr: null, before: cidrOf(before), needs },
});
const holding = (...numbers: number[]): Holding[] =>
  numbers.map((ruleNumber) => ({ ruleNumber, family: 4, isCertain: true }));
const uncertain = (ruleNumber: number): Holding => ({ ruleNumber, family: 4, isCertain: false });
const numbersIn = (changes: readonly Change[]) => changes.map(({ ruleNumber }) => ruleNumber);

describe("the order", () => {
  test("is as given where nothing is in the way", () => {
    const changes = [create(3, A), remove(1), replace(2, B, C), create(4, V6)];
    expect(schedule(changes, holding(1, 2), PLENTY)).toEqual(changes);
  });

  test("of nothing is nothing", () => {
    expect(schedule([], holding(1), PLENTY)).toEqual([]);
  });

  test("puts what another one needs before it, over several steps", () => {
    const changes = [remove(1, A, [2]), replace(2, B, C, [3, 4]), create(3, A), create(4, D)];
    const ordered = schedule(changes, holding(1, 2), PLENTY);
    expect(numbersIn(ordered)).toEqual([3, 4, 2, 1]);
    expect(ordered.map(({ needs }) => needs)).toEqual([[], [], [3, 4], [2]]);
  });

  test("does not keep back for it those that need nothing", () => {
    const changes = [create(5, D), remove(1, A, [4]), create(4, A), create(6, C)];
    expect(numbersIn(schedule(changes, holding(1), PLENTY))).toEqual([5, 4, 1, 6]);
  });
});

describe("room", () => {
  test("is made before a new entry comes", () => {
    expect(numbersIn(schedule([create(3), remove(1)], holding(1, 2), { 4: 2, 6: 2 }))).toEqual([
      1, 3,
    ]);
  });

  test("is not needed by a replace within a family", () => {
    const changes = [replace(1, A, B), remove(2)];
    expect(schedule(changes, holding(1, 2), { 4: 2, 6: 2 })).toEqual(changes);
  });

  test("is needed by a replace of the other family's entry, which makes room there", () => {
    const changes = [create(3, A), replace(1, B, V6), replace(4, V6, C)];
    const six: Holding = { ruleNumber: 4, family: 6, isCertain: true };
    expect(numbersIn(schedule(changes, [...holding(1), six], { 4: 1, 6: 1 }))).toEqual([4, 1, 3]);
    expect(numbersIn(schedule(changes, [...holding(1), six], { 4: 2, 6: 2 }))).toEqual([3, 1, 4]);
  });

  test("is not there for an entry whose own number may be empty", () => {
    const changes = [create(2, A), remove(1)];
    const holdings = [...holding(1), uncertain(2)];
    expect(numbersIn(schedule(changes, holdings, { 4: 1, 6: 1 }))).toEqual([1, 2]);
  });

  test("is taken up again as soon as it is made", () => {
    const changes = [create(3, A), create(4, B), remove(1), remove(2)];
    const limits = { 4: 2, 6: 2 };
    expect(numbersIn(schedule(changes, holding(1, 2), limits))).toEqual([1, 3, 2, 4]);
  });

  test("of one family is not the other's", () => {
    const changes = [create(3, V6), create(4, A)];
    expect(schedule(changes, holding(1, 2), { 4: 3, 6: 1 })).toEqual(changes);
  });

  test("is counted with what may be there", () => {
    const holdings = [...holding(1), uncertain(2)];
    const changes = [create(3, A), remove(2)];
    expect(numbersIn(schedule(changes, holdings, { 4: 2, 6: 2 }))).toEqual([2, 3]);
  });

  test("is there for an entry at the very number where it may be already", () => {
    const changes = [create(2, A), remove(1)];
    expect(schedule(changes, [...holding(1), uncertain(2)], { 4: 2, 6: 2 })).toEqual(changes);
  });

  test("the last of it is for what others need, not for the strongest", () => {
    // 1 becomes the other family's once its range stands at 4.
    const changes = [create(3, A), replace(1, B, V6, [4]), create(4, B)];
    const limits = { 4: 3, 6: 1 };
    expect(numbersIn(schedule(changes, holding(1, 2), limits))).toEqual([4, 1, 3]);
    expect(numbersIn(schedule(changes, holding(1, 2), { 4: 4, 6: 1 }))).toEqual([3, 4, 1]);
  });

  test("is kept for all that others need", () => {
    const changes = [create(3, A), replace(1, B, V6, [4, 5]), create(4, B), create(5, C)];
    expect(numbersIn(schedule(changes, holding(1), { 4: 3, 6: 1 }))).toEqual([4, 5, 1, 3]);
  });
});

describe("what cannot be waited for", () => {
  test("goes first where two need each other, the last one given, and no longer needs the other", () => {
    const ordered = schedule([replace(1, A, B, [2]), replace(2, B, A, [1])], holding(1, 2), PLENTY);
    expect(ordered).toEqual([replace(2, B, A, []), replace(1, A, B, [2])]);
  });

  test("is the old entry, where there is no room for the new one beside it", () => {
    const ordered = schedule([create(3, A), remove(1, A, [3])], holding(1), { 4: 1, 6: 1 });
    expect(ordered).toEqual([remove(1, A, []), create(3, A)]);
  });

  test("is never one entry too many, while another one can go first", () => {
    const changes = [replace(1, B, V6, [4]), create(4, B)];
    const ordered = schedule(changes, holding(1, 2), { 4: 2, 6: 1 });
    expect(ordered).toEqual([replace(1, B, V6, []), create(4, B)]);
  });

  test("still waits for what it can", () => {
    const changes = [create(3, C), replace(1, A, B, [2, 3]), replace(2, B, A, [1])];
    const ordered = schedule(changes, holding(1, 2), PLENTY);
    expect(ordered).toEqual([create(3, C), replace(2, B, A, []), replace(1, A, B, [2, 3])]);
  });

  test("is done all the same where there is no room at all", () => {
    const changes = [create(1, A), create(2, B)];
    expect(numbersIn(schedule(changes, [], { 4: 0, 6: 0 })).toSorted()).toEqual([1, 2]);
  });
});
