import { ConditionalCheckFailedException } from "@aws-sdk/client-dynamodb";
import { BatchGetCommand, type DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";
import * as v from "valibot";
import type { Logger } from "../log.ts";

// The table `blacklist_ip`. One partition holds the list of wanted blocks, named after the deployment:
//
//   block#<cidr>      a wanted block; TTL `expiresAt`; in the index `byRank` by its `rank`
//   offender#<cidr>   how often it was blocked; outlives the block, has its own TTL
//   suspect#<cidr>    what detectors reported of it, while that is not enough to block; TTL
//   unblock#<cidr>    when an operator last unblocked it, and until when it is held; TTL
//
// one holds the targets, `<list>#targets`:
//
//   target#<id>       what is ours in the target, and what its last converge saw
//   network#<id>      the ranges of the network behind a target, which are never blocked
//
// and one is all that the endpoint may write, `<list>#unblocks`:
//
//   unblocks          how many unblocks there were

/** Which table, and which list of blocks in it. */
export type TableConfig = { readonly tableName: string; readonly list: string };

/** Another writer changed the item meanwhile: read again. */
export class ConflictError extends Error {
  override readonly name = "ConflictError";
}

/**
 * Whether retrying is pointless: DynamoDB calls the request invalid, or our own code failed. Whatever
 * else goes wrong with a call, the account and the network included, may be mended.
 */
export function isPermanent(error: unknown): boolean {
  const isOurs = [TypeError, RangeError, SyntaxError].some((kind) => error instanceof kind);
  return isOurs || (error as Error).name === "ValidationException";
}

/** The partition that holds the targets of a list. */
export const targetsOf = (list: string) => `${list}#targets`;

/** The partition that counts the unblocks of a list. */
export const unblocksOf = (list: string) => `${list}#unblocks`;

/** @throws ConflictError where the condition of the write does not hold */
export async function conditionally(write: () => Promise<unknown>): Promise<void> {
  try {
    await write();
  } catch (cause) {
    if (!(cause instanceof ConditionalCheckFailedException)) throw cause;
    throw new ConflictError("Another writer changed the item meanwhile.", { cause });
  }
}

/** Reads items by a schema. One that cannot be read must not keep the others from being enforced. */
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

/** How often UnprocessedKeys are asked for again. */
const MAX_BATCH_READS = 6;

/** DynamoDB's limit. */
const MAX_BATCH = 100;

/** Reads items of the list by their sort keys, consistently. */
export async function batchGet(
  dynamo: DynamoDBDocumentClient,
  { tableName, list }: TableConfig,
  sortKeys: readonly string[],
): Promise<Map<string, unknown>> {
  const items = new Map<string, unknown>();
  for (let start = 0; start < sortKeys.length; start += MAX_BATCH) {
    let keys = sortKeys.slice(start, start + MAX_BATCH).map((sk) => ({ list, sk }));
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
