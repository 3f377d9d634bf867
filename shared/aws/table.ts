import { ConditionalCheckFailedException } from "@aws-sdk/client-dynamodb";
import {
  BatchGetCommand,
  DeleteCommand,
  type DynamoDBDocumentClient,
  GetCommand,
  PutCommand,
  QueryCommand,
  UpdateCommand,
} from "@aws-sdk/lib-dynamodb";
import * as v from "valibot";
import { type Block, isExpired } from "../domain/block.ts";
import type { Family } from "../domain/cidr.ts";
import type { Suspect } from "../domain/corroboration.ts";
import type { Direction, Slots } from "../domain/plan.ts";
import type { Unblock } from "../domain/unblock.ts";
import type { Logger } from "./log.ts";

// The table `blacklist_ip`, one partition per network ACL:
//
//   block#<cidr>      a wanted block; TTL `expiresAt`; in the index `byRank` by its `rank`
//   offender#<cidr>   how often it was blocked; outlives the block, has its own TTL
//   suspect#<cidr>    what detectors said of it, while that is not enough to block; TTL
//   unblock#<cidr>    when an operator last unblocked it, and until when it is held; TTL
//   state             our rule numbers in the ACL, and what the last converge saw
//
// and beside it, in a partition that is all that the endpoint may write:
//
//   unblocks          how many unblocks there were

const family = v.picklist([4, 6] satisfies Family[]);

const block = v.object({
  cidr: v.string(),
  family,
  expiresAt: v.number(),
  severity: v.number(),
  strikes: v.number(),
  reason: v.string(),
  detectors: v.array(v.string()),
  firstSeenAt: v.number(),
  lastSeenAt: v.number(),
  hits: v.number(),
  requestId: v.string(),
  rank: v.string(),
  wake: v.boolean(),
});

const offender = v.object({ strikes: v.number(), lastBlockAt: v.number(), expiresAt: v.number() });

const suspect = v.object({
  reports: v.record(
    v.string(),
    v.object({
      expiresAt: v.number(),
      reportedAt: v.number(),
      severity: v.number(),
      reason: v.string(),
      requestId: v.string(),
      weight: v.number(),
    }),
  ),
  expiresAt: v.number(),
});

const unblock = v.object({ requestedAt: v.number(), holdUntil: v.number(), expiresAt: v.number() });

const unblocks = v.object({ unblocks: v.number() });

const slots = v.record(
  v.pipe(v.string(), v.transform(Number)),
  v.object({ cidr: v.nullable(v.string()), confirmedAt: v.exactOptional(v.number()) }),
);

// What is only told to the operator must not keep the enforcer from its work when it cannot be read.
const state = v.object({
  version: v.number(),
  slots: v.object({ ingress: slots, egress: slots }),
  /** In monitor mode: the slots as they would be. */
  monitored: v.fallback(v.object({ ingress: slots, egress: slots }), { ingress: {}, egress: {} }),
  /** The quota that EC2 enforced, by direction and family, and when we met it (epoch ms). */
  learntLimits: v.fallback(
    v.record(v.string(), v.object({ limit: v.number(), learntAt: v.number() })),
    {},
  ),
  vpcCidrs: v.fallback(v.array(v.string()), []),
  /** Wanted blocks that no entry covered then. */
  waiting: v.fallback(v.number(), 0),
  convergedAt: v.fallback(v.number(), 0),
  mode: v.fallback(v.picklist(["enforce", "monitor"]), "enforce"),
});

/** The one state item of an ACL. `version` counts its writes. */
export type State = Omit<v.InferOutput<typeof state>, "slots" | "monitored"> & {
  readonly slots: Readonly<Record<Direction, Slots>>;
  readonly monitored: Readonly<Record<Direction, Slots>>;
};

export const EMPTY_STATE: State = {
  version: 0,
  slots: { ingress: {}, egress: {} },
  monitored: { ingress: {}, egress: {} },
  learntLimits: {},
  vpcCidrs: [],
  waiting: 0,
  convergedAt: 0,
  mode: "enforce",
};

/** Another writer changed the item meanwhile: read again. */
export class ConflictError extends Error {
  override readonly name = "ConflictError";
}

