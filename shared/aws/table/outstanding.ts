import { type DynamoDBDocumentClient, QueryCommand, UpdateCommand } from "@aws-sdk/lib-dynamodb";
import type { Block } from "../../domain/block.ts";
import {
  type Counts,
  countOutstanding,
  endedSpans,
  type Shift,
  shiftsOf,
} from "../../domain/outstanding.ts";
import { type EpochMillis, isExpired, type Seconds, toEpochSeconds } from "../../domain/time.ts";
import { batchGet, partition, type TableConfig } from "./items.ts";

/** How many blocks are in force, per caller and in total. */
export type Outstanding = {
  /** Counts what a batch changed. @returns how many are in force in total, if anything changed */
  count(shifts: readonly Shift[], now: EpochMillis): Promise<number | undefined>;
  read(caller: string, now: EpochMillis): Promise<{ readonly own: number; readonly all: number }>;
  /**
   * Sets the counts to what the list says, whatever they were. A block that begins while the list is read
   * may count twice until it ends.
   */
  recount(list: AsyncIterable<readonly Block[]>, now: EpochMillis): Promise<void>;
};

/** The count of all callers' blocks. No caller can have this name. */
const ALL = "*";

/** Longer than any block can last; after that, its counts are of no use. */
const MEMORY: Seconds = 400 * 86_400;

const CALLER_KEY = "caller#";
const keyOf = (caller: string) => CALLER_KEY + caller;

/** Spans that one update changes: an expression may have 4 KB at most. */
const MAX_SPANS = 100;

export function createOutstanding(
  dynamo: DynamoDBDocumentClient,
  config: TableConfig,
): Outstanding {
  const list = partition.outstanding(config.list);

  async function add(caller: string, spans: ReadonlyMap<string, number>, now: EpochMillis) {
    const entries = [...spans].filter(([, by]) => by !== 0);
    if (entries.length === 0) return undefined;
    const adds = entries.map((_, index) => `#s${index} :b${index}`).join(", ");
    const { Attributes } = await dynamo.send(
      new UpdateCommand({
        TableName: config.tableName,
        Key: { list, sk: keyOf(caller) },
        UpdateExpression: `SET expiresAt = :until ADD ${adds}`,
        ExpressionAttributeNames: Object.fromEntries(
          entries.map(([span], index) => [`#s${index}`, span]),
        ),
        ExpressionAttributeValues: {
          ":until": toEpochSeconds(now) + MEMORY,
          ...Object.fromEntries(entries.map(([, by], index) => [`:b${index}`, by])),
        },
        ReturnValues: "ALL_NEW",
      }),
    );
    const counts = countsOf(Attributes);
    await forget(caller, endedSpans(counts, now));
    return countOutstanding(counts, now);
  }

  /** Fits one update: an item keeps at most a few hundred spans. */
  async function forget(caller: string, spans: readonly string[]): Promise<void> {
    if (spans.length < MANY) return;
    await dynamo.send(
      new UpdateCommand({
        TableName: config.tableName,
        Key: { list, sk: keyOf(caller) },
        UpdateExpression: `REMOVE ${spans.map((_, index) => `#s${index}`).join(", ")}`,
        ExpressionAttributeNames: Object.fromEntries(
          spans.map((span, index) => [`#s${index}`, span]),
        ),
      }),
    );
  }

  /** The counts of each caller, and of all together. */
  async function readAll(): Promise<Map<string, Counts>> {
    const all = new Map<string, Counts>();
    let ExclusiveStartKey: Record<string, unknown> | undefined;
    do {
      const page = await dynamo.send(
        new QueryCommand({
          TableName: config.tableName,
          KeyConditionExpression: "#list = :list",
          ExpressionAttributeNames: { "#list": "list" },
          ExpressionAttributeValues: { ":list": list },
          ConsistentRead: true,
          ...(ExclusiveStartKey && { ExclusiveStartKey }),
        }),
      );
      for (const item of page.Items ?? [])
        all.set(String(item.sk).slice(CALLER_KEY.length), countsOf(item));
      ExclusiveStartKey = page.LastEvaluatedKey;
    } while (ExclusiveStartKey);
    return all;
  }

  return {
    async count(shifts, now) {
      const byCaller = Map.groupBy(shifts, ({ caller }) => caller);
      const [all] = await Promise.all([
        add(ALL, sumOf(shifts), now),
        ...[...byCaller].map(([caller, own]) => add(caller, sumOf(own), now)),
      ]);
      return all;
    },

    async recount(blocks, now) {
      const before = await readAll();
      const counted = new Map<string, Map<string, number>>();
      for await (const page of blocks) {
        const inForce = page.filter((block) => !isExpired(block, now));
        for (const { caller, span } of inForce.flatMap((one) => shiftsOf(undefined, one, now))) {
          for (const name of [ALL, caller]) {
            const own = counted.get(name) ?? new Map<string, number>();
            counted.set(name, own.set(span, (own.get(span) ?? 0) + 1));
          }
        }
      }
      for (const caller of new Set([...before.keys(), ...counted.keys()])) {
        const was = before.get(caller) ?? {};
        const is = counted.get(caller) ?? new Map<string, number>();
        const ended = new Set(endedSpans(was, now));
        const wrong = [...new Set([...Object.keys(was), ...is.keys()])]
          .filter((span) => !ended.has(span))
          .map((span) => [span, (is.get(span) ?? 0) - (was[span] ?? 0)] as const)
          .filter(([, by]) => by !== 0);
        for (let start = 0; start < wrong.length; start += MAX_SPANS)
          await add(caller, new Map(wrong.slice(start, start + MAX_SPANS)), now);
      }
    },

    async read(caller, now) {
      const keys = [caller, ALL].map((name) => ({ list, sk: keyOf(name) }));
      const items = await batchGet(dynamo, config, keys);
      const countOf = (name: string) => countOutstanding(countsOf(items.get(keyOf(name))), now);
      return { own: countOf(caller), all: countOf(ALL) };
    },
  };
}

function sumOf(shifts: readonly Shift[]): Map<string, number> {
  const spans = new Map<string, number>();
  for (const { span, by } of shifts) spans.set(span, (spans.get(span) ?? 0) + by);
  return spans;
}

/** Ended spans are removed once there are this many. */
const MANY = 50;

/** The counts among an item's attributes. */
function countsOf(item: unknown): Counts {
  const entries = Object.entries((item ?? {}) as object);
  return Object.fromEntries(
    entries.filter(([name, value]) => /^[mhd]\d+$/.test(name) && typeof value === "number"),
  );
}
