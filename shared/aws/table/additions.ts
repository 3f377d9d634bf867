import { setTimeout as pause } from "node:timers/promises";
import { TransactionCanceledException } from "@aws-sdk/client-dynamodb";
import {
  type DynamoDBDocumentClient,
  GetCommand,
  QueryCommand,
  TransactWriteCommand,
  UpdateCommand,
} from "@aws-sdk/lib-dynamodb";
import * as v from "valibot";
import type { Millis } from "../../domain/time.ts";
import { ConflictError, conditionally, type TableConfig } from "./items.ts";

/** An item that an operator has added, under its sort key. */
export type Addition = { readonly sk: string } & Readonly<Record<string, unknown>>;

/** What operators have added in one partition. */
export type Additions = {
  /** Grows with every change: the same version means the same items. Reads consistently. */
  version(): Promise<number>;
  items(): Promise<readonly Addition[]>;
};

/** The item that counts the changes of its partition. */
const VERSION = "version";

const versionItem = v.object({ version: v.number() });

export function createAdditions(
  dynamo: DynamoDBDocumentClient,
  { tableName }: Pick<TableConfig, "tableName">,
  partition: string,
): Additions {
  return {
    async version() {
      const { Item } = await dynamo.send(
        new GetCommand({
          TableName: tableName,
          Key: { list: partition, sk: VERSION },
          ConsistentRead: true,
        }),
      );
      return Item === undefined ? 0 : v.parse(versionItem, Item).version;
    },

    async items() {
      const items: Addition[] = [];
      let ExclusiveStartKey: Record<string, unknown> | undefined;
      do {
        const page = await dynamo.send(
          new QueryCommand({
            TableName: tableName,
            KeyConditionExpression: "#list = :partition",
            ExpressionAttributeNames: { "#list": "list" },
            ExpressionAttributeValues: { ":partition": partition },
            ConsistentRead: true,
            ...(ExclusiveStartKey && { ExclusiveStartKey }),
          }),
        );
        items.push(...((page.Items ?? []) as Addition[]).filter(({ sk }) => sk !== VERSION));
        ExclusiveStartKey = page.LastEvaluatedKey;
      } while (ExclusiveStartKey);
      return items;
    },
  };
}

/** A change of one item. */
export type Change = {
  readonly partition: string;
  readonly sk: string;
  /** The new content; undefined to remove the item. */
  readonly item: Readonly<Record<string, unknown>> | undefined;
  /** The item must not exist yet. */
  readonly isNew?: boolean;
};

/** DynamoDB's limit of 100 actions per transaction, less the versions of two partitions. */
const MAX_CHANGES = 98;

/** How often a transaction that conflicts with another is tried. */
const MAX_ATTEMPTS = 5;
const PAUSE: Millis = 50;

/**
 * Writes an operator's changes and increments the version of each partition. As many changes as a
 * transaction takes are made together or not at all.
 *
 * @throws ConflictError if a new item already exists, or others keep changing the same items
 */
export async function writeAdditions(
  dynamo: DynamoDBDocumentClient,
  { tableName: TableName }: Pick<TableConfig, "tableName">,
  changes: readonly Change[],
): Promise<void> {
  for (let start = 0; start < changes.length; start += MAX_CHANGES) {
    const some = changes.slice(start, start + MAX_CHANGES);
    const partitions = new Set(some.map(({ partition }) => partition));
    await untilAlone(() =>
      dynamo.send(
        new TransactWriteCommand({
          TransactItems: [
            ...some.map(({ partition, sk, item, isNew }) =>
              item === undefined
                ? { Delete: { TableName, Key: { list: partition, sk } } }
                : {
                    Put: {
                      TableName,
                      Item: { list: partition, sk, ...item },
                      ...(isNew && { ConditionExpression: "attribute_not_exists(sk)" }),
                    },
                  },
            ),
            ...Array.from(partitions, (partition) => ({
              Update: {
                TableName,
                Key: { list: partition, sk: VERSION },
                UpdateExpression: "ADD version :one",
                ExpressionAttributeValues: { ":one": 1 },
              },
            })),
          ],
        }),
      ),
    );
  }
}

async function untilAlone(write: () => Promise<unknown>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await write();
      return;
    } catch (cause) {
      if (!(cause instanceof TransactionCanceledException)) throw cause;
      const has = (code: string) => cause.CancellationReasons?.some(({ Code }) => Code === code);
      if (has("ConditionalCheckFailed")) throw new ConflictError("It is there already.", { cause });
      if (!has("TransactionConflict")) throw cause;
      if (attempt === MAX_ATTEMPTS) {
        throw new ConflictError("Others keep changing the same items.", { cause });
      }
      await pause(Math.random() * PAUSE * attempt);
    }
  }
}

/**
 * Raises the version of a partition to at least `version`: after the table has been lost, a number that an
 * instance remembers must not recur for other items.
 */
export async function passVersion(
  dynamo: DynamoDBDocumentClient,
  { tableName: TableName }: Pick<TableConfig, "tableName">,
  partition: string,
  version: number,
): Promise<void> {
  const pass = conditionally(() =>
    dynamo.send(
      new UpdateCommand({
        TableName,
        Key: { list: partition, sk: VERSION },
        UpdateExpression: "SET version = :version",
        ConditionExpression: "attribute_not_exists(sk) OR version < :version",
        ExpressionAttributeValues: { ":version": version },
      }),
    ),
  );
  await pass.catch((error) => {
    if (!(error instanceof ConflictError)) throw error;
  });
}
