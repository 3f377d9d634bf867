import { DeleteCommand, type DynamoDBDocumentClient, QueryCommand } from "@aws-sdk/lib-dynamodb";
import * as v from "valibot";
import type { Block } from "../../domain/block.ts";
import type { Family } from "../../domain/cidr.ts";
import { type EpochMillis, isExpired } from "../../domain/time.ts";
import type { Logger } from "../log.ts";
import { cidr } from "../schemas.ts";
import { batchGet, conditionally, createReader, type TableConfig } from "./items.ts";

export const blockKey = (cidrText: string) => `block#${cidrText}`;

/** A block as the table holds it. */
export const blockItem = v.object({
  cidr,
  expiresAt: v.number(),
  severity: v.number(),
  score: v.number(),
  strikes: v.number(),
  reason: v.string(),
  detectors: v.array(v.string()),
  firstSeenAt: v.number(),
  lastSeenAt: v.number(),
  hits: v.number(),
  requestId: v.string(),
  wake: v.boolean(),
});

/** The wanted blocks, as enforcer and endpoint read them. */
export type Blocks = {
  /**
   * The strongest blocks of a family, strongest first, at most `count`, expired and less severe ones
   * left out. It costs O(count) reads, unless expired blocks that TTL has not deleted yet stand before
   * them: these are answered too, so that the caller may remove them.
   */
  readStrongest(
    family: Family,
    want: { readonly count: number; readonly leastSeverity?: number },
    now: EpochMillis,
  ): Promise<{ readonly strongest: Block[]; readonly inTheWay: Block[] }>;
  /** The blocks of any of these ranges, named by their texts, expired ones left out. */
  readBlocks(cidrs: readonly string[], now: EpochMillis): Promise<Block[]>;
  /** One page of all blocks of a family, strongest first, expired ones included. */
  readPage(
    family: Family,
    limit: number,
    after: string | undefined,
  ): Promise<{ readonly blocks: Block[]; readonly next: string | undefined }>;
  /** Removes a block that was read. @throws ConflictError where another writer was faster */
  remove(block: Block): Promise<void>;
};

const INDEX = "byRank";

/** Blocks read at once: more take DynamoDB longer than a request may last. */
const PAGE = 1_000;

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

  return {
    async readStrongest(family, { count, leastSeverity = 0 }, now) {
      const strongest: Block[] = [];
      const expired: Block[] = [];
      let seen = 0;
      let ExclusiveStartKey: Record<string, unknown> | undefined;
      do {
        const page = await dynamo.send(
          new QueryCommand({
            ...byRank(`${family}#${String(leastSeverity).padStart(2, "0")}`, endOf(family)),
            ConsistentRead: true,
            Limit: seen < count ? Math.min(PAGE, count - seen) : PAGE,
            ...(ExclusiveStartKey && { ExclusiveStartKey }),
          }),
        );
        for (const one of blocksIn(page.Items))
          (isExpired(one, now) ? expired : strongest).push(one);
        seen += page.Items?.length ?? 0;
        ExclusiveStartKey = page.LastEvaluatedKey;
      } while (ExclusiveStartKey && strongest.length < count);
      return { strongest: strongest.slice(0, count), inTheWay: seen > count ? expired : [] };
    },

    async readBlocks(cidrs, now) {
      const items = await batchGet(dynamo, config, cidrs.map(blockKey));
      return blocksIn(items.values()).filter((one) => !isExpired(one, now));
    },

    async readPage(family, limit, after) {
      const { Items, LastEvaluatedKey } = await dynamo.send(
        new QueryCommand({
          ...byRank(`${family}#`, after ?? endOf(family)),
          Limit: after === undefined ? limit : limit + 1,
        }),
      );
      // One more was read, as `after` itself comes again unless it is gone by now.
      const found = (Items ?? []).filter(({ rank }) => rank !== after);
      const page = found.slice(0, limit);
      const isMore = LastEvaluatedKey !== undefined || found.length > limit;
      return { blocks: blocksIn(page), next: isMore ? page.at(-1)?.rank : undefined };
    },

    async remove({ cidr, requestId }) {
      await conditionally(() =>
        dynamo.send(
          new DeleteCommand({
            TableName: tableName,
            Key: { list, sk: blockKey(cidr.text) },
            ConditionExpression: "attribute_not_exists(sk) OR requestId = :first",
            ExpressionAttributeValues: { ":first": requestId },
          }),
        ),
      );
    },
  };
}

/** After the last rank of a family: "$" is the character after "#". */
const endOf = (family: Family) => `${family}$`;
