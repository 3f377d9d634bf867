import { type DynamoDBDocumentClient, GetCommand, UpdateCommand } from "@aws-sdk/lib-dynamodb";
import * as v from "valibot";
import { type TableConfig, unblocksOf } from "./items.ts";

/** How many unblocks of the list there were: what the endpoint's instances share. */
export type UnblockCount = {
  /** Reads consistently. */
  read(signal: AbortSignal): Promise<number>;
  increment(): Promise<void>;
};

const countItem = v.object({ unblocks: v.number() });

export function createUnblockCount(
  dynamo: DynamoDBDocumentClient,
  { tableName, list }: TableConfig,
): UnblockCount {
  const Key = { list: unblocksOf(list), sk: "unblocks" };
  return {
    async read(abortSignal) {
      const { Item } = await dynamo.send(
        new GetCommand({ TableName: tableName, Key, ConsistentRead: true }),
        { abortSignal },
      );
      return Item === undefined ? 0 : v.parse(countItem, Item).unblocks;
    },
    async increment() {
      await dynamo.send(
        new UpdateCommand({
          TableName: tableName,
          Key,
          UpdateExpression: "ADD unblocks :one",
          ExpressionAttributeValues: { ":one": 1 },
        }),
      );
    },
  };
}
