import { describe, expect, test } from "@jest/globals";
import type { DynamoDBRecord, ScheduledEvent, SQSRecord } from "aws-lambda";
import { rememberEnded, removalsIn } from "../../../services/enforcer/removals.ts";
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

describe("remembering those that have ended", () => {
  const ended = (count: number) =>
    removalsOf(...Array.from({ length: count }, () => removalOf(ITEM, END, TTL)));
  const lines: string[] = [];
  const log = { error: (line: unknown) => void lines.push(String(line)) } as never;
  const remember = (
    removals: ReturnType<typeof ended>,
    write: () => Promise<void>,
    { until = 1, clock = (): number => 0 } = {},
  ) => rememberEnded(removals, { remember: write }, 60, until, { log, clock });

  test("writes each once, a bounded number at a time, and leaves the others out", async () => {
    let [written, now, most] = [0, 0, 0];
    const write = async () => {
      most = Math.max(most, ++now);
      await new Promise(setImmediate);
      now--;
      written++;
    };
    const byHand = removalsOf(removalOf(ITEM, END - 1));
    expect(await remember([...ended(1_000), ...byHand], write)).toBe(0);
    expect([written, most, lines]).toEqual([1_000, 25, []]);
  });

  test("ends soon where the table fails, and says how many are forgotten", async () => {
    let asked = 0;
    const write = async () => {
      asked++;
      throw new Error("The table is down.");
    };
    expect(await remember(ended(1_000), write)).toBe(1_000);
    expect(asked).toBeLessThanOrEqual(50);
    expect(lines).toEqual(["Offenders are forgotten"]);
  });

  test("begins none once its time is up", async () => {
    let now = 0;
    const write = async () => {
      await new Promise(setImmediate);
      now++;
    };
    const forgotten = await remember(ended(100), write, { until: 25, clock: (): number => now });
    expect(forgotten).toBe(100 - now);
    expect(now).toBeLessThan(50);
  });
});
