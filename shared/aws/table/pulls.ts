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

/** How far the pulls of a source have come. */
export type Progress = {
  /** When the source last told all that it wants, and all of it was reported; 0 for never. */
  readonly wholeAt: EpochMillis;
  /** When the first pull began since which none has finished; absent where the last one did. */
  readonly unfinishedSince?: EpochMillis | undefined;
};

/** What was reported of an address because the source wants it. */
export type Reported = {
  readonly cidr: Cidr;
  /** Until when the source wants it. */
  readonly until: EpochSeconds;
  /** Until when it was reported: no longer than the caller may. */
  readonly expiresAt: EpochSeconds;
  readonly reportedAt: EpochMillis;
};

/** What the pulls of one source remember. */
export type Pulls = {
  /**
   * One pull at a time begins, and is alone until `until`.
   *
   * @returns how far the pulls before it have come
   * @throws ConflictError while another one runs
   */
  begin(now: EpochMillis, until: EpochMillis): Promise<Progress>;
  /** All that was told is queued. @throws ConflictError where the pull's time is over, and another runs */
  finish(until: EpochMillis, wholeAt: EpochMillis): Promise<void>;
  /** The pull has failed: another one may begin. */
  giveUp(until: EpochMillis): Promise<void>;
  /** What was reported, and has not ended; by address. */
  reported(now: EpochMillis): Promise<ReadonlyMap<string, Reported>>;
  remember(reported: readonly Reported[]): Promise<void>;
  forget(cidrs: readonly Cidr[]): Promise<void>;
};

/** DynamoDB's limit. */
const MAX_BATCH = 25;
const MAX_BATCHES_AT_ONCE = 4;
/** How often UnprocessedItems are written again. */
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
      // One that cannot be read counts as none: then all is asked for.
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
