import {
  type DynamoDBDocumentClient,
  GetCommand,
  PutCommand,
  QueryCommand,
} from "@aws-sdk/lib-dynamodb";
import * as v from "valibot";
import { newTargetState, type TargetState, targetState } from "../../targets/state.ts";
import type { TargetKind } from "../../targets/target.ts";
import { conditionally, type TableConfig, targetsOf } from "./items.ts";

/** What is remembered of each target. */
export type TargetStates = {
  /** @throws ValiError where the item is there but cannot be read: what is ours must not be forgotten */
  read(id: string, kind: TargetKind): Promise<TargetState>;
  /** @throws ConflictError where `state.version` is no longer the table's */
  write(id: string, state: TargetState): Promise<TargetState>;
  /** The ranges of the networks behind all targets, as the enforcer has recorded them. */
  readNetworks(): Promise<string[]>;
  writeNetwork(id: string, ranges: readonly string[]): Promise<void>;
};

const networkItem = v.object({ ranges: v.array(v.string()) });

const targetKey = (id: string) => `target#${id}`;
const networkKey = (id: string) => `network#${id}`;

export function createTargetStates(
  dynamo: DynamoDBDocumentClient,
  { tableName, list }: TableConfig,
): TargetStates {
  const partition = targetsOf(list);
  return {
    async read(id, kind) {
      const { Item } = await dynamo.send(
        new GetCommand({
          TableName: tableName,
          Key: { list: partition, sk: targetKey(id) },
          ConsistentRead: true,
        }),
      );
      return Item === undefined ? newTargetState(kind) : v.parse(targetState, Item);
    },

    async write(id, state) {
      const written = { ...state, version: state.version + 1 };
      await conditionally(() =>
        dynamo.send(
          new PutCommand({
            TableName: tableName,
            Item: { list: partition, sk: targetKey(id), ...written },
            ConditionExpression:
              state.version === 0 ? "attribute_not_exists(sk)" : "version = :version",
            ...(state.version > 0 && { ExpressionAttributeValues: { ":version": state.version } }),
          }),
        ),
      );
      return written;
    },

    async readNetworks() {
      const { Items } = await dynamo.send(
        new QueryCommand({
          TableName: tableName,
          KeyConditionExpression: "#list = :list AND begins_with(sk, :network)",
          ExpressionAttributeNames: { "#list": "list" },
          ExpressionAttributeValues: { ":list": partition, ":network": networkKey("") },
        }),
      );
      return (Items ?? []).flatMap((item) => v.parse(networkItem, item).ranges);
    },

    async writeNetwork(id, ranges) {
      const Item = { list: partition, sk: networkKey(id), ranges };
      await dynamo.send(new PutCommand({ TableName: tableName, Item }));
    },
  };
}
