import {
  DeleteCommand,
  type DynamoDBDocumentClient,
  GetCommand,
  PutCommand,
  QueryCommand,
  UpdateCommand,
} from "@aws-sdk/lib-dynamodb";
import * as v from "valibot";
import {
  type Hold,
  MODES,
  type Mode,
  type Orders,
  type Undo,
  type Withdrawer,
} from "../../domain/orders.ts";
import { type EpochMillis, type Millis, type Seconds, toEpochSeconds } from "../../domain/time.ts";
import type { Logger } from "../log.ts";
import { cidr } from "../schemas.ts";
import { conditionally, createReader, partition, type TableConfig } from "./items.ts";

/** The list's standing orders: all functions read them; the endpoint and the worker write them. */
export type OrderBook = {
  /** Reads consistently. Leaves out ended orders, except holds that ended within the last minute. */
  read(now: EpochMillis, signal?: AbortSignal): Promise<Orders>;
  countUnblock(): Promise<void>;
  /** How many unblocks there have been. Reads consistently. */
  readCount(): Promise<number>;
  /** Replaces an older hold of the same range. @throws ConflictError if there is a newer one */
  hold(hold: Hold): Promise<void>;
  /** Safe to repeat: a newer hold stays. */
  lift(hold: Hold): Promise<void>;
  undo(undo: Undo): Promise<void>;
  /** A later mark of the same detector replaces the earlier one. */
  markWithdrawer(withdrawer: Withdrawer): Promise<void>;
  /** Undefined restores the deployment's own mode. */
  setMode(mode: Mode | undefined): Promise<void>;
};

/** At most this many orders of a kind may be in force at a time: all are read again and again. */
export const MAX_HOLDS = 1_000;
export const MAX_UNDOS = 100;

/**
 * How long a message may wait and then come back: the retention of the queue plus that of the dead-letter
 * queue (infra/queue.yml).
 */
export const MESSAGE_LIFE: Seconds = (4 + 14) * 86_400;

/** Reports fold for at most a minute: the endpoint must also know the holds that ended in that time. */
const MAX_FOLD: Millis = 60_000;

const countItem = v.object({ sk: v.literal("unblocks"), unblocks: v.number() });
export const holdItem = v.object({ cidr, requestedAt: v.number(), until: v.number() });
export const undoItem = v.object({
  detector: v.string(),
  since: v.number(),
  requestedAt: v.number(),
  expiresAt: v.number(),
});
export const withdrawerItem = v.object({ detector: v.string(), until: v.number() });
export const modeItem = v.object({ sk: v.literal("mode"), mode: v.picklist(MODES) });

/** The sort keys of orders. */
export const orderKey = {
  hold: (cidrText: string) => `hold#${cidrText}`,
  undo: (which: string) => `undo#${which}`,
  withdrawer: (detector: string) => `withdrawer#${detector}`,
  mode: "mode",
};
const holdKey = ({ cidr: { text } }: Pick<Hold, "cidr">) => orderKey.hold(text);

export function createOrderBook(
  dynamo: DynamoDBDocumentClient,
  { tableName, list }: TableConfig,
  log?: Pick<Logger, "error">,
): OrderBook {
  const readable = createReader(log);
  const orders = partition.orders(list);
  const key = (sk: string) => ({ TableName: tableName, Key: { list: orders, sk } });
  const put = (sk: string, item: object, condition: object = {}) =>
    dynamo.send(
      new PutCommand({ TableName: tableName, Item: { list: orders, sk, ...item }, ...condition }),
    );

  return {
    async read(now, abortSignal) {
      const items: { sk: string }[] = [];
      let ExclusiveStartKey: Record<string, unknown> | undefined;
      do {
        const page = await dynamo.send(
          new QueryCommand({
            TableName: tableName,
            KeyConditionExpression: "#list = :orders",
            ExpressionAttributeNames: { "#list": "list" },
            ExpressionAttributeValues: { ":orders": orders },
            ConsistentRead: true,
            ...(ExclusiveStartKey && { ExclusiveStartKey }),
          }),
          { ...(abortSignal && { abortSignal }) },
        );
        items.push(...((page.Items ?? []) as { sk: string }[]));
        ExclusiveStartKey = page.LastEvaluatedKey;
      } while (ExclusiveStartKey);
      const of = <T>(prefix: string, schema: v.GenericSchema<unknown, T>): T[] =>
        items
          .filter(({ sk }) => sk.startsWith(prefix))
          .flatMap((item) => readable(schema, item) ?? []);
      return {
        unblocks: of("unblocks", countItem)[0]?.unblocks ?? 0,
        holds: of(orderKey.hold(""), holdItem).filter(({ until }) => until * 1000 > now - MAX_FOLD),
        undos: of(orderKey.undo(""), undoItem),
        withdrawers: of(orderKey.withdrawer(""), withdrawerItem).filter(
          ({ until }) => until * 1000 > now,
        ),
        mode: of(orderKey.mode, modeItem)[0]?.mode,
      };
    },

    async countUnblock() {
      await dynamo.send(
        new UpdateCommand({
          ...key("unblocks"),
          UpdateExpression: "ADD unblocks :one",
          ExpressionAttributeValues: { ":one": 1 },
        }),
      );
    },

    async readCount() {
      const { Item } = await dynamo.send(
        new GetCommand({ ...key("unblocks"), ConsistentRead: true }),
      );
      return readable(countItem, Item)?.unblocks ?? 0;
    },

    async hold(hold) {
      const { cidr, requestedAt, until } = hold;
      const item = { cidr: cidr.text, requestedAt, until, expiresAt: until + MAX_FOLD / 1000 };
      await conditionally(() =>
        put(holdKey(hold), item, {
          ConditionExpression: "attribute_not_exists(sk) OR requestedAt <= :requested",
          ExpressionAttributeValues: { ":requested": requestedAt },
        }),
      );
    },

    async lift(hold) {
      await dynamo
        .send(
          new DeleteCommand({
            ...key(holdKey(hold)),
            ConditionExpression: "attribute_not_exists(sk) OR requestedAt = :requested",
            ExpressionAttributeValues: { ":requested": hold.requestedAt },
          }),
        )
        .catch((error: Error) => {
          if (error.name !== "ConditionalCheckFailedException") throw error;
        });
    },

    async undo({ detector, since, requestedAt }) {
      // Kept for as long as an older message may come back.
      const expiresAt = toEpochSeconds(requestedAt) + MESSAGE_LIFE;
      await put(orderKey.undo(`${detector}#${requestedAt}`), {
        detector,
        since,
        requestedAt,
        expiresAt,
      });
    },

    async markWithdrawer({ detector, until }) {
      await put(orderKey.withdrawer(detector), { detector, until, expiresAt: until });
    },

    async setMode(mode) {
      if (mode === undefined) await dynamo.send(new DeleteCommand(key(orderKey.mode)));
      else await put(orderKey.mode, { mode });
    },
  };
}
