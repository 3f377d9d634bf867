import { execFile } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { DynamoDBClient, GetItemCommand } from "@aws-sdk/client-dynamodb";
import {
  DescribeStreamCommand,
  DynamoDBStreamsClient,
  GetRecordsCommand,
  GetShardIteratorCommand,
  ListStreamsCommand,
  type _Record as StreamRecord,
} from "@aws-sdk/client-dynamodb-streams";
import { GetQueueUrlCommand, SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { eventually, startTestCloud, type TestCloud } from "./cloud.ts";

const CLI = new URL("../../services/cli/portcullis.ts", import.meta.url).pathname;

let cloud: TestCloud;
let options: { region: string; credentials: { accessKeyId: string; secretAccessKey: string } };
let sqs: SQSClient;
beforeAll(async () => {
  cloud = await startTestCloud({ RULE_LIMIT: "18" });
  options = {
    region: cloud.stack.region,
    credentials: { accessKeyId: "local", secretAccessKey: "local" },
  };
  sqs = new SQSClient({ ...options, endpoint: cloud.stack.endpoints.sqs });
}, 120_000);
afterAll(() => cloud?.stop());

/** Runs a command of the operator's on this cloud; what a person sees. */
async function seen(...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [CLI, ...args], {
    env: { ...process.env, NODE_OPTIONS: "", PORTCULLIS_LOCAL_DIR: cloud.dir },
    timeout: 60_000,
  });
  return stdout;
}

/** The same for a program. */
const operate = async (...args: string[]) => JSON.parse(await seen(...args, "--json"));

/** The states of all wanted blocks, by address. */
async function wanted(): Promise<Map<string, string>> {
  const states = new Map<string, string>();
  for (let after = ""; ; ) {
    const response = await cloud.call(`/blacklist?limit=200${after}`, {
      token: cloud.stack.operatorToken,
    });
    const page = (await response.json()) as {
      blocks: { cidr: string; state: string }[];
      next: string | null;
    };
    for (const { cidr, state } of page.blocks) states.set(cidr, state);
    if (page.next === null) return states;
    after = `&next=${encodeURIComponent(page.next)}`;
  }
}

test("a stream failure is replayed: the enforcer learns from its records which blocks ended", async () => {
  const ip = "198.51.100.201";
  await cloud.block({ ip, expiryTime: 3 });
  const streams = new DynamoDBStreamsClient({
    ...options,
    endpoint: cloud.stack.endpoints.dynamodb,
  });
  const removal = await findRemoval(streams, `block#${ip}/32`);
  const dynamodb = new DynamoDBClient({ ...options, endpoint: cloud.stack.endpoints.dynamodb });

  const { QueueUrl } = await sqs.send(
    new GetQueueUrlCommand({ QueueName: "portcullis-local-stream-failures" }),
  );
  await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: failureOf(removal) }));
  expect(await operate("stream-failures", "list")).toMatchObject({
    total: 1,
    items: [{ reason: "RetryAttemptsExhausted", attempts: 11, records: 1 }],
  });
  const reported = () => cloud.log("enforcer").split("A block left the table").length - 1;
  const before = reported();
  expect(await operate("stream-failures", "replay")).toEqual({
    ...{ replayed: 1, left: 0, interrupted: false },
  });
  await eventually("the enforcer hears of it again", 5, async () => reported() > before);
  expect(await operate("stream-failures", "list")).toEqual({ total: 0, items: [] });
  const { Item } = await dynamodb.send(
    new GetItemCommand({
      TableName: cloud.stack.tableName,
      Key: { list: { S: "portcullis-local#memory" }, sk: { S: `offender#${ip}/32` } },
    }),
  );
  expect(Item?.strikes).toEqual({ N: "1" });

  // What is no stream failure is listed all the same, and replayed as a converge.
  await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: "sent by hand" }));
  expect(await operate("stream-failures", "list")).toMatchObject({
    ...{ total: 1, items: [{ reason: "unreadable" }] },
  });
  expect(await operate("stream-failures", "replay")).toMatchObject({ replayed: 1, left: 0 });
}, 60_000);

