import {
  type AttributeValue,
  DeleteItemCommand,
  PutItemCommand,
  TransactWriteItemsCommand,
} from "@aws-sdk/client-dynamodb";
import { CreateQueueCommand, ReceiveMessageCommand, SendMessageCommand } from "@aws-sdk/client-sqs";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "@jest/globals";
import type { DynamoDBRecord, DynamoDBStreamEvent } from "aws-lambda";
import { ThrottledError } from "../lambda.ts";
import { createResources } from "../resources.ts";
import type { EventSource } from "../sources/source.ts";
import { type Checkpoints, startStreamSource } from "../sources/stream.ts";
import type { StreamMapping, TableModel } from "../template.ts";
import { memoryLog, startTestEngines, stubFunction, until } from "./support/fixtures.ts";

let aws: Awaited<ReturnType<typeof startTestEngines>>;
beforeAll(async () => {
  aws = await startTestEngines("dynamodb", "sqs");
}, 60_000);
afterAll(() => aws.stop());

let table: TableModel;
let streamArn: string;
let count = 0;
beforeEach(async () => {
  table = {
    name: `table${++count}`,
    keySchema: [
      { AttributeName: "aclId", KeyType: "HASH" },
      { AttributeName: "sk", KeyType: "RANGE" },
    ],
    attributeDefinitions: [
      { AttributeName: "aclId", AttributeType: "S" },
      { AttributeName: "sk", AttributeType: "S" },
    ],
    localIndexes: [],
    globalIndexes: [],
    ttlAttribute: "expiresAt",
    streamViewType: "NEW_AND_OLD_IMAGES",
  };
  ({
    table: { streamArn },
  } = await createResources(aws.clients, { queues: [], table }, []));
});

let source: EventSource | undefined;
afterEach(async () => {
  await source?.stop();
  source = undefined;
});

const put = (sk: string, more: Record<string, AttributeValue> = {}) =>
  aws.clients.dynamodb.send(
    new PutItemCommand({ TableName: table.name, Item: { ...keyOf(sk), ...more } }),
  );
const remove = (sk: string) =>
  aws.clients.dynamodb.send(new DeleteItemCommand({ TableName: table.name, Key: keyOf(sk) }));
const keyOf = (sk: string) => ({ aclId: { S: "acl-1" }, sk: { S: sk } });

function memoryCheckpoints(): Checkpoints {
  const known = new Map<string, string>();
  return { get: (id) => known.get(id), set: (id, number) => void known.set(id, number) };
}

type Stub = ReturnType<typeof stubFunction<DynamoDBStreamEvent>>;

function run(
  stub: Stub,
  mapping: Partial<StreamMapping> = {},
  options: { checkpoints?: Checkpoints; sendFailure?: (message: string) => Promise<void> } = {},
): void {
  source = startStreamSource({
    streams: aws.clients.streams,
    streamArn,
    functionArn: "arn:aws:lambda:us-east-1:000000000000:function:stub",
    mapping: {
      functionName: "stub",
      streamArn,
      batchSize: 100,
      filterPatterns: [],
      bisectBatchOnFunctionError: false,
      maximumRetryAttempts: 2,
      maximumRecordAgeSeconds: -1,
      ...mapping,
    },
    invoke: stub.invoke,
    sendFailure: async () => undefined,
    checkpoints: memoryCheckpoints(),
    log: memoryLog(),
    pollMs: 50,
    ...options,
  });
}

const keyIn = (record: DynamoDBRecord) => record.dynamodb?.Keys?.sk?.S;
const keysIn = ({ Records }: DynamoDBStreamEvent) => Records.map(keyIn);
const seenBy = (stub: Stub) => stub.events.flatMap(({ Records }) => Records);

