import {
  BatchWriteCommand,
  type DynamoDBDocumentClient,
  QueryCommand,
  UpdateCommand,
} from "@aws-sdk/lib-dynamodb";
import pLimit from "p-limit";
import * as v from "valibot";
import type { Cidr } from "../../domain/cidr.ts";
import { type EpochMillis, type EpochSeconds, isExpired } from "../../domain/time.ts";
import type { Logger } from "../log.ts";
import { cidr } from "../schemas.ts";
import {
  ConflictError,
  conditionally,
  createReader,
  partition,
  type TableConfig,
} from "./items.ts";

/** How far a source's pulls have got. */
export type Progress = {
  /** When the source last said all that it wants, and all of it was reported; 0 for never. */
  readonly wholeAt: EpochMillis;
  /** When the first of the latest unfinished pulls began; absent if the last pull finished. */
  readonly unfinishedSince?: EpochMillis | undefined;
};

/** What was reported of an address because the source wants it. */
export type Reported = {
  readonly cidr: Cidr;
  /** When the block that the source wants ends. */
  readonly until: EpochSeconds;
  /** When the reported block ends, cut to the caller's limit. */
  readonly expiresAt: EpochSeconds;
  readonly reportedAt: EpochMillis;
};

/** What one source's pulls remember. */
export type Pulls = {
  /**
   * Begins a pull. Only one runs at a time, for as long as `until`.
   *
   * @returns how far the pulls before it have got
   * @throws ConflictError while another one runs
   */
  begin(now: EpochMillis, until: EpochMillis): Promise<Progress>;
  /** All that the source said is queued. @throws ConflictError if the pull's time is over and another runs */
  finish(until: EpochMillis, wholeAt: EpochMillis): Promise<void>;
  /** The pull has failed: another may begin. */
  giveUp(until: EpochMillis): Promise<void>;
  /** What was reported and has not ended, by address. */
  reported(now: EpochMillis): Promise<ReadonlyMap<string, Reported>>;
  remember(reported: readonly Reported[]): Promise<void>;
  forget(cidrs: readonly Cidr[]): Promise<void>;
};

/** DynamoDB's limit. */
const MAX_BATCH = 25;
const MAX_BATCHES_AT_ONCE = 4;
/** Attempts to write a batch, each with the UnprocessedItems of the one before. */
const MAX_TRIES = 6;

const progressItem = v.object({
  wholeAt: v.optional(v.number(), 0),
  unfinishedSince: v.optional(v.number()),
});
const reportedItem = v.object({
  cidr,
  until: v.number(),
  expiresAt: v.number(),
  reportedAt: v.number(),
});

/** @param source its name */
export function createPulls(
  dynamo: DynamoDBDocumentClient,
  { tableName, list }: TableConfig,
  source: string,
  log?: Pick<Logger, "error">,
): Pulls {
  const readable = createReader(log);
  const pulls = partition.pulls(list);
  const progress = { TableName: tableName, Key: { list: pulls, sk: `pull#${source}` } };
  const reportedKey = `reported#${source}#`;
  const keyOf = ({ text }: Cidr) => ({ list: pulls, sk: reportedKey + text });
  const ifAlone = (until: EpochMillis) => ({
    ConditionExpression: "aloneUntil = :alone",
    ExpressionAttributeValues: { ":alone": until },
  });

  async function writeBatch(batch: Requests): Promise<void> {
    let left: Requests | undefined = batch;
    for (let attempt = 0; left && left.length > 0; attempt++) {
      if (attempt === MAX_TRIES)
        throw new Error("DynamoDB keeps leaving items of a batch unwritten.");
      const batchWrite = new BatchWriteCommand({ RequestItems: { [tableName]: left } });
      left = (await dynamo.send(batchWrite)).UnprocessedItems?.[tableName];
    }
  }
  async function write(requests: Requests): Promise<void> {
    const limit = pLimit(MAX_BATCHES_AT_ONCE);
    const batches = Array.from({ length: Math.ceil(requests.length / MAX_BATCH) }, (_, index) =>
      requests.slice(index * MAX_BATCH, (index + 1) * MAX_BATCH),
    );
    await Promise.all(batches.map((batch) => limit(() => writeBatch(batch))));
  }

  return {
    async begin(now, until) {
      let before: unknown;
      await conditionally(async () => {
        const { Attributes } = await dynamo.send(
          new UpdateCommand({
            ...progress,
            UpdateExpression:
              "SET aloneUntil = :until, unfinishedSince = if_not_exists(unfinishedSince, :now)",
            ConditionExpression: "attribute_not_exists(aloneUntil) OR aloneUntil <= :now",
            ExpressionAttributeValues: { ":until": until, ":now": now },
            ReturnValues: "ALL_OLD",
          }),
        );
        before = Attributes;
      });
      // An unreadable item counts as none: then everything is asked for.
      return readable(progressItem, before) ?? { wholeAt: 0 };
    },

    async finish(until, wholeAt) {
      const { ExpressionAttributeValues, ...alone } = ifAlone(until);
      await conditionally(() =>
        dynamo.send(
          new UpdateCommand({
            ...progress,
            ...alone,
            UpdateExpression: "SET wholeAt = :whole REMOVE aloneUntil, unfinishedSince",
            ExpressionAttributeValues: { ...ExpressionAttributeValues, ":whole": wholeAt },
          }),
        ),
      );
    },

    async giveUp(until) {
      await conditionally(() =>
        dynamo.send(
          new UpdateCommand({
            ...progress,
            ...ifAlone(until),
            UpdateExpression: "REMOVE aloneUntil",
          }),
        ),
      ).catch((error) => {
        if (!(error instanceof ConflictError)) throw error;
      });
    },

    async reported(now) {
      const reported = new Map<string, Reported>();
      let ExclusiveStartKey: Record<string, unknown> | undefined;
      do {
        const page = await dynamo.send(
          new QueryCommand({
            TableName: tableName,
            KeyConditionExpression: "#list = :pulls AND begins_with(sk, :reported)",
            ExpressionAttributeNames: { "#list": "list" },
            ExpressionAttributeValues: { ":pulls": pulls, ":reported": reportedKey },
            ConsistentRead: true,
            ...(ExclusiveStartKey && { ExclusiveStartKey }),
          }),
        );
        for (const item of page.Items ?? []) {
          const one = readable(reportedItem, item);
          if (one && !isExpired(one, now)) reported.set(one.cidr.text, one);
        }
        ExclusiveStartKey = page.LastEvaluatedKey;
      } while (ExclusiveStartKey);
      return reported;
    },

    remember: (reported) =>
      write(
        reported.map(({ cidr, ...one }) => ({
          PutRequest: { Item: { ...keyOf(cidr), ...one, cidr: cidr.text } },
        })),
      ),

    forget: (cidrs) => write(cidrs.map((cidr) => ({ DeleteRequest: { Key: keyOf(cidr) } }))),
  };
}

type Requests = NonNullable<
  NonNullable<ConstructorParameters<typeof BatchWriteCommand>[0]["RequestItems"]>[string]
>;
