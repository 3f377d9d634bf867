import {
  BatchWriteItemCommand,
  type BatchWriteItemCommandInput,
  type BatchWriteItemCommandOutput,
  type DynamoDBClient,
} from "@aws-sdk/client-dynamodb";
import { marshall } from "@aws-sdk/util-dynamodb";
import type { Block } from "../../shared/domain/block.ts";
import { parseCidr } from "../../shared/domain/cidr.ts";
import { rankOf } from "../../shared/domain/rank.ts";
import type { Random } from "./random.ts";
import { inParallel } from "./statistics.ts";

/** What BatchWriteItem takes at once. */
const BATCH = 25;
const CONCURRENCY = 8;
const MAX_ATTEMPTS = 10;

export type BlockOptions = {
  readonly severity: number;
  /** Epoch seconds. */
  readonly expiresAt: number;
  /** Epoch milliseconds. */
  readonly firstSeenAt: number;
};

/** A block as the worker would write it. */
export function blockOf(address: string, options: BlockOptions): Block {
  const cidr = parseCidr(address);
  const shared = { reason: "bench", byOperator: false, leastPrefix: 24 };
  return {
    ...{ cidr, ...options, ...shared },
    reports: {
      bench: {
        ...{ severity: options.severity, expiresAt: options.expiresAt, ...shared },
        ...{ reportedAt: options.firstSeenAt, weight: 1, requestId: `bench-${cidr.text}` },
      },
    },
    begunBy: "bench",
    score: options.firstSeenAt,
    strikes: 1,
    lastSeenAt: options.firstSeenAt,
    hits: 1,
    requestId: `bench-${cidr.text}-${options.firstSeenAt}`,
    wake: false,
    version: 1,
  };
}

/** So many blocks of distinct addresses; severities 1 to 9, so that there is room for a stronger one. */
export function randomBlocks(count: number, random: Random, now: number): Block[] {
  const addresses = new Set<string>();
  while (addresses.size < count) addresses.add(random.address());
  return [...addresses].map((address) =>
    blockOf(address, {
      severity: random.between(1, 9),
      expiresAt: Math.floor(now / 1000) + 86_400,
      firstSeenAt: now - random.between(0, 86_400_000),
    }),
  );
}

/** Writes blocks straight into the table, as fast as it takes them. */
export async function loadBlocks(
  dynamodb: DynamoDBClient,
  tableName: string,
  list: string,
  blocks: readonly Block[],
): Promise<void> {
  await inParallel(Math.ceil(blocks.length / BATCH), CONCURRENCY, async (index) => {
    const batch = blocks.slice(index * BATCH, (index + 1) * BATCH);
    let left: BatchWriteItemCommandInput["RequestItems"] = {
      [tableName]: batch.map((block) => ({ PutRequest: { Item: marshall(itemOf(list, block)) } })),
    };
    for (let attempt = 0; left && Object.keys(left).length > 0; attempt++) {
      if (attempt === MAX_ATTEMPTS) throw new Error("DynamoDB keeps leaving items unwritten.");
      const answer: BatchWriteItemCommandOutput = await dynamodb.send(
        new BatchWriteItemCommand({ RequestItems: left }),
      );
      left = answer.UnprocessedItems;
    }
  });
}

function itemOf(list: string, block: Block): object {
  const { text } = block.cidr;
  return { list, sk: `block#${text}`, ...block, cidr: text, rank: rankOf(block) };
}
