import { ConditionalCheckFailedException } from "@aws-sdk/client-dynamodb";
import { BatchGetCommand, type DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";
import * as v from "valibot";
import type { Logger } from "../log.ts";

// The table `blacklist_ip`. Its partitions cannot use up each other's space: each, as the table has a local
// index, holds 10 GB at most. The list is named after the deployment.
//
//   <list>               block#<cidr>      a wanted block; TTL `expiresAt`; in the index `byRank` by its `rank`
//   <list>#memory        offender#<cidr>   how often it was blocked; outlives the block, has its own TTL
//                        suspect#<cidr>    what detectors reported of it, while that is not enough to block; TTL
//                        unblock#<cidr>    when an operator last unblocked it; TTL
//                        withdrawals#<cidr>  when detectors last took their reports of it back; TTL
//   <list>#orders        unblocks          how many unblocks there have been
//                        hold#<cidr>       until when detectors' reports of it are ignored; TTL
//                        undo#…            what a detector reported is taken back; TTL
//                        withdrawer#…      a detector that takes reports back one by one; TTL
//                        mode              the mode that an operator has ordered
//   <list>#targets       target#<id>       what is ours in the target, and what its last converge saw
//                        network#<id>      the ranges of the network behind a target, which are never blocked
//                        network#account   the account's own addresses, which are never blocked
//                        never-block       the never-block parameter as last read
//   <list>#outstanding   caller#<name>     how many blocks of a caller are in force, by when they end; TTL
//   <list>#budgets       budget#…          how many addresses a caller reported in a minute; TTL
//   <list>#callers       source#<ip>       an address that a caller called from recently; TTL
//                        activity#<name>   what a detector has reported, and why it was refused; TTL
//   <list>#pulls         pull#<source>     how far a source's pulls have got
//                        reported#<source>#<cidr>  what was reported because the source wants it; TTL
//   <list>#settings      caller#<name>     a caller that an operator has added, or revoked
//                        never-block#<cidr>  a range that an operator has added to the never-block list
//                        version           counts the changes of the partition
//   <list>#tokens        token#<name>      the digests of a caller's tokens; for the endpoint alone
//                        version           counts the changes of the partition

/** Which table, and which list of blocks in it. */
export type TableConfig = { readonly tableName: string; readonly list: string };

/** Another writer has changed the item meanwhile: read again. */
export class ConflictError extends Error {
  override readonly name = "ConflictError";
}

/** DynamoDB errors that no retry can change. */
const PERMANENT = ["ValidationException", "ItemCollectionSizeLimitExceededException"];

/**
 * Whether retrying is pointless: DynamoDB calls the request invalid, the partition is full, or our own code
 * failed. Whatever else goes wrong with a call, the account and the network included, can be fixed.
 */
export function isPermanent(error: unknown): boolean {
  const isOurs = [TypeError, RangeError, SyntaxError].some((kind) => error instanceof kind);
  return isOurs || PERMANENT.includes((error as Error).name);
}

/** The partitions of a list, besides that of its blocks. */
export const partition = {
  memory: (list: string) => `${list}#memory`,
  orders: (list: string) => `${list}#orders`,
  targets: (list: string) => `${list}#targets`,
  outstanding: (list: string) => `${list}#outstanding`,
  budgets: (list: string) => `${list}#budgets`,
  callers: (list: string) => `${list}#callers`,
  pulls: (list: string) => `${list}#pulls`,
  settings: (list: string) => `${list}#settings`,
  tokens: (list: string) => `${list}#tokens`,
};

/** @throws ConflictError if the condition of the write does not hold */
export async function conditionally(write: () => Promise<unknown>): Promise<void> {
  try {
    await write();
  } catch (cause) {
    if (!(cause instanceof ConditionalCheckFailedException)) throw cause;
    throw new ConflictError("Another writer changed the item meanwhile.", { cause });
  }
}

/** Parses items by a schema. An unreadable item must not keep the others from being enforced. */
export function createReader(log?: Pick<Logger, "error">) {
  return function readable<T>(schema: v.GenericSchema<unknown, T>, item: unknown): T | undefined {
    if (item === undefined) return undefined;
    const parsed = v.safeParse(schema, item);
    if (parsed.success) return parsed.output;
    const { sk } = item as { sk?: unknown };
    log?.error("An item of the table cannot be read", { sk, at: v.getDotPath(parsed.issues[0]) });
    return undefined;
  };
}

/** Attempts to read a batch, each with the UnprocessedKeys of the one before. */
const MAX_BATCH_READS = 6;

/** DynamoDB's limit. */
const MAX_BATCH = 100;

/** The key of an item. */
export type Key = { readonly list: string; readonly sk: string };

/** Reads items by key, consistently; returns them by sort key. */
export async function batchGet(
  dynamo: DynamoDBDocumentClient,
  { tableName }: Pick<TableConfig, "tableName">,
  wanted: readonly Key[],
): Promise<Map<string, unknown>> {
  const items = new Map<string, unknown>();
  for (let start = 0; start < wanted.length; start += MAX_BATCH) {
    let keys = wanted.slice(start, start + MAX_BATCH);
    for (let attempt = 0; keys.length > 0; attempt++) {
      if (attempt === MAX_BATCH_READS) {
        throw new Error("DynamoDB keeps leaving keys of a batch unread.");
      }
      const { Responses, UnprocessedKeys } = await dynamo.send(
        new BatchGetCommand({
          RequestItems: { [tableName]: { Keys: keys, ConsistentRead: true } },
        }),
      );
      for (const item of Responses?.[tableName] ?? []) items.set(String(item.sk), item);
      keys = (UnprocessedKeys?.[tableName]?.Keys ?? []) as typeof keys;
    }
  }
  return items;
}