describe("the mapping from a stream", () => {
  it("gives Lambda's event, from the trim horizon on, with the second of the change", async () => {
    const before = Math.floor(Date.now() / 1_000);
    await put("block#1", { n: { N: "1" }, bytes: { M: { b: { B: Buffer.from("hi") } } } });
    const stub = stubFunction<DynamoDBStreamEvent>();
    run(stub);
    await until(() => stub.events.length > 0);
    expect(stub.events[0]).toEqual({
      Records: [
        {
          eventID: expect.any(String),
          eventName: "INSERT",
          eventVersion: "1.1",
          eventSource: "aws:dynamodb",
          awsRegion: expect.any(String),
          dynamodb: {
            ApproximateCreationDateTime: expect.any(Number),
            Keys: keyOf("block#1"),
            NewImage: { ...keyOf("block#1"), n: { N: "1" }, bytes: { M: { b: { B: "aGk=" } } } },
            SequenceNumber: expect.stringMatching(/^\d+$/),
            SizeBytes: expect.any(Number),
            StreamViewType: "NEW_AND_OLD_IMAGES",
          },
          eventSourceARN: streamArn,
        },
      ],
    });
    const at = stub.events[0]?.Records[0]?.dynamodb?.ApproximateCreationDateTime ?? 0;
    expect(at).toBeGreaterThanOrEqual(before);
    expect(at).toBeLessThanOrEqual(Date.now() / 1_000);
  });

  it("invokes for what passes a filter only: INSERT and REMOVE of blocks, marked MODIFY", async () => {
    const stub = stubFunction<DynamoDBStreamEvent>();
    const Keys = { sk: { S: [{ prefix: "block#" }] } };
    run(stub, {
      filterPatterns: [
        JSON.stringify({ eventName: ["INSERT", "REMOVE"], dynamodb: { Keys } }),
        JSON.stringify({
          eventName: ["MODIFY"],
          dynamodb: { Keys, NewImage: { rankRaised: { BOOL: [true] } } },
        }),
      ],
    });
    await put("state");
    await put("block#1");
    await put("block#1", { hits: { N: "2" } });
    await put("block#1", { hits: { N: "3" }, rankRaised: { BOOL: true } });
    await put("offender#1");
    await remove("block#1");
    await put("block#last");
    await until(() => seenBy(stub).some((record) => keyIn(record) === "block#last"));
    expect(seenBy(stub).map((record) => [record.eventName, keyIn(record)])).toEqual([
      ["INSERT", "block#1"],
      ["MODIFY", "block#1"],
      ["REMOVE", "block#1"],
      ["INSERT", "block#last"],
    ]);
    const [, , removed] = seenBy(stub);
    expect(removed?.dynamodb?.OldImage).toMatchObject({ hits: { N: "3" } });
    expect(removed).not.toHaveProperty("userIdentity");
  });

  it("tells what TTL removed by its user identity", async () => {
    const stub = stubFunction<DynamoDBStreamEvent>();
    run(stub, { filterPatterns: [JSON.stringify({ eventName: ["REMOVE"] })] });
    await put("block#1", { expiresAt: { N: String(Math.floor(Date.now() / 1_000) - 60) } });
    await until(() => stub.events.length > 0, 60_000);
    expect(seenBy(stub)[0]?.userIdentity).toEqual({
      type: "Service",
      principalId: "dynamodb.amazonaws.com",
    });
  }, 90_000);

  it("tries a failed batch again", async () => {
    const stub = stubFunction<DynamoDBStreamEvent>((_, call) => {
      if (call <= 2) throw new Error("not yet");
    });
    await put("block#1");
    run(stub);
    await until(() => stub.events.length === 3);
    await put("block#2");
    await until(() => stub.events.length === 4);
    expect(stub.events.map(keysIn)).toEqual([["block#1"], ["block#1"], ["block#1"], ["block#2"]]);
  });

  it("halves a failed batch in order, gives up the bad record and moves on", async () => {
    const { QueueUrl } = await aws.clients.sqs.send(
      new CreateQueueCommand({ QueueName: "failures" }),
    );
    const stub = stubFunction<DynamoDBStreamEvent>((event) => {
      if (keysIn(event).includes("block#bad")) throw new Error("no");
    });
    const names = ["block#1", "block#2", "block#bad", "block#4"];
    await aws.clients.dynamodb.send(
      new TransactWriteItemsCommand({
        TransactItems: names.map((sk) => ({ Put: { TableName: table.name, Item: keyOf(sk) } })),
      }),
    );
    run(
      stub,
      {
        bisectBatchOnFunctionError: true,
        maximumRetryAttempts: 1,
        failureQueueArn: "arn:aws:sqs:us-east-1:000000000000:failures",
      },
      {
        async sendFailure(MessageBody) {
          await aws.clients.sqs.send(new SendMessageCommand({ QueueUrl, MessageBody }));
        },
      },
    );
    const failure = await until(async () => {
      const { Messages } = await aws.clients.sqs.send(new ReceiveMessageCommand({ QueueUrl }));
      return Messages?.[0]?.Body;
    });
    await put("block#5");
    await until(() => seenBy(stub).some((record) => keyIn(record) === "block#5"));

    // The stream's order is the transaction's own: what counts is that each half keeps it.
    const [whole = []] = stub.events.map(keysIn);
    expect(whole.toSorted()).toEqual(names.toSorted());
    const failed = stub.events.map(keysIn).filter((keys) => keys.includes("block#bad"));
    expect(failed.map((keys) => keys.length)).toEqual([4, 2, 1, 1]);
    const passed = stub.events.map(keysIn).filter((keys) => !keys.includes("block#bad"));
    expect(passed.flat()).toEqual([...whole.filter((key) => key !== "block#bad"), "block#5"]);

    const bad = seenBy(stub).find((record) => keyIn(record) === "block#bad");
    expect(JSON.parse(failure)).toEqual({
      requestContext: {
        requestId: expect.any(String),
        functionArn: "arn:aws:lambda:us-east-1:000000000000:function:stub",
        condition: "RetryAttemptsExhausted",
        approximateInvokeCount: 2,
      },
      responseContext: { statusCode: 200, executedVersion: "$LATEST", functionError: "Unhandled" },
      version: "1.0",
      timestamp: expect.stringMatching(/^\d{4}-.*Z$/),
      DDBStreamBatchInfo: {
        shardId: expect.stringMatching(/^shardId-/),
        startSequenceNumber: bad?.dynamodb?.SequenceNumber,
        endSequenceNumber: bad?.dynamodb?.SequenceNumber,
        approximateArrivalOfFirstRecord: expect.stringMatching(/^\d{4}-.*Z$/),
        approximateArrivalOfLastRecord: expect.stringMatching(/^\d{4}-.*Z$/),
        batchSize: 1,
        streamArn,
      },
    });
  });

  it("gives up what is too old before it comes to the function", async () => {
    const failures: string[] = [];
    const stub = stubFunction<DynamoDBStreamEvent>();
    await put("block#old");
    run(
      stub,
      { maximumRecordAgeSeconds: 0, failureQueueArn: "arn:aws:sqs:us-east-1:000000000000:f" },
      { sendFailure: async (message) => void failures.push(message) },
    );
    await until(() => failures.length > 0);
    expect(JSON.parse(failures[0] ?? "")).toMatchObject({
      requestContext: { condition: "RecordAgeExceeded", approximateInvokeCount: 0 },
    });
    expect(stub.events).toHaveLength(0);
  });

  it("waits for a throttled function without using up retries", async () => {
    const stub = stubFunction<DynamoDBStreamEvent>((_, call) => {
      if (call <= 5) throw new ThrottledError();
    });
    await put("block#1");
    run(stub, { maximumRetryAttempts: 0 });
    await until(() => stub.events.length === 6);
    await put("block#2");
    await until(() => stub.events.length === 7);
    expect(stub.events.slice(5).map(keysIn)).toEqual([["block#1"], ["block#2"]]);
  });

  it("goes on after its last checkpoint when it starts anew", async () => {
    const checkpoints = memoryCheckpoints();
    const first = stubFunction<DynamoDBStreamEvent>();
    let saved = 0;
    const counted: Checkpoints = {
      get: checkpoints.get,
      set(id, number) {
        checkpoints.set(id, number);
        saved += 1;
      },
    };
    await put("block#1");
    run(first, {}, { checkpoints: counted });
    await until(() => saved > 0);
    await source?.stop();
    await put("block#2");
    const second = stubFunction<DynamoDBStreamEvent>();
    run(second, {}, { checkpoints });
    await until(() => second.events.length > 0);
    expect(seenBy(second).map(keyIn)).toEqual(["block#2"]);
  });
});
