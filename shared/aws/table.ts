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
import type { Direction, Slots } from "../domain/plan.ts";

// The table `blacklist_ip`, one partition per network ACL:
//
//   block#<cidr>      a wanted block; TTL `expiresAt`; in the index `byRank` by its `rank`
//   offender#<cidr>   how often it was blocked; outlives the block, has its own TTL
//   state             our rule numbers in the ACL, and what the last converge saw

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

const slots = v.record(
  v.pipe(v.string(), v.transform(Number)),
  v.object({ cidr: v.nullable(v.string()), confirmedAt: v.exactOptional(v.number()) }),
);

const state = v.object({
  version: v.number(),
  slots: v.object({ ingress: slots, egress: slots }),
  /** In monitor mode: the slots as they would be. */
  monitored: v.object({ ingress: slots, egress: slots }),
  /** The quota that EC2 enforced, by direction and family, and when we met it (epoch ms). */
  learntLimits: v.record(v.string(), v.object({ limit: v.number(), learntAt: v.number() })),
  vpcCidrs: v.array(v.string()),
  convergedAt: v.number(),
  mode: v.picklist(["enforce", "monitor"]),
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
  convergedAt: 0,
  mode: "enforce",
};

/** Another writer changed the item meanwhile: read again. */
export class ConflictError extends Error {
  override readonly name = "ConflictError";
}

/** What the table knows of an address: its block (expired ones included) and its past. */
export type Known = { readonly block: Block | undefined; readonly strikes: number };

export type Table = {
  /** Reads consistently, at most 50 addresses. */
  readKnown(cidrs: readonly string[], now: number): Promise<Map<string, Known>>;
  /**
   * Writes a block over what was read. A new block over an expired item first removes that, so that
   * the stream sees REMOVE and INSERT: a bare overwrite would be a MODIFY, which wakes nobody.
   * @throws ConflictError where another writer was faster
   */
  writeBlock(block: Block, before: Block | undefined): Promise<void>;
  /** Removes a block that was read. @throws ConflictError where another writer was faster */
  removeBlock(block: Block): Promise<void>;
  /** The strongest blocks of a family, strongest first, at most `count`; expired ones left out. */
  readStrongest(family: Family, count: number, now: number): Promise<Block[]>;
  /** One page of all blocks of a family, strongest first, expired ones included. */
  readPage(
    family: Family,
    limit: number,
    after: string | undefined,
  ): Promise<{ blocks: Block[]; next: string | undefined }>;
  /** How many blocks of a family last, counted up to `atMost`. */
  count(family: Family, atMost: number, now: number): Promise<number>;
  readState(): Promise<State>;
  /** @throws ConflictError where `state.version` is no longer the table's */
  writeState(state: State): Promise<State>;
  /** Remembers that a block has ended by time; safe to repeat. */
  rememberOffender(ended: EndedBlock, memorySeconds: number): Promise<void>;
};

export type EndedBlock = Pick<Block, "cidr" | "strikes" | "firstSeenAt" | "expiresAt">;

const INDEX = "byRank";
const blockKey = (cidr: string) => `block#${cidr}`;
const offenderKey = (cidr: string) => `offender#${cidr}`;

export function createTable(
  dynamo: DynamoDBDocumentClient,
  { tableName, aclId }: { readonly tableName: string; readonly aclId: string },
): Table {
  const key = (sk: string) => ({ aclId, sk });

  async function remove({ cidr, firstSeenAt }: Block): Promise<void> {
    await conditionally(() =>
      dynamo.send(
        new DeleteCommand({
          TableName: tableName,
          Key: key(blockKey(cidr)),
          ConditionExpression: "attribute_not_exists(sk) OR firstSeenAt = :begun",
          ExpressionAttributeValues: { ":begun": firstSeenAt },
        }),
      ),
    );
  }

  /** The index's pages of a family, strongest first. */
  async function* pages(family: Family, limit: number, now: number, select?: "COUNT") {
    let ExclusiveStartKey: Record<string, unknown> | undefined;
    do {
      const page = await dynamo.send(
        new QueryCommand({
          TableName: tableName,
          IndexName: INDEX,
          KeyConditionExpression: "aclId = :acl AND begins_with(#rank, :family)",
          FilterExpression: "expiresAt > :now",
          ExpressionAttributeNames: { "#rank": "rank" },
          ExpressionAttributeValues: { ":acl": aclId, ":family": `${family}#`, ":now": now / 1000 },
          ScanIndexForward: false,
          ConsistentRead: true,
          Limit: limit,
          ...(select && { Select: select }),
          ...(ExclusiveStartKey && { ExclusiveStartKey }),
        }),
      );
      yield page;
      ExclusiveStartKey = page.LastEvaluatedKey;
    } while (ExclusiveStartKey);
  }

  return {
    async readKnown(cidrs, now) {
      let keys = cidrs.flatMap((cidr) => [key(blockKey(cidr)), key(offenderKey(cidr))]);
      const items = new Map<string, unknown>();
      for (let attempt = 0; keys.length > 0; attempt++) {
        if (attempt > 5) throw new Error("DynamoDB keeps leaving keys of a batch unread.");
        const { Responses, UnprocessedKeys } = await dynamo.send(
          new BatchGetCommand({
            RequestItems: { [tableName]: { Keys: keys, ConsistentRead: true } },
          }),
        );
        for (const item of Responses?.[tableName] ?? []) items.set(String(item.sk), item);
        keys = (UnprocessedKeys?.[tableName]?.Keys ?? []) as typeof keys;
      }
      return new Map(
        cidrs.map((cidr) => {
          const found = items.get(blockKey(cidr));
          const past = items.get(offenderKey(cidr));
          return [
            cidr,
            {
              block: found === undefined ? undefined : v.parse(block, found),
              strikes: past === undefined ? 0 : remembered(v.parse(offender, past), now),
            },
          ];
        }),
      );
    },

    async writeBlock(next, before) {
      if (before && next.firstSeenAt !== before.firstSeenAt) await remove(before);
      const isNew = !before || next.firstSeenAt !== before.firstSeenAt;
      await conditionally(() =>
        dynamo.send(
          new PutCommand({
            TableName: tableName,
            Item: { ...key(blockKey(next.cidr)), ...next },
            ...(isNew
              ? { ConditionExpression: "attribute_not_exists(sk)" }
              : {
                  ConditionExpression:
                    "attribute_not_exists(sk) OR (firstSeenAt = :begun AND hits = :hits)",
                  ExpressionAttributeValues: {
                    ":begun": before?.firstSeenAt,
                    ":hits": before?.hits,
                  },
                }),
          }),
        ),
      );
    },

    removeBlock: remove,

    async readStrongest(family, count, now) {
      const strongest: Block[] = [];
      // Expired blocks that TTL has not deleted yet may stand in the way: read on past them.
      for await (const { Items } of pages(family, count, now)) {
        strongest.push(...v.parse(v.array(block), Items ?? []));
        if (strongest.length >= count) break;
      }
      return strongest.slice(0, count);
    },

    async readPage(family, limit, after) {
      const { Items, LastEvaluatedKey } = await dynamo.send(
        new QueryCommand({
          TableName: tableName,
          IndexName: INDEX,
          KeyConditionExpression:
            after === undefined
              ? "aclId = :acl AND begins_with(#rank, :family)"
              : "aclId = :acl AND #rank BETWEEN :family AND :after",
          ExpressionAttributeNames: { "#rank": "rank" },
          ExpressionAttributeValues: {
            ":acl": aclId,
            ":family": `${family}#`,
            ...(after !== undefined && { ":after": after }),
          },
          ScanIndexForward: false,
          Limit: after === undefined ? limit : limit + 1,
        }),
      );
      // One more was read, as `after` itself comes again unless it is gone by now.
      const found = v.parse(v.array(block), Items ?? []).filter(({ rank }) => rank !== after);
      const blocks = found.slice(0, limit);
      const isMore = LastEvaluatedKey !== undefined || found.length > limit;
      return { blocks, next: isMore ? blocks.at(-1)?.rank : undefined };
    },

    async count(family, atMost, now) {
      let counted = 0;
      for await (const { Count } of pages(family, atMost, now, "COUNT")) {
        counted += Count ?? 0;
        if (counted >= atMost) break;
      }
      return Math.min(counted, atMost);
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

/** TTL deletes late: an offender whose memory is over counts as forgotten. */
function remembered({ strikes, expiresAt }: v.InferOutput<typeof offender>, now: number): number {
  return isExpired({ expiresAt }, now) ? 0 : strikes;
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