/**
 * Whether trying again is in vain: DynamoDB calls the request invalid, or our own code failed. Whatever
 * else goes wrong with a call, the account and the network included, may be mended.
 */
export function isPermanent(error: unknown): boolean {
  const isOurs = [TypeError, RangeError, SyntaxError].some((kind) => error instanceof kind);
  return isOurs || (error as Error).name === "ValidationException";
}

/** What the table knows of an address. */
export type Known = {
  /** Expired ones included: TTL deletes late. */
  readonly block: Block | undefined;
  readonly strikes: number;
  readonly suspect: Suspect | undefined;
  readonly unblock: Unblock | undefined;
};

export type Table = {
  /** Reads consistently, at most 25 addresses. */
  readKnown(cidrs: readonly string[], now: number): Promise<Map<string, Known>>;
  /**
   * Writes a block over what was read. A new block over an expired item first removes that, so that
   * the stream sees REMOVE and INSERT: a bare overwrite would be a MODIFY, which wakes nobody.
   * @throws ConflictError where another writer was faster
   */
  writeBlock(block: Block, before: Block | undefined): Promise<void>;
  /** Removes a block that was read. @throws ConflictError where another writer was faster */
  removeBlock(block: Block): Promise<void>;
  writeSuspect(cidr: string, suspect: Suspect): Promise<void>;
  removeSuspect(cidr: string): Promise<void>;
  /** Remembers an unblock for as long as an older message may come back, and for its hold. */
  writeUnblock(cidr: string, unblock: Unblock): Promise<void>;
  /**
   * The strongest blocks of a family, strongest first, at most `count`, expired ones left out. It
   * costs O(count) reads, unless expired blocks that TTL has not deleted yet stand before them: these
   * are answered too, so that the caller may remove them.
   */
  readStrongest(
    family: Family,
    count: number,
    now: number,
  ): Promise<{ strongest: Block[]; inTheWay: Block[] }>;
  /** The blocks of any of these ranges, expired ones left out; at most 100 ranges. */
  readBlocks(cidrs: readonly string[], now: number): Promise<Block[]>;
  /** One page of all blocks of a family, strongest first, expired ones included. */
  readPage(
    family: Family,
    limit: number,
    after: string | undefined,
  ): Promise<{ blocks: Block[]; next: string | undefined }>;
  readState(): Promise<State>;
  /** @throws ConflictError where `state.version` is no longer the table's */
  writeState(state: State): Promise<State>;
  /** How many unblocks of the ACL were counted, read consistently. */
  readUnblocks(signal: AbortSignal): Promise<number>;
  countUnblock(): Promise<void>;
  /** Remembers that a block has ended by time; safe to repeat. */
  rememberOffender(ended: EndedBlock, memorySeconds: number): Promise<void>;
};

export type EndedBlock = Pick<Block, "cidr" | "strikes" | "firstSeenAt" | "expiresAt">;

const INDEX = "byRank";
const blockKey = (cidr: string) => `block#${cidr}`;
const offenderKey = (cidr: string) => `offender#${cidr}`;
const suspectKey = (cidr: string) => `suspect#${cidr}`;
const unblockKey = (cidr: string) => `unblock#${cidr}`;

/**
 * Seconds for which a message may lie about and then come back: the retention of queue and dead-letter
 * queue (infra/queue.yml).
 */
const MESSAGE_LIFE = (4 + 14) * 86_400;

/**
 * The bounds of a family's ranks: "$" is the character after "#". A range, because DynamoDB Local
 * reads the whole partition for a `begins_with` that nothing matches.
 */
const ranksOf = (family: Family) => ({ ":first": `${family}#`, ":last": `${family}$` });

/** A first page that is full of expired blocks is followed by pages of this many. */
const BIG_PAGE = 1_000;

/** UnprocessedKeys are asked for again so many times. */
const MAX_BATCH_READS = 6;

