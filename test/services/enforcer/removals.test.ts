import { describe, expect, test } from "@jest/globals";
import type { DynamoDBRecord, ScheduledEvent, SQSRecord } from "aws-lambda";
import { removalsIn } from "../../../services/enforcer/removals.ts";
import { parseCidr } from "../../../shared/domain/cidr.ts";
import { insertOf, removalOf, TTL } from "../../support/streamRecords.ts";

const removalsOf = (...Records: DynamoDBRecord[]) => removalsIn({ Records });

const END = 1_800_000_060;
const BLOCK = {
  cidr: "203.0.113.1/32",
  strikes: 2,
  score: 1_800_000_000_123,
  firstSeenAt: 1_800_000_000_000,
  expiresAt: END,
};
const ITEM = { list: "the-list", sk: "block#203.0.113.1/32", ...BLOCK, reason: "port scan" };

describe("a block that left", () => {
  test("comes with what the offender's item needs of it", () => {
    const block = { ...BLOCK, cidr: parseCidr(BLOCK.cidr) };
    expect(removalsOf(removalOf(ITEM, END, TTL))).toEqual([{ block, byTtl: true, hasEnded: true }]);
  });

  test.each([
    ["by TTL, however late", END + 86_400, TTL, { byTtl: true, hasEnded: true }],
    ["by TTL, by a clock that is behind", END - 1, TTL, { byTtl: true, hasEnded: true }],
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
    expect(removalsOf(removalOf(ITEM, removedAt, identity))).toMatchObject([expected]);
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
  expect(removalsOf(...records).map(({ block }) => block.cidr.text)).toEqual(["203.0.113.9/32"]);
});

test.each<[string, Parameters<typeof removalsIn>[0]]>([
  ["no records", { Records: [] }],
  ["a wake-up", { Records: [{ messageId: "1", body: "{}" } as SQSRecord] }],
  ["the schedule", { "detail-type": "Scheduled Event" } as ScheduledEvent],
])("%s: no removals", (_what, event) => {
  expect(removalsIn(event)).toEqual([]);
});
