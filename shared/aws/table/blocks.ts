import {
  BatchExecuteStatementCommand,
  DeleteCommand,
  type DynamoDBDocumentClient,
  QueryCommand,
} from "@aws-sdk/lib-dynamodb";
import pLimit from "p-limit";
import * as v from "valibot";
import type { Block } from "../../domain/block.ts";
import type { Family } from "../../domain/cidr.ts";
import { LEVELS, leastLevel, levelOf } from "../../domain/rank.ts";
import {
  type EpochMillis,
  type EpochSeconds,
  isExpired,
  toEpochSeconds,
} from "../../domain/time.ts";
import type { Logger } from "../log.ts";
import { cidr } from "../schemas.ts";
import { batchGet, conditionally, createReader, type TableConfig } from "./items.ts";

export const blockKey = (cidrText: string) => `block#${cidrText}`;

const ownReport = v.object({
  expiresAt: v.number(),
  reportedAt: v.number(),
  severity: v.number(),
  reason: v.string(),
  weight: v.number(),
  byOperator: v.boolean(),
  leastPrefix: v.number(),
  requestId: v.string(),
  withdrawnAt: v.exactOptional(v.number()),
});

/** A block as the table holds it. */
export const blockItem = v.object({
  cidr,
  reports: v.record(v.string(), ownReport),
  begunBy: v.string(),
  expiresAt: v.number(),
  severity: v.number(),
  reason: v.string(),
  byOperator: v.boolean(),
  leastPrefix: v.number(),
  score: v.number(),
  strikes: v.number(),
  firstSeenAt: v.number(),
  lastSeenAt: v.number(),
  hits: v.number(),
  requestId: v.string(),
  wake: v.boolean(),
  version: v.number(),
});

/** How many blocks are wanted, and how severe a detector's must be. */
export type Want = { readonly count: number; readonly leastSeverity?: number };

/** The strongest blocks, as far as they were read. */
export type Strongest = {
  readonly strongest: Block[];
  /**
   * The ranks from which to sweep expired blocks that TTL has not deleted yet, if they made the read longer
   * than necessary.
   */
  readonly expiredFrom: readonly string[];
  /** In some level, too many expired blocks came first, so the rest of it was left unread. */
  readonly isPartial: boolean;
};

/** The wanted blocks, as the enforcer and the endpoint read them. */
export type Blocks = {
  /** The strongest blocks of a family, strongest first, without expired and less severe ones. */
  readStrongest(family: Family, want: Want, now: EpochMillis): Promise<Strongest>;
  /**
   * Removes the expired blocks in one page of the ranking, from that rank downwards. `next` is where to
   * continue; undefined if the page held none, or is the last.
   */
  removeExpired(
    from: string,
    now: EpochMillis,
  ): Promise<{ readonly removed: number; readonly next: string | undefined }>;
  /** The blocks of exactly these ranges, given as text, without expired ones. */
  readBlocks(cidrs: readonly string[], now: EpochMillis): Promise<Block[]>;
  /** One page of a family's blocks, strongest first, including expired ones. */
  readPage(
    family: Family,
    limit: number,
    after: string | undefined,
  ): Promise<{ readonly blocks: Block[]; readonly next: string | undefined }>;
  /** The next blocks in key order, of both families, including expired ones. */
  readAfter(
    after: string | undefined,
    count: number,
  ): Promise<{ readonly blocks: Block[]; readonly next: string | undefined }>;
  /** Removes a block that was read. @throws ConflictError if another writer was faster */
  remove(block: Block): Promise<void>;
};

const INDEX = "byRank";

/** Blocks per read: more would take DynamoDB longer than a request may last. */
const PAGE = 1_000;

/** At least this many expired blocks are skipped in a level before the rest is left unread. */
const LEAST_PASSED = 100;

/** Blocks per read when sweeping expired ones. */
const SWEPT_PAGE = 500;

/** Keys per read, and how many such reads run at a time. */
const MAX_KEYS = 100;
const PARALLEL_READS = 8;

/** Statements per BatchExecuteStatement. */
const MAX_STATEMENTS = 25;

/** Batches in flight to DynamoDB at a time: a converge that runs meanwhile must not wait for them. */
const PARALLEL_BATCHES = 4;