export function createTable(
  dynamo: DynamoDBDocumentClient,
  { tableName, aclId }: { readonly tableName: string; readonly aclId: string },
  log?: Pick<Logger, "error">,
): Table {
  const key = (sk: string) => ({ aclId, sk });
  const put = (sk: string, item: object) =>
    dynamo.send(new PutCommand({ TableName: tableName, Item: { ...key(sk), ...item } }));
  const unblocksKey = { aclId: `${aclId}#unblocks`, sk: "unblocks" };
  const remove = (sk: string) =>
    dynamo.send(new DeleteCommand({ TableName: tableName, Key: key(sk) }));

  async function removeBlock({ cidr, requestId }: Block): Promise<void> {
    await conditionally(() =>
      dynamo.send(
        new DeleteCommand({
          TableName: tableName,
          Key: key(blockKey(cidr)),
          ConditionExpression: "attribute_not_exists(sk) OR requestId = :first",
          ExpressionAttributeValues: { ":first": requestId },
        }),
      ),
    );
  }

  /** One item that cannot be read must not keep the others from being enforced. */
  function readable<T>(schema: v.GenericSchema<unknown, T>, item: unknown): T | undefined {
    if (item === undefined) return undefined;
    const parsed = v.safeParse(schema, item);
    if (parsed.success) return parsed.output;
    const { sk } = item as { sk?: unknown };
    log?.error("An item of the table cannot be read", { sk, at: v.getDotPath(parsed.issues[0]) });
    return undefined;
  }

  const blocksIn = (items: readonly unknown[] | undefined): Block[] =>
    (items ?? []).flatMap((item) => readable(block, item) ?? []);

  async function batchGet(sortKeys: readonly string[]): Promise<Map<string, unknown>> {
    let keys = sortKeys.map(key);
    const items = new Map<string, unknown>();
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
    return items;
  }

  return {
    async readKnown(cidrs, now) {
      const items = await batchGet(
        cidrs.flatMap((cidr) => [
          blockKey(cidr),
          offenderKey(cidr),
          suspectKey(cidr),
          unblockKey(cidr),
        ]),
      );
      const current = <T extends { expiresAt: number }>(item: T | undefined) =>
        item && !isExpired(item, now) ? item : undefined;
      const knownOf = async (cidr: string): Promise<[string, Known]> => {
        const found = items.get(blockKey(cidr));
        const known = readable(block, found);
        // A block that cannot be read is worth nothing, and a new one must not trip over it.
        if (found !== undefined && known === undefined) await remove(blockKey(cidr));
        return [
          cidr,
          {
            block: known,
            strikes: current(readable(offender, items.get(offenderKey(cidr))))?.strikes ?? 0,
            suspect: current(readable(suspect, items.get(suspectKey(cidr)))),
            unblock: current(readable(unblock, items.get(unblockKey(cidr)))),
          },
        ];
      };
      return new Map(await Promise.all(cidrs.map(knownOf)));
    },

    async writeBlock(next, before) {
      const isNew = next.requestId !== before?.requestId;
      if (before && isNew) await removeBlock(before);
      await conditionally(() =>
        dynamo.send(
          new PutCommand({
            TableName: tableName,
            Item: { ...key(blockKey(next.cidr)), ...next },
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
    },

    removeBlock,

    async writeSuspect(cidr, suspect) {
      await put(suspectKey(cidr), suspect);
    },
    async removeSuspect(cidr) {
      await remove(suspectKey(cidr));
    },
    async writeUnblock(cidr, { requestedAt, holdUntil }) {
      const forgottenAt = Math.floor(requestedAt / 1000) + MESSAGE_LIFE;
      const expiresAt = Math.max(holdUntil, forgottenAt);
      await put(unblockKey(cidr), { requestedAt, holdUntil, expiresAt });
    },

    async readStrongest(family, count, now) {
      const strongest: Block[] = [];
      const expired: Block[] = [];
      let pages = 0;
      let ExclusiveStartKey: Record<string, unknown> | undefined;
      do {
        const page = await dynamo.send(
          new QueryCommand({
            TableName: tableName,
            IndexName: INDEX,
            KeyConditionExpression: "aclId = :acl AND #rank BETWEEN :first AND :last",
            ExpressionAttributeNames: { "#rank": "rank" },
            ExpressionAttributeValues: { ":acl": aclId, ...ranksOf(family) },
            ScanIndexForward: false,
            ConsistentRead: true,
            Limit: pages === 0 ? count : BIG_PAGE,
            ...(ExclusiveStartKey && { ExclusiveStartKey }),
          }),
        );
        for (const one of blocksIn(page.Items))
          (isExpired(one, now) ? expired : strongest).push(one);
        ExclusiveStartKey = page.LastEvaluatedKey;
        pages++;
      } while (ExclusiveStartKey && strongest.length < count);
      return { strongest: strongest.slice(0, count), inTheWay: pages > 1 ? expired : [] };
    },

    async readBlocks(cidrs, now) {
      const items = await batchGet(cidrs.map(blockKey));
      return blocksIn([...items.values()]).filter((one) => !isExpired(one, now));
    },

    async readPage(family, limit, after) {
      const { Items, LastEvaluatedKey } = await dynamo.send(
        new QueryCommand({
          TableName: tableName,
          IndexName: INDEX,
          KeyConditionExpression: "aclId = :acl AND #rank BETWEEN :first AND :last",
          ExpressionAttributeNames: { "#rank": "rank" },
          ExpressionAttributeValues: {
            ":acl": aclId,
            ...ranksOf(family),
            ...(after !== undefined && { ":last": after }),
          },
          ScanIndexForward: false,
          Limit: after === undefined ? limit : limit + 1,
        }),
      );
      // One more was read, as `after` itself comes again unless it is gone by now.
      const found = (Items ?? []).filter(({ rank }) => rank !== after);
      const page = found.slice(0, limit);
      const isMore = LastEvaluatedKey !== undefined || found.length > limit;
      return { blocks: blocksIn(page), next: isMore ? page.at(-1)?.rank : undefined };
    },

    async readState() {
      const { Item } = await dynamo.send(
        new GetCommand({ TableName: tableName, Key: key("state"), ConsistentRead: true }),
      );
      return Item === undefined ? EMPTY_STATE : v.parse(state, Item);
    },

    async writeState(next) {
      const written = { ...next, version: next.version + 1 };
      await conditionally(() =>
        dynamo.send(
          new PutCommand({
            TableName: tableName,
            Item: { ...key("state"), ...written },
            ConditionExpression:
              next.version === 0 ? "attribute_not_exists(sk)" : "version = :version",
            ...(next.version > 0 && { ExpressionAttributeValues: { ":version": next.version } }),
          }),
        ),
      );
      return written;
    },

    async readUnblocks(abortSignal) {
      const { Item } = await dynamo.send(
        new GetCommand({ TableName: tableName, Key: unblocksKey, ConsistentRead: true }),
        { abortSignal },
      );
      return Item === undefined ? 0 : v.parse(unblocks, Item).unblocks;
    },

    async countUnblock() {
      await dynamo.send(
        new UpdateCommand({
          TableName: tableName,
          Key: unblocksKey,
          UpdateExpression: "ADD unblocks :one",
          ExpressionAttributeValues: { ":one": 1 },
        }),
      );
    },

    async rememberOffender({ cidr, strikes, firstSeenAt, expiresAt }, memorySeconds) {
      await dynamo
        .send(
          new UpdateCommand({
            TableName: tableName,
            Key: key(offenderKey(cidr)),
            UpdateExpression: "SET strikes = :strikes, lastBlockAt = :begun, expiresAt = :until",
            // A record that is delivered again, or late, must not undo what came after it.
            ConditionExpression: "attribute_not_exists(sk) OR lastBlockAt < :begun",
            ExpressionAttributeValues: {
              ":strikes": strikes,
              ":begun": firstSeenAt,
              ":until": expiresAt + memorySeconds,
            },
          }),
        )
        .catch(ignoreConflict);
    },
  };
}

async function conditionally(write: () => Promise<unknown>): Promise<void> {
  try {
    await write();
  } catch (cause) {
    if (!(cause instanceof ConditionalCheckFailedException)) throw cause;
    throw new ConflictError("Another writer changed the item meanwhile.", { cause });
  }
}

function ignoreConflict(error: unknown): void {
  if (!(error instanceof ConditionalCheckFailedException)) throw error;
}
