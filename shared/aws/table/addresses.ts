import { isDeepStrictEqual } from "node:util";
import { DeleteCommand, type DynamoDBDocumentClient, PutCommand } from "@aws-sdk/lib-dynamodb";
import * as v from "valibot";
import type { Block } from "../../domain/block.ts";
import type { Cidr } from "../../domain/cidr.ts";
import type { Suspect } from "../../domain/corroboration.ts";
import type { Known, Withdrawals } from "../../domain/decide.ts";
import { rankOf } from "../../domain/rank.ts";
import {
  type EpochMillis,
  type EpochSeconds,
  isExpired,
  toEpochSeconds,
} from "../../domain/time.ts";
import type { Logger } from "../log.ts";
import { blockItem, blockKey, createBlocks } from "./blocks.ts";
import { batchGet, conditionally, createReader, partition, type TableConfig } from "./items.ts";
import { offenderItem, offenderKey } from "./offenders.ts";
import { MESSAGE_LIFE } from "./orders.ts";

/** What is known about each address, as the worker reads and writes it. */
export type Addresses = {
  /** Reads consistently, at most 20 addresses, given as text. */
  read(cidrs: readonly string[], now: EpochMillis): Promise<Map<string, Known>>;
  /**
   * Writes what has changed since it was read. A new block first removes an expired item in its place, so
   * that the stream sees REMOVE and INSERT: a bare overwrite would be a MODIFY, which wakes nobody.
   * @throws ConflictError if another writer was faster
   */
  write(cidr: Cidr, before: Known, next: Known): Promise<void>;
};

const suspectItem = v.object({
  reports: v.record(
    v.string(),
    v.object({
      expiresAt: v.number(),
      reportedAt: v.number(),
      severity: v.number(),
      reason: v.string(),
      requestId: v.string(),
      weight: v.number(),
      leastPrefix: v.number(),
      count: v.number(),
    }),
  ),
  expiresAt: v.number(),
  version: v.number(),
});

/** When an operator last unblocked an address, as the table holds it. */
export const unblockItem = v.object({
  requestedAt: v.number(),
  expiresAt: v.number(),
});

export const withdrawalsItem = v.object({
  at: v.record(v.string(), v.number()),
  expiresAt: v.number(),
  version: v.number(),
});

export const withdrawalsKey = (cidrText: string) => `withdrawals#${cidrText}`;
const suspectKey = (cidrText: string) => `suspect#${cidrText}`;
export const unblockKey = (cidrText: string) => `unblock#${cidrText}`;

type Key = { readonly list: string; readonly sk: string };

