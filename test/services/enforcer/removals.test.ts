import { describe, expect, test } from "@jest/globals";
import { removalsIn } from "../../../services/enforcer/removals.ts";
import { insertOf, removalOf, TTL } from "../../support/streamRecords.ts";

const END = 1_800_000_060;
const BLOCK = {
  cidr: "203.0.113.1/32",
  strikes: 2,
  firstSeenAt: 1_800_000_000_000,
  expiresAt: END,
};
const ITEM = { aclId: "acl-1", sk: "block#203.0.113.1/32", ...BLOCK, reason: "port scan" };

describe("a block that left", () => {
  test("is told with what the offender's item needs of it", () => {
    expect(removalsIn([removalOf(ITEM, END, TTL)])).toEqual([
      { block: BLOCK, byTtl: true, hasEnded: true },
    ]);
  });

  test.each([
    ["by TTL, however late", END + 86_400, TTL, { byTtl: true, hasEnded: true }],
    ["by hand before its end", END - 1, undefined, { byTtl: false, hasEnded: false }],
    ["by hand at its end", END, undefined, { byTtl: false, hasEnded: true }],
    [
      "by the worker, which replaced it later",
      END + 5,
      undefined,
      { byTtl: false, hasEnded: true },
    ],
    [
      "by another service before its end",
      END - 1,
      { type: "Service", principalId: "backup.amazonaws.com" },
      { byTtl: false, hasEnded: false },
    ],
    [
      "by who only calls itself DynamoDB",
      END - 1,
      { type: "IAMUser", principalId: "dynamodb.amazonaws.com" },
      { byTtl: false, hasEnded: false },
    ],
  ])("%s", (_what, removedAt, identity, expected) => {
    expect(removalsIn([removalOf(ITEM, removedAt, identity)])).toMatchObject([expected]);
  });
});

test("what came, and what nobody can read, is left out; the rest is not", () => {
  const { OldImage: _, ...withoutImage } = removalOf(ITEM, END).dynamodb ?? {};
  const records = [
    insertOf(ITEM),
    removalOf({ ...ITEM, strikes: "two" }, END, TTL),
    removalOf({ sk: "block#203.0.113.2/32" }, END, TTL),
    { ...removalOf(ITEM, END), dynamodb: withoutImage },
    { eventName: "REMOVE" as const },
    removalOf({ ...ITEM, cidr: "203.0.113.9/32" }, END, TTL),
  ];
  expect(removalsIn(records).map(({ block }) => block.cidr)).toEqual(["203.0.113.9/32"]);
});

test("no records are no removals", () => {
  expect(removalsIn([])).toEqual([]);
});
