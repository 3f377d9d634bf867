import {
  type DynamoDBDocumentClient,
  GetCommand,
  PutCommand,
  QueryCommand,
} from "@aws-sdk/lib-dynamodb";
import * as v from "valibot";
import type { EpochMillis } from "../../domain/time.ts";
import { newTargetState, type TargetState, targetState } from "../../targets/state.ts";
import type { TargetKind } from "../../targets/target.ts";
import { conditionally, partition, type TableConfig } from "./items.ts";

/** What is remembered of each target. */
export type TargetStates = {
  /** @throws ValiError if the item exists but cannot be read: what is ours must not be forgotten */
  read(id: string, kind: TargetKind): Promise<TargetState>;
  /** @throws ConflictError if `state.version` is no longer the table's */
  write(id: string, state: TargetState): Promise<TargetState>;
  /** The ranges of networks as the enforcer has recorded them. */
  readNetworks(): Promise<Networks>;
  writeNetwork(id: string, ranges: readonly string[]): Promise<void>;
  /** The owner's never-block list as last read from the parameter store; undefined if never read. */
  readOwnersList(): Promise<OwnersList | undefined>;
  writeOwnersList(list: OwnersList): Promise<void>;
};

/** The ranges of networks, by what they belong to: a target, the account, a prefix list. */
export type Networks = ReadonlyMap<string, readonly string[]>;

/** The owner's never-block list, unparsed. */
export type OwnersList = { readonly value: string; readonly readAt: EpochMillis };

const ownersList = v.object({ value: v.string(), readAt: v.number() });
const networkItem = v.object({ sk: v.string(), ranges: v.array(v.string()) });

const targetKey = (id: string) => `target#${id}`;
const networkKey = (id: string) => `network#${id}`;
const OWNERS_LIST = "never-block";

/** The ids of all targets that have a state, including those no longer configured. */
export async function readTargetIds(
  dynamo: DynamoDBDocumentClient,
  { tableName, list }: TableConfig,
): Promise<{ id: string; kind: TargetKind }[]> {
  const { Items } = await dynamo.send(
    new QueryCommand({
      TableName: tableName,
      KeyConditionExpression: "#list = :list AND begins_with(sk, :target)",
      ProjectionExpression: "sk, kind",
      ExpressionAttributeNames: { "#list": "list" },
      ExpressionAttributeValues: { ":list": partition.targets(list), ":target": targetKey("") },
      ConsistentRead: true,
    }),
  );
  return (Items ?? []).map(({ sk, kind }) => ({
    id: String(sk).slice(targetKey("").length),
    kind: kind as TargetKind,
  }));
}

export function createTargetStates(
  dynamo: DynamoDBDocumentClient,
  { tableName, list }: TableConfig,
): TargetStates {
  const targets = partition.targets(list);
  return {
    async read(id, kind) {
      const { Item } = await dynamo.send(
        new GetCommand({
          TableName: tableName,
          Key: { list: targets, sk: targetKey(id) },
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
            Item: { list: targets, sk: targetKey(id), ...written },
            ConditionExpression:
              state.version === 0 ? "attribute_not_exists(sk)" : "version = :version",
            ...(state.version > 0 && { ExpressionAttributeValues: { ":version": state.version } }),
          }),
        ),
      );
      return written;
    },

    async readNetworks() {
      const networks = new Map<string, readonly string[]>();
      let ExclusiveStartKey: Record<string, unknown> | undefined;
      do {
        const page = await dynamo.send(
          new QueryCommand({
            TableName: tableName,
            KeyConditionExpression: "#list = :list AND begins_with(sk, :network)",
            ExpressionAttributeNames: { "#list": "list" },
            ExpressionAttributeValues: { ":list": targets, ":network": networkKey("") },
            ...(ExclusiveStartKey && { ExclusiveStartKey }),
          }),
        );
        for (const item of page.Items ?? []) {
          const { sk, ranges } = v.parse(networkItem, item);
          networks.set(sk.slice(networkKey("").length), ranges);
        }
        ExclusiveStartKey = page.LastEvaluatedKey;
      } while (ExclusiveStartKey);
      return networks;
    },

    async writeNetwork(id, ranges) {
      const Item = { list: targets, sk: networkKey(id), ranges };
      await dynamo.send(new PutCommand({ TableName: tableName, Item }));
    },

    async readOwnersList() {
      const { Item } = await dynamo.send(
        new GetCommand({
          TableName: tableName,
          Key: { list: targets, sk: OWNERS_LIST },
          ConsistentRead: true,
        }),
      );
      return Item === undefined ? undefined : v.parse(ownersList, Item);
    },

    async writeOwnersList({ value, readAt }) {
      const Item = { list: targets, sk: OWNERS_LIST, value, readAt };
      await dynamo.send(new PutCommand({ TableName: tableName, Item }));
    },
  };
}