test("a poison message among 1,000 good ones holds none of them up; mended, it is enforced", async () => {
  // Even numbers only, so that none merge.
  const ips = Array.from({ length: 1_000 }, (_, n) => `45.0.${n >> 7}.${2 * (n & 127)}`);
  const hundreds = (from: number, to: number) =>
    Promise.all(
      Array.from({ length: (to - from) / 100 }, (_, n) =>
        cloud.block({ ips: ips.slice(from + n * 100, from + (n + 1) * 100) }),
      ),
    );
  const poison = {
    ...{ kind: "block", severity: 10, reason: "sent by hand", detector: "detector" },
    ...{ reportedAt: Date.now(), expiresAt: Math.floor(Date.now() / 1000) + 3_600 },
    ...{ requestId: "by-hand", cidr: "198.51.100.77" }, // no prefix length
  };
  await hundreds(0, 500);
  await sqs.send(
    new SendMessageCommand({
      QueueUrl: cloud.stack.queueUrl,
      MessageBody: JSON.stringify(poison),
      MessageGroupId: "portcullis-local", // the list's own
    }),
  );
  await hundreds(500, 1_000);

  // Less than the visibility timeout: nobody has waited for a retry.
  await eventually("all good ones are wanted", 28, async () => {
    await sleep(1_000); // reading them all is work as well
    return (await wanted()).size === 1_000;
  });
  await eventually(
    "the strongest are denied",
    10,
    async () => (await cloud.denied()).length === 18,
  );

  const { items } = await operate("dead-letters", "list");
  expect(items).toMatchObject([
    { reason: "invalid_message", detail: "cidr: is not a canonical CIDR" },
  ]);
  const mended = JSON.stringify({ ...poison, cidr: "198.51.100.77/32" });
  const { id } = items[0];
  expect(await operate("dead-letters", "replay", "--id", id, "--body", mended)).toEqual({
    ...{ replayed: 1, left: 0, interrupted: false },
  });
  await eventually("the mended one is denied", 20, async () =>
    (await cloud.denied()).includes("198.51.100.77/32"),
  );
  expect(await operate("dead-letters", "list")).toEqual({ total: 0, items: [] });
}, 120_000);

test("a person sees what was replayed, and what is left", async () => {
  await sqs.send(
    new SendMessageCommand({
      QueueUrl: cloud.stack.deadLetterQueueUrl,
      MessageBody: "poison",
      MessageGroupId: "one",
    }),
  );
  expect(await seen("dead-letters", "list")).toMatch(/retries_exhausted.*poison/);
  const replay = await seen("dead-letters", "replay", "--reason", "no_such_reason");
  expect(replay).toBe(
    "Replayed 0 dead letters.\n1 dead letter left: not chosen, failed again, or looked at by somebody and hidden for a minute.\n",
  );
}, 60_000);

type Found = { record: StreamRecord; shardId: string; streamArn: string };

/** The record of an item's removal, once TTL has made one. */
async function findRemoval(streams: DynamoDBStreamsClient, sk: string): Promise<Found> {
  const { Streams = [] } = await streams.send(
    new ListStreamsCommand({ TableName: cloud.stack.tableName }),
  );
  const streamArn = String(Streams[0]?.StreamArn);
  let found: Found | undefined;
  await eventually("TTL has removed it", 30, async () => {
    const { StreamDescription } = await streams.send(
      new DescribeStreamCommand({ StreamArn: streamArn }),
    );
    for (const { ShardId } of StreamDescription?.Shards ?? []) {
      let { ShardIterator } = await streams.send(
        new GetShardIteratorCommand({
          StreamArn: streamArn,
          ShardId,
          ShardIteratorType: "TRIM_HORIZON",
        }),
      );
      for (let page = 0; ShardIterator && page < 20 && !found; page++) {
        const { Records = [], NextShardIterator } = await streams.send(
          new GetRecordsCommand({ ShardIterator }),
        );
        const record = Records.find(
          ({ eventName, dynamodb }) => eventName === "REMOVE" && dynamodb?.Keys?.sk?.S === sk,
        );
        if (record) found = { record, shardId: String(ShardId), streamArn };
        ShardIterator = NextShardIterator;
      }
    }
    return found !== undefined;
  });
  if (!found) throw new Error("There is no such record.");
  return found;
}

/** What Lambda puts into the failure destination. */
function failureOf({ record, shardId, streamArn }: Found): string {
  const number = record.dynamodb?.SequenceNumber;
  return JSON.stringify({
    requestContext: {
      requestId: "c9b8fa9f-5a7f-xmpl-af9c-0c604cde93a5",
      functionArn: "arn:aws:lambda:us-east-1:000000000000:function:enforcer",
      condition: "RetryAttemptsExhausted",
      approximateInvokeCount: 11,
    },
    version: "1.0",
    timestamp: new Date().toISOString(),
    DDBStreamBatchInfo: {
      shardId,
      startSequenceNumber: number,
      endSequenceNumber: number,
      batchSize: 1,
      streamArn,
    },
  });
}
