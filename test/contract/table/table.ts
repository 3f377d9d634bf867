import {
  DescribeStreamCommand,
  GetRecordsCommand,
  GetShardIteratorCommand,
} from "@aws-sdk/client-dynamodb-streams";
import { DynamoDBDocumentClient, PutCommand } from "@aws-sdk/lib-dynamodb";
import { afterAll, beforeAll, beforeEach, describe } from "@jest/globals";
import { startTestEngines, until } from "../../../infra/local/test/support/fixtures.ts";
import { createAddresses } from "../../../shared/aws/table/addresses.ts";
import { createBlocks } from "../../../shared/aws/table/blocks.ts";
import { createOffenders } from "../../../shared/aws/table/offenders.ts";
import { createOrderBook } from "../../../shared/aws/table/orders.ts";
import { createOutstanding } from "../../../shared/aws/table/outstanding.ts";
import { createTargetStates } from "../../../shared/aws/table/targetStates.ts";
import type { Block } from "../../../shared/domain/block.ts";
import { parseCidr } from "../../../shared/domain/cidr.ts";
import { type Known, NOTHING_KNOWN } from "../../../shared/domain/decide.ts";
import { blockOf as blockAt } from "../../support/blocks.ts";
import { hasJava } from "../../support/java.ts";
import type { ReportChange } from "../../support/reports.ts";
import { makeTable } from "../../support/resources.ts";

// The table's adapters on DynamoDB Local, with the table as infra/table.yml defines it. Times lie far
// ahead, so that DynamoDB's own sweeper leaves the items alone, whenever the tests run.

export const NOW = 4_000_000_000_000;
export const TABLE = "blacklist_ip";
export const A = "203.0.113.1/32";

/** All ports of a list. */
const portsOf = (
  dynamo: DynamoDBDocumentClient,
  list: string,
  log?: Parameters<typeof createBlocks>[2],
) => {
  const config = { tableName: TABLE, list };
  return {
    addresses: createAddresses(dynamo, config, log),
    blocks: createBlocks(dynamo, config, log),
    states: createTargetStates(dynamo, config),
    offenders: createOffenders(dynamo, config),
    orders: createOrderBook(dynamo, config, log),
    outstanding: createOutstanding(dynamo, config),
  };
};

/** The table, and each test's own list in it. */
export function useTable() {
  let aws: Awaited<ReturnType<typeof startTestEngines>>;
  let streamArn: string;
  let count = 0;
  const own = {} as ReturnType<typeof portsOf> & {
    dynamo: DynamoDBDocumentClient;
    list: string;
    /** What the adapters logged. */
    errors: unknown[];
  };
  beforeAll(async () => {
    aws = await startTestEngines("dynamodb");
    streamArn = await makeTable(aws.clients, TABLE);
    own.dynamo = DynamoDBDocumentClient.from(aws.clients.dynamodb, {
      marshallOptions: { removeUndefinedValues: true },
    });
  }, 90_000);
  afterAll(() => aws?.stop());
  beforeEach(() => {
    const list = `list-${++count}`;
    const errors: unknown[] = [];
    const log = { error: (_what: unknown, detail: unknown) => errors.push(detail) };
    Object.assign(own, { list, errors }, portsOf(own.dynamo, list, log as never));
  });

  return Object.assign(own, {
    another: () => portsOf(own.dynamo, "another"),
    put: (item: object) =>
      own.dynamo.send(new PutCommand({ TableName: TABLE, Item: { list: own.list, ...item } })),
    async knownOf(cidr: string, now = NOW): Promise<Known> {
      return given((await own.addresses.read([cidr], now)).get(cidr));
    },
    async writeBlock(block: Block, before?: Block): Promise<void> {
      const known = { ...NOTHING_KNOWN, block: before };
      await own.addresses.write(block.cidr, known, { ...known, block });
    },

    /** What the stream shows of this test's list, once it has shown as many records. */
    async streamed(length: number): Promise<{ eventName: string; image: object }[]> {
      return until(async () => {
        const records = await readStream(aws, streamArn);
        const ours = records.filter(({ dynamodb }) => dynamodb?.Keys?.list?.S === own.list);
        return (
          ours.length >= length &&
          ours.map(({ eventName = "", dynamodb }) => ({
            eventName,
            image: dynamodb?.NewImage ?? dynamodb?.OldImage ?? {},
          }))
        );
      });
    },
  });
}

/** Where there is no Java there is no DynamoDB Local. */
export const describeWithTable = hasJava ? describe : describe.skip;

/** A block reported now. */
export const blockOf = (cidr: string, change: ReportChange = {}): Block => ({
  ...blockAt(cidr, { reportedAt: NOW, ...change }),
  version: 1,
});

/** A block whose time was over a minute ago. */
export const endedOf = (cidr: string, change: ReportChange = {}): Block =>
  blockOf(cidr, { reportedAt: NOW - 120_000, seconds: 60, ...change });

/** The block with one report more. */
export const again = (block: Block, change: Partial<Block> = {}): Block => ({
  ...block,
  hits: block.hits + 1,
  ...change,
});

export const textsOf = (blocks: readonly Block[]) => blocks.map(({ cidr }) => cidr.text);

/** A block's item that holds too little of one. */
export const brokenItem = (cidr: string, rank: string) => ({
  sk: `block#${parseCidr(cidr).text}`,
  cidr,
  rank,
});

export function given<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("There is none.");
  return value;
}

/** All records of a stream, from its beginning. */
async function readStream(
  { clients: { streams } }: Awaited<ReturnType<typeof startTestEngines>>,
  StreamArn: string,
) {
  const { StreamDescription } = await streams.send(new DescribeStreamCommand({ StreamArn }));
  const shards = (StreamDescription?.Shards ?? []).map(async ({ ShardId }) => {
    let { ShardIterator } = await streams.send(
      new GetShardIteratorCommand({ StreamArn, ShardId, ShardIteratorType: "TRIM_HORIZON" }),
    );
    const records = [];
    while (ShardIterator) {
      const page = await streams.send(new GetRecordsCommand({ ShardIterator }));
      records.push(...(page.Records ?? []));
      // An open shard goes on for ever; an empty page is its end for now.
      ShardIterator = page.Records?.length ? page.NextShardIterator : undefined;
    }
    return records;
  });
  return (await Promise.all(shards)).flat();
}
