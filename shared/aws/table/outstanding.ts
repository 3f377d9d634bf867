import { type DynamoDBDocumentClient, UpdateCommand } from "@aws-sdk/lib-dynamodb";
import { type Counts, countOutstanding, endedSpans, type Shift } from "../../domain/outstanding.ts";
import { type EpochMillis, type Seconds, toEpochSeconds } from "../../domain/time.ts";
import { batchGet, partition, type TableConfig } from "./items.ts";

/** How many blocks are in force, of each caller and in all. */
export type Outstanding = {
  /** Counts what a batch changed. @returns how many are in force in all, where anything changed */
  count(shifts: readonly Shift[], now: EpochMillis): Promise<number | undefined>;
  read(caller: string, now: EpochMillis): Promise<{ readonly own: number; readonly all: number }>;
};

/** The count of all callers' blocks. No caller may have this name: it is not one of theirs. */
const ALL = "*";

/** The longest that a block can last: then its counts are of no use. */
const MEMORY: Seconds = 400 * 86_400;

const keyOf = (caller: string) => `caller#${caller}`;

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

  /** Few at a time: an item keeps at most a few hundred spans. */
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

  return {
    async count(shifts, now) {
      const of = (wanted: readonly Shift[]) => {
        const spans = new Map<string, number>();
        for (const { span, by } of wanted) spans.set(span, (spans.get(span) ?? 0) + by);
        return spans;
      };
      const byCaller = Map.groupBy(shifts, ({ caller }) => caller);
      const [all] = await Promise.all([
        add(ALL, of(shifts), now),
        ...[...byCaller].map(([caller, own]) => add(caller, of(own), now)),
      ]);
      return all;
    },

    async read(caller, now) {
      const keys = [caller, ALL].map((name) => ({ list, sk: keyOf(name) }));
      const items = await batchGet(dynamo, config, keys);
      const countOf = (name: string) => countOutstanding(countsOf(items.get(keyOf(name))), now);
      return { own: countOf(caller), all: countOf(ALL) };
    },
  };
}

/** Spans that are over are removed so many at once. */
const MANY = 50;

/** The counts among an item's attributes. */
function countsOf(item: unknown): Counts {
  const entries = Object.entries((item ?? {}) as object);
  return Object.fromEntries(
    entries.filter(([name, value]) => /^[mhd]\d+$/.test(name) && typeof value === "number"),
  );
}
