import { DeleteCommand, type DynamoDBDocumentClient, PutCommand } from "@aws-sdk/lib-dynamodb";
import * as v from "valibot";
import type { Block } from "../../domain/block.ts";
import type { Cidr } from "../../domain/cidr.ts";
import type { Known } from "../../domain/decide.ts";
import { rankOf } from "../../domain/rank.ts";
import { type EpochMillis, isExpired, type Seconds, toEpochSeconds } from "../../domain/time.ts";
import type { Logger } from "../log.ts";
import { blockItem, blockKey, createBlocks } from "./blocks.ts";
import { batchGet, conditionally, createReader, type TableConfig } from "./items.ts";
import { offenderItem, offenderKey } from "./offenders.ts";

/** What is known of each address, as the worker reads and writes it. */
export type Addresses = {
  /** Reads consistently, at most 25 addresses, named by their texts. */
  read(cidrs: readonly string[], now: EpochMillis): Promise<Map<string, Known>>;
  /**
   * Writes what has changed over what was read. A new block over an expired item first removes that,
   * so that the stream sees REMOVE and INSERT: a bare overwrite would be a MODIFY, which wakes nobody.
   * @throws ConflictError where another writer was faster
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
      count: v.number(),
    }),
  ),
  expiresAt: v.number(),
});

const unblockItem = v.object({
  requestedAt: v.number(),
  holdUntil: v.number(),
  expiresAt: v.number(),
});

const suspectKey = (cidrText: string) => `suspect#${cidrText}`;
const unblockKey = (cidrText: string) => `unblock#${cidrText}`;

/**
 * How long a message may wait and then come back: the retention of queue and dead-letter queue
 * (infra/queue.yml).
 */
const MESSAGE_LIFE: Seconds = (4 + 14) * 86_400;

export function createAddresses(
  dynamo: DynamoDBDocumentClient,
  config: TableConfig,
  log?: Pick<Logger, "error">,
): Addresses {
  const { tableName, list } = config;
  const readable = createReader(log);
  const blocks = createBlocks(dynamo, config, log);
  const put = (sk: string, item: object) =>
    dynamo.send(new PutCommand({ TableName: tableName, Item: { list, sk, ...item } }));
  const remove = (sk: string) =>
    dynamo.send(new DeleteCommand({ TableName: tableName, Key: { list, sk } }));

  async function writeBlock(next: Block, before: Block | undefined): Promise<void> {
    const isNew = next.requestId !== before?.requestId;
    if (before && isNew) await blocks.remove(before);
    const { cidr, ...rest } = next;
    await conditionally(() =>
      dynamo.send(
        new PutCommand({
          TableName: tableName,
          Item: { list, sk: blockKey(cidr.text), cidr: cidr.text, rank: rankOf(next), ...rest },
          ...(isNew
            ? { ConditionExpression: "attribute_not_exists(sk)" }
            : {
                ConditionExpression:
                  "attribute_not_exists(sk) OR (requestId = :first AND hits = :hits)",
                ExpressionAttributeValues: { ":first": before.requestId, ":hits": before.hits },
              }),
        }),
      ),
    );
  }

  return {
    async read(cidrs, now) {
      const keys = [blockKey, offenderKey, suspectKey, unblockKey];
      const items = await batchGet(
        dynamo,
        config,
        cidrs.flatMap((cidr) => keys.map((keyOf) => keyOf(cidr))),
      );
      const current = <T extends { expiresAt: number }>(item: T | undefined) =>
        item && !isExpired(item, now) ? item : undefined;
      const knownOf = async (cidr: string): Promise<[string, Known]> => {
        const found = items.get(blockKey(cidr));
        const block = readable(blockItem, found);
        // A block that cannot be read is worth nothing, and a new one must not trip over it.
        if (found !== undefined && block === undefined) await remove(blockKey(cidr));
        const offender = current(readable(offenderItem, items.get(offenderKey(cidr))));
        return [
          cidr,
          {
            block,
            strikes: offender?.strikes ?? 0,
            score: offender?.score,
            suspect: current(readable(suspectItem, items.get(suspectKey(cidr)))),
            unblock: current(readable(unblockItem, items.get(unblockKey(cidr)))),
          },
        ];
      };
      return new Map(await Promise.all(cidrs.map(knownOf)));
    },

    async write({ text }, before, next) {
      const { block, suspect, unblock } = next;
      if (unblock && unblock !== before.unblock) {
        const { requestedAt, holdUntil } = unblock;
        // For as long as an older message may come back, and for its hold.
        const expiresAt = Math.max(holdUntil, toEpochSeconds(requestedAt) + MESSAGE_LIFE);
        await put(unblockKey(text), { requestedAt, holdUntil, expiresAt });
      }
      if (suspect && suspect !== before.suspect) await put(suspectKey(text), suspect);
      if (block && hasChanged(block, before.block)) await writeBlock(block, before.block);
      if (!block && before.block) await blocks.remove(before.block);
      if (before.suspect && !suspect) await remove(suspectKey(text));
    },
  };
}

/** Every report counts as a hit, and a new block has another first request. */
function hasChanged(block: Block, before: Block | undefined): boolean {
  return block.requestId !== before?.requestId || block.hits !== before.hits;
}
