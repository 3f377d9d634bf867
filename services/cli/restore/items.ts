import { PutCommand, QueryCommand } from "@aws-sdk/lib-dynamodb";
import * as v from "valibot";
import {
  unblockItem,
  unblockKey,
  withdrawalsItem,
  withdrawalsKey,
} from "../../../shared/aws/table/addresses.ts";
import { ConflictError, conditionally, partition } from "../../../shared/aws/table/items.ts";
import { offenderItem, offenderKey } from "../../../shared/aws/table/offenders.ts";
import {
  holdItem,
  modeItem,
  orderKey,
  undoItem,
  withdrawerItem,
} from "../../../shared/aws/table/orders.ts";
import { isExpired } from "../../../shared/domain/time.ts";
import { counting, type Restored, type Restoring } from "./restoring.ts";

/** A kind of self-contained items, which are copied as they are. */
export type Kind = {
  readonly what: string;
  readonly partition: (list: string) => string;
  readonly prefix: string;
  readonly schema: v.GenericSchema<unknown, unknown>;
  /** The attribute that tells which of two items with one key is newer; without it, the live one stays. */
  readonly moment?: string;
};

export const OFFENDERS: Kind = {
  what: "offenders",
  partition: partition.memory,
  prefix: offenderKey(""),
  schema: offenderItem,
  moment: "lastBlockAt",
};

export const UNBLOCKS: Kind = {
  what: "unblocks",
  partition: partition.memory,
  prefix: unblockKey(""),
  schema: unblockItem,
  moment: "requestedAt",
};

export const WITHDRAWALS: Kind = {
  what: "withdrawals",
  partition: partition.memory,
  prefix: withdrawalsKey(""),
  schema: withdrawalsItem,
};

export const WITHDRAWERS: Kind = {
  what: "withdrawers",
  partition: partition.orders,
  prefix: orderKey.withdrawer(""),
  schema: withdrawerItem,
  moment: "until",
};

export const HOLDS: Kind = {
  what: "holds",
  partition: partition.orders,
  prefix: orderKey.hold(""),
  schema: holdItem,
  moment: "requestedAt",
};

export const UNDOS: Kind = {
  what: "undos",
  partition: partition.orders,
  prefix: orderKey.undo(""),
  schema: undoItem,
  moment: "requestedAt",
};

export const MODE: Kind = {
  what: "mode",
  partition: partition.orders,
  prefix: orderKey.mode,
  schema: modeItem,
};

/** Items per read, and then per write. */
const PAGE = 50;

const ending = v.object({ expiresAt: v.number() });

/** Copies the items of a kind that have not ended; of two, the newer one stays. */
export async function copyItems(restoring: Restoring, kind: Kind): Promise<Restored> {
  const { stage, deployment, from, watch, clock } = restoring;
  const counted = counting(kind.what);
  let ExclusiveStartKey: Record<string, unknown> | undefined;
  do {
    const page = await stage.dynamo.send(
      new QueryCommand({
        TableName: from.tableName,
        KeyConditionExpression: "#list = :list AND begins_with(sk, :prefix)",
        ExpressionAttributeNames: { "#list": "list" },
        ExpressionAttributeValues: {
          ":list": kind.partition(from.list),
          ":prefix": kind.prefix,
        },
        ConsistentRead: true,
        Limit: PAGE,
        ...(ExclusiveStartKey && { ExclusiveStartKey }),
      }),
    );
    await Promise.all((page.Items ?? []).map(copy));
    watch.onProgress(counted);
    ExclusiveStartKey = page.LastEvaluatedKey;
  } while (ExclusiveStartKey && !watch.signal.aborted);
  return counted;

  async function copy(item: Record<string, unknown>): Promise<void> {
    if (!v.is(kind.schema, item)) {
      counted.unreadable++;
      return;
    }
    if (v.is(ending, item) && isExpired(item, clock())) {
      counted.over++;
      return;
    }
    try {
      await conditionally(() =>
        stage.dynamo.send(
          new PutCommand({
            TableName: deployment.tableName,
            Item: { ...item, list: kind.partition(deployment.list) },
            ...(kind.moment === undefined
              ? { ConditionExpression: "attribute_not_exists(sk)" }
              : {
                  ConditionExpression: "attribute_not_exists(sk) OR #moment < :moment",
                  ExpressionAttributeNames: { "#moment": kind.moment },
                  ExpressionAttributeValues: { ":moment": item[kind.moment] },
                }),
          }),
        ),
      );
      counted.copied++;
    } catch (error) {
      if (!(error instanceof ConflictError)) throw error;
      counted.known++;
    }
  }
}