export function createAddresses(
  dynamo: DynamoDBDocumentClient,
  config: TableConfig,
  log?: Pick<Logger, "error">,
): Addresses {
  const { tableName, list } = config;
  const readable = createReader(log);
  const blocks = createBlocks(dynamo, config, log);
  const memory = partition.memory(list);
  const put = (sk: string, item: object, condition: object = {}) =>
    dynamo.send(
      new PutCommand({ TableName: tableName, Item: { list: memory, sk, ...item }, ...condition }),
    );
  const remove = (Key: Key) => dynamo.send(new DeleteCommand({ TableName: tableName, Key }));

  async function writeBlock(next: Block, before: Block | undefined): Promise<void> {
    const isNew = next.requestId !== before?.requestId;
    if (before && isNew) await blocks.remove(before);
    const { cidr, ...rest } = next;
    const written = { ...rest, version: isNew ? 1 : before.version + 1 };
    await conditionally(() =>
      dynamo.send(
        new PutCommand({
          TableName: tableName,
          Item: { list, sk: blockKey(cidr.text), cidr: cidr.text, rank: rankOf(next), ...written },
          ...(isNew
            ? { ConditionExpression: "attribute_not_exists(sk)" }
            : {
                // A block that is gone must not come back: somebody may have unblocked it.
                ConditionExpression: "requestId = :first AND version = :version",
                ExpressionAttributeValues: {
                  ":first": before.requestId,
                  ":version": before.version,
                },
              }),
        }),
      ),
    );
  }

  /** Detectors may write about the same address concurrently, each in a lane of its own. */
  async function writeVersion(
    sk: string,
    { version, ...item }: Suspect | (Withdrawals & { expiresAt: EpochSeconds }),
  ): Promise<void> {
    await conditionally(() =>
      put(
        sk,
        { ...item, version: version + 1 },
        {
          ConditionExpression: "attribute_not_exists(sk) OR version = :version",
          ExpressionAttributeValues: { ":version": version },
        },
      ),
    );
  }

  return {
    async read(cidrs, now) {
      const items = await batchGet(
        dynamo,
        config,
        cidrs.flatMap((cidr) => [
          { list, sk: blockKey(cidr) },
          ...[offenderKey, suspectKey, unblockKey, withdrawalsKey].map((keyOf) => ({
            list: memory,
            sk: keyOf(cidr),
          })),
        ]),
      );
      const current = <T extends { expiresAt: number }>(item: T | undefined) =>
        item && !isExpired(item, now) ? item : undefined;
      /** An unreadable item is worthless, and must not stand in a new one's way. */
      async function readOne<T>(schema: v.GenericSchema<unknown, T>, key: Key) {
        const found = items.get(key.sk);
        const item = readable(schema, found);
        if (found !== undefined && item === undefined) await remove(key);
        return item;
      }
      async function knownOf(cidr: string): Promise<[string, Known]> {
        const keyOf = (sk: string) => ({ list: memory, sk });
        const [block, offender, suspect, unblock, withdrawals] = await Promise.all([
          readOne(blockItem, { list, sk: blockKey(cidr) }),
          readOne(offenderItem, keyOf(offenderKey(cidr))),
          readOne(suspectItem, keyOf(suspectKey(cidr))),
          readOne(unblockItem, keyOf(unblockKey(cidr))),
          readOne(withdrawalsItem, keyOf(withdrawalsKey(cidr))),
        ]);
        const { strikes = 0, score } = current(offender) ?? {};
        // TTL deletes late: until it does, an item that is over can be replaced only by its version.
        const known = {
          block,
          strikes,
          score,
          suspect: suspect && (current(suspect) ?? { ...suspect, reports: {} }),
          unblock: current(unblock),
          withdrawals: withdrawals && (current(withdrawals) ?? { ...withdrawals, at: {} }),
        };
        return [cidr, known];
      }
      return new Map(await Promise.all(cidrs.map(knownOf)));
    },

    async write({ text }, before, next) {
      const { block, suspect, unblock, withdrawals } = next;
      if (unblock && unblock.requestedAt !== before.unblock?.requestedAt) {
        const { requestedAt } = unblock;
        // Kept for as long as an older message may come back.
        const expiresAt = toEpochSeconds(requestedAt) + MESSAGE_LIFE;
        await conditionally(() =>
          put(
            unblockKey(text),
            { requestedAt, expiresAt },
            {
              ConditionExpression: "attribute_not_exists(sk) OR requestedAt <= :requested",
              ExpressionAttributeValues: { ":requested": requestedAt },
            },
          ),
        );
      }
      if (withdrawals && withdrawals !== before.withdrawals) {
        const { at, version } = withdrawals;
        const expiresAt = toEpochSeconds(Math.max(...Object.values(at))) + MESSAGE_LIFE;
        await writeVersion(withdrawalsKey(text), { at, version, expiresAt });
      }
      if (suspect && suspect !== before.suspect) await writeVersion(suspectKey(text), suspect);
      if (block && hasChanged(block, before.block)) await writeBlock(block, before.block);
      if (!block && before.block) await blocks.remove(before.block);
      if (before.suspect && !suspect) await remove({ list: memory, sk: suspectKey(text) });
    },
  };
}

/** Whether the block has changed; the mark `wake` alone is no change. */
export function hasChanged(block: Block, before: Block | undefined): boolean {
  return !isDeepStrictEqual({ ...block, wake: false }, before && { ...before, wake: false });
}