export function createBlocks(
  dynamo: DynamoDBDocumentClient,
  config: TableConfig,
  log?: Pick<Logger, "error">,
): Blocks {
  const { tableName, list } = config;
  const readable = createReader(log);
  const blocksIn = (items: Iterable<unknown> | undefined): Block[] =>
    [...(items ?? [])].flatMap((item) => readable(blockItem, item) ?? []);
  // A range, because DynamoDB Local reads the whole partition for a `begins_with` that nothing matches.
  const byRank = (first: string, last: string) => ({
    TableName: tableName,
    IndexName: INDEX,
    KeyConditionExpression: "#list = :list AND #rank BETWEEN :first AND :last",
    ExpressionAttributeNames: { "#list": "list", "#rank": "rank" },
    ExpressionAttributeValues: { ":list": list, ":first": first, ":last": last },
    ScanIndexForward: false,
  });

  /** The live blocks in one page of the ranking, from a place downwards. */
  async function readLive(
    family: Family,
    least: string,
    { rank, after }: Place,
    now: EpochMillis,
    limit: number,
  ) {
    const query = byRank(`${family}#${least}`, rank);
    const { Items, ScannedCount, LastEvaluatedKey } = await dynamo.send(
      new QueryCommand({
        ...query,
        // An item without an end passes, so that the log says that it cannot be read.
        FilterExpression: "expiresAt > :now OR attribute_not_exists(expiresAt)",
        ExpressionAttributeValues: {
          ...query.ExpressionAttributeValues,
          ":now": toEpochSeconds(now),
        },
        ConsistentRead: true,
        Limit: Math.min(PAGE, limit),
        ...(after && { ExclusiveStartKey: after }),
      }),
    );
    const live = Items ?? [];
    const looked = ScannedCount ?? live.length;
    return {
      blocks: blocksIn(live),
      looked,
      expired: looked - live.length,
      next: LastEvaluatedKey && placeAfter(LastEvaluatedKey),
    };
  }

  /** Conditional: the worker may have blocked the address anew. @returns how many were removed */
  async function removeIfExpired(keys: readonly string[], seconds: EpochSeconds): Promise<number> {
    const { Responses = [] } = await dynamo.send(
      new BatchExecuteStatementCommand({
        Statements: keys.map((sk) => ({
          Statement: `DELETE FROM "${tableName}" WHERE "list" = ? AND "sk" = ? AND "expiresAt" <= ?`,
          Parameters: [list, sk, seconds],
        })),
      }),
    );
    const errors = Responses.flatMap(({ Error: error }) => error?.Code ?? []);
    const failed = errors.find((code) => code !== "ConditionalCheckFailed");
    if (failed !== undefined) throw new Error(`DynamoDB removes no expired block: ${failed}.`);
    return Responses.length - errors.length;
  }

  return {
    async readStrongest(family, { count, leastSeverity = 0 }, now) {
      const least = leastLevel(leastSeverity);
      const passed = mostPassed(count);
      const strongest: Block[] = [];
      const expiredFrom: string[] = [];
      let place: Place | undefined = { rank: endOf(family), level: LEVELS[0] ?? least };
      let looked = 0;
      let isPartial = false;
      let wereExpired = false;
      /** Expired blocks met in the level of `place`. */
      let inLevel = 0;
      while (place && strongest.length < count) {
        const limit = looked === 0 ? count : Math.max(passed, count - strongest.length);
        const page = await readLive(family, least, place, now, limit);
        strongest.push(...page.blocks);
        looked += page.looked;
        if (page.expired > 0 && !wereExpired) expiredFrom.push(place.rank);
        wereExpired = page.expired > 0;
        inLevel = page.next?.level === place.level ? inLevel + page.expired : 0;
        place = page.next;
        if (!place || inLevel < passed) continue;
        // The live ones behind them are seen once these are swept; blocks that hold a place are read by key.
        isPartial = true;
        place = place.level > least ? belowLevel(family, place.level) : undefined;
        wereExpired = false;
        inLevel = 0;
      }
      return {
        strongest: strongest.slice(0, count),
        expiredFrom: looked > count ? expiredFrom : [],
        isPartial,
      };
    },

    async removeExpired(from, now) {
      const seconds = toEpochSeconds(now);
      const query = byRank(`${from.charAt(0)}#`, from);
      const { Items, LastEvaluatedKey } = await dynamo.send(
        new QueryCommand({
          ...query,
          FilterExpression: "expiresAt <= :now",
          ProjectionExpression: "sk",
          ExpressionAttributeValues: { ...query.ExpressionAttributeValues, ":now": seconds },
          Limit: SWEPT_PAGE,
        }),
      );
      const keys = (Items ?? []).map(({ sk }) => String(sk));
      const limit = pLimit(PARALLEL_BATCHES);
      const removed = await Promise.all(
        inChunks(keys, MAX_STATEMENTS).map((some) => limit(() => removeIfExpired(some, seconds))),
      );
      return {
        removed: removed.reduce((sum, count) => sum + count, 0),
        next: keys.length > 0 ? LastEvaluatedKey?.rank : undefined,
      };
    },

    async readBlocks(cidrs, now) {
      const limit = pLimit(PARALLEL_READS);
      const keys = cidrs.map((text) => ({ list, sk: blockKey(text) }));
      const items = await Promise.all(
        inChunks(keys, MAX_KEYS).map((some) => limit(() => batchGet(dynamo, config, some))),
      );
      return items
        .flatMap((found) => blocksIn(found.values()))
        .filter((one) => !isExpired(one, now));
    },

    async readPage(family, limit, after) {
      const { Items, LastEvaluatedKey } = await dynamo.send(
        new QueryCommand({
          ...byRank(`${family}#`, after ?? endOf(family)),
          Limit: after === undefined ? limit : limit + 1,
        }),
      );
      // One extra was read, as `after` itself comes again unless it is gone by now.
      const found = (Items ?? []).filter(({ rank }) => rank !== after);
      const page = found.slice(0, limit);
      const isMore = LastEvaluatedKey !== undefined || found.length > limit;
      return { blocks: blocksIn(page), next: isMore ? page.at(-1)?.rank : undefined };
    },

    async readAfter(after, count) {
      const { Items, LastEvaluatedKey } = await dynamo.send(
        new QueryCommand({
          TableName: tableName,
          KeyConditionExpression: "#list = :list AND sk > :after",
          ExpressionAttributeNames: { "#list": "list" },
          ExpressionAttributeValues: { ":list": list, ":after": after ?? blockKey("") },
          ConsistentRead: true,
          Limit: count,
        }),
      );
      return { blocks: blocksIn(Items), next: LastEvaluatedKey?.sk };
    },

    async remove({ cidr, requestId, version }) {
      await conditionally(() =>
        dynamo.send(
          new DeleteCommand({
            TableName: tableName,
            Key: { list, sk: blockKey(cidr.text) },
            ConditionExpression:
              "attribute_not_exists(sk) OR (requestId = :first AND version = :version)",
            ExpressionAttributeValues: { ":first": requestId, ":version": version },
          }),
        ),
      );
    },
  };
}

const inChunks = <T>(all: readonly T[], size: number): (readonly T[])[] =>
  Array.from({ length: Math.ceil(all.length / size) }, (_, index) =>
    all.slice(index * size, (index + 1) * size),
  );

/** A position in a family's ranking. */
type Place = {
  /** Nothing above it is read. */
  readonly rank: string;
  readonly level: string;
  /** The key of the last item read. */
  readonly after?: Record<string, unknown>;
};

const placeAfter = (after: Record<string, unknown>): Place => {
  const rank = String(after.rank);
  return { rank, level: levelOf(rank), after };
};

/** "4#09" comes before all of "4#09#…". */
const belowLevel = (family: Family, level: string): Place => ({
  rank: `${family}#${level}`,
  level: LEVELS[LEVELS.indexOf(level) + 1] ?? level,
});

/** How many expired blocks to skip per level: over all levels, about as many as blocks are wanted. */
const mostPassed = (count: number) => Math.max(LEAST_PASSED, Math.ceil(count / LEVELS.length));

/** Sorts after the last rank of a family: "$" is the character after "#". */
const endOf = (family: Family) => `${family}$`;
