import {
  ChangeMessageVisibilityCommand,
  CreateQueueCommand,
  DeleteMessageCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SendMessageCommand,
} from "@aws-sdk/client-sqs";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import type { SQSEvent } from "aws-lambda";
import { ThrottledError } from "../lambda.ts";
import { failedItems, startQueueSource } from "../sources/queue.ts";
import type { EventSource } from "../sources/source.ts";
import type { QueueMapping } from "../template.ts";
import { pause } from "../waiting.ts";
import { memoryLog, REGION, startTestEngines, stubFunction, until } from "./support/fixtures.ts";

let aws: Awaited<ReturnType<typeof startTestEngines>>;
beforeAll(async () => {
  aws = await startTestEngines("sqs");
}, 60_000);
afterAll(() => aws.stop());

let source: EventSource | undefined;
afterEach(async () => {
  await source?.stop();
  source = undefined;
});

let count = 0;
async function makeQueue(attributes: Record<string, string> = {}): Promise<string> {
  const { QueueUrl } = await aws.clients.sqs.send(
    new CreateQueueCommand({
      QueueName: `q${++count}.fifo`,
      Attributes: { FifoQueue: "true", VisibilityTimeout: "1", ...attributes },
    }),
  );
  return String(QueueUrl);
}

async function send(queueUrl: string, group: string, ...bodies: string[]): Promise<void> {
  await aws.clients.sqs.send(
    new SendMessageBatchCommand({
      QueueUrl: queueUrl,
      Entries: bodies.map((body, index) => ({
        Id: String(index),
        MessageBody: body,
        MessageGroupId: group,
        MessageDeduplicationId: `${group}-${body}`,
        MessageAttributes: {
          Text: { DataType: "String", StringValue: "t" },
          Bytes: { DataType: "Binary", BinaryValue: Buffer.from("hi") },
        },
      })),
    }),
  );
}

function run(
  queueUrl: string,
  stub: ReturnType<typeof stubFunction<SQSEvent>>,
  mapping: Partial<QueueMapping> = {},
): void {
  source = startQueueSource({
    sqs: aws.clients.sqs,
    queueUrl,
    region: REGION,
    mapping: {
      functionName: "stub",
      queueArn: "arn:aws:sqs:us-east-1:000000000000:q.fifo",
      batchSize: 10,
      reportsBatchItemFailures: true,
      ...mapping,
    },
    invoke: stub.invoke,
    log: memoryLog(),
  });
}

const bodies = ({ Records }: SQSEvent) => Records.map(({ body }) => body);

async function isEmpty(queueUrl: string): Promise<boolean> {
  const { Attributes = {} } = await aws.clients.sqs.send(
    new GetQueueAttributesCommand({ QueueUrl: queueUrl, AttributeNames: ["All"] }),
  );
  const { ApproximateNumberOfMessages: ready, ApproximateNumberOfMessagesNotVisible: taken } =
    Attributes;
  return ready === "0" && taken === "0";
}

describe("the mapping from a FIFO queue", () => {
  it("runs no more batches at a time than its maximum concurrency", async () => {
    const queueUrl = await makeQueue({ VisibilityTimeout: "30" });
    let underWay = 0;
    const seen: number[] = [];
    const stub = stubFunction<SQSEvent>(async () => {
      seen.push(++underWay);
      await new Promise((resolve) => setTimeout(resolve, 50));
      underWay--;
    });
    for (const group of ["a", "b", "c", "d", "e"]) await send(queueUrl, group, "one");
    run(queueUrl, stub, { maximumConcurrency: 2 });
    await until(() => stub.events.length === 5);
    await until(() => isEmpty(queueUrl));
    expect(Math.max(...seen)).toBe(2);
  });

  it("gives Lambda's event", async () => {
    const queueUrl = await makeQueue();
    const stub = stubFunction<SQSEvent>();
    await send(queueUrl, "acl-1", "one");
    run(queueUrl, stub);
    await until(() => stub.events.length > 0);
    expect(stub.events[0]).toEqual({
      Records: [
        {
          messageId: expect.stringMatching(/^[0-9a-f-]{36}$/),
          receiptHandle: expect.any(String),
          body: "one",
          attributes: {
            ApproximateReceiveCount: "1",
            SentTimestamp: expect.stringMatching(/^\d{13}$/),
            SenderId: expect.any(String),
            ApproximateFirstReceiveTimestamp: expect.stringMatching(/^\d{13}$/),
            MessageGroupId: "acl-1",
            MessageDeduplicationId: "acl-1-one",
            SequenceNumber: expect.stringMatching(/^\d{20}$/),
          },
          messageAttributes: {
            Text: {
              stringValue: "t",
              stringListValues: [],
              binaryListValues: [],
              dataType: "String",
            },
            Bytes: {
              binaryValue: "aGk=",
              stringListValues: [],
              binaryListValues: [],
              dataType: "Binary",
            },
          },
          md5OfMessageAttributes: expect.stringMatching(/^[0-9a-f]{32}$/),
          md5OfBody: "f97c5d29941bfb1b2fdab0874906ab82",
          eventSource: "aws:sqs",
          eventSourceARN: "arn:aws:sqs:us-east-1:000000000000:q.fifo",
          awsRegion: "us-east-1",
        },
      ],
    });
    await until(() => isEmpty(queueUrl));
  });

  it("keeps the order, in batches of up to ten, and empties the queue", async () => {
    const queueUrl = await makeQueue();
    const stub = stubFunction<SQSEvent>();
    const sent = Array.from({ length: 25 }, (_, index) => `m${index}`);
    for (const from of [0, 10, 20]) await send(queueUrl, "a", ...sent.slice(from, from + 10));
    run(queueUrl, stub);
    await until(() => isEmpty(queueUrl));
    expect(stub.events.map(({ Records }) => Records.length)).toEqual([10, 10, 5]);
    expect(stub.events.flatMap(bodies)).toEqual(sent);
  });

  it("runs one batch at a time per group, and the groups side by side", async () => {
    const queueUrl = await makeQueue({ VisibilityTimeout: "30" });
    let letGo = () => {};
    const gate = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    const stub = stubFunction<SQSEvent>((event) =>
      event.Records[0]?.attributes.MessageGroupId === "slow" ? gate : null,
    );
    await send(queueUrl, "slow", "s1");
    run(queueUrl, stub);
    await until(() => stub.events.length === 1);
    await send(queueUrl, "slow", "s2");
    await send(queueUrl, "fast", "f1", "f2");
    await until(() => stub.events.flatMap(bodies).includes("f2"));
    expect(stub.events.flatMap(bodies)).not.toContain("s2");
    letGo();
    await until(() => isEmpty(queueUrl));
    expect(stub.events.flatMap(bodies)).toEqual(["s1", "f1", "f2", "s2"]);
  });

  it("keeps a group to one batch even when the queue's own lock ran out", async () => {
    const queueUrl = await makeQueue({ VisibilityTimeout: "1" });
    let running = 0;
    let most = 0;
    let letGo = () => {};
    const gate = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    const stub = stubFunction<SQSEvent>(async (_, call) => {
      most = Math.max(most, ++running);
      if (call === 1) await gate;
      running -= 1;
    });
    await send(queueUrl, "a", "m1");
    run(queueUrl, stub);
    await until(() => stub.events.length === 1);
    // The message has come back to the queue and been received once more, behind the first batch.
    await until(async () => Number(await receiveCount(queueUrl)) >= 2);
    letGo();
    await until(() => stub.events.length >= 2);
    expect(most).toBe(1);
  });

  it("deletes what was not failed; what was failed comes again, in order", async () => {
    const queueUrl = await makeQueue();
    const stub = stubFunction<SQSEvent>(({ Records }, call) => ({
      batchItemFailures:
        call === 1 ? Records.slice(1).map(({ messageId }) => ({ itemIdentifier: messageId })) : [],
    }));
    await send(queueUrl, "a", "m1", "m2", "m3");
    run(queueUrl, stub);
    await until(() => isEmpty(queueUrl));
    expect(stub.events.map(bodies)).toEqual([
      ["m1", "m2", "m3"],
      ["m2", "m3"],
    ]);
    expect(stub.events[1]?.Records[0]?.attributes.ApproximateReceiveCount).toBe("2");
  });

  it.each<[string, (event: SQSEvent) => unknown]>([
    ["the function fails", () => Promise.reject(new Error("no"))],
    ["it names a message of no batch", () => ({ batchItemFailures: [{ itemIdentifier: "?" }] })],
  ])("deletes nothing of the batch when %s", async (_, firstAnswer) => {
    const queueUrl = await makeQueue();
    const stub = stubFunction<SQSEvent>((event, call) => (call === 1 ? firstAnswer(event) : null));
    await send(queueUrl, "a", "m1", "m2");
    run(queueUrl, stub);
    await until(() => isEmpty(queueUrl));
    expect(stub.events.map(bodies)).toEqual([
      ["m1", "m2"],
      ["m1", "m2"],
    ]);
  });

  it("goes on with two groups when the lock of one runs out while the other is read", async () => {
    const queueUrl = await makeQueue();
    const receive = async () => {
      const { Messages = [] } = await aws.clients.sqs.send(
        new ReceiveMessageCommand({ QueueUrl: queueUrl, MaxNumberOfMessages: 10 }),
      );
      return Messages;
    };
    const sent = Array.from({ length: 9 }, (_, index) => `m${index}`);
    await send(queueUrl, "killed", "k1", "k2", "k3");
    expect(await receive()).toHaveLength(3);
    await send(queueUrl, "other", ...sent);
    // Nobody asks meanwhile, so that the engine finds out while it reads.
    await pause(1_100);
    const seen: unknown[] = [];
    for (let round = 0; round < 4; round++) {
      if (round === 2) {
        await send(queueUrl, "killed", "k4");
        await send(queueUrl, "other", "m9");
      }
      for (const { Body, ReceiptHandle } of await receive()) {
        seen.push(Body);
        await aws.clients.sqs.send(new DeleteMessageCommand({ QueueUrl: queueUrl, ReceiptHandle }));
      }
    }
    expect(seen.toSorted()).toEqual(["k1", "k2", "k3", "k4", ...sent, "m9"]);
    expect(await isEmpty(queueUrl)).toBe(true);
  });

  it("leaves to the queue what fails too often", async () => {
    const deadUrl = await makeQueue();
    const { Attributes } = await aws.clients.sqs.send(
      new GetQueueAttributesCommand({ QueueUrl: deadUrl, AttributeNames: ["QueueArn"] }),
    );
    const queueUrl = await makeQueue({
      RedrivePolicy: JSON.stringify({
        deadLetterTargetArn: Attributes?.QueueArn,
        maxReceiveCount: 2,
      }),
    });
    const stub = stubFunction<SQSEvent>(() => Promise.reject(new Error("no")));
    await send(queueUrl, "a", "poison");
    run(queueUrl, stub);
    const dead = await until(async () => {
      const { Messages } = await aws.clients.sqs.send(
        new ReceiveMessageCommand({ QueueUrl: deadUrl }),
      );
      return Messages?.[0];
    });
    expect(dead.Body).toBe("poison");
    expect(stub.events).toHaveLength(2);
  });
});

describe("the mapping from a standard queue", () => {
  async function makeStandardQueue(visibilitySeconds = 1): Promise<string> {
    const { QueueUrl } = await aws.clients.sqs.send(
      new CreateQueueCommand({
        QueueName: `q${++count}`,
        Attributes: { VisibilityTimeout: String(visibilitySeconds) },
      }),
    );
    return String(QueueUrl);
  }
  const sendOne = (QueueUrl: string, MessageBody: string, DelaySeconds = 0) =>
    aws.clients.sqs.send(new SendMessageCommand({ QueueUrl, MessageBody, DelaySeconds }));

  function runStandard(queueUrl: string, stub: ReturnType<typeof stubFunction<SQSEvent>>): void {
    source = startQueueSource({
      sqs: aws.clients.sqs,
      queueUrl,
      region: REGION,
      mapping: {
        functionName: "stub",
        queueArn: "arn:aws:sqs:us-east-1:000000000000:q",
        batchSize: 10,
        reportsBatchItemFailures: false,
      },
      invoke: stub.invoke,
      log: memoryLog(),
    });
  }

  it("hands over what a poll brings as one batch, and deletes it", async () => {
    const queueUrl = await makeStandardQueue();
    const stub = stubFunction<SQSEvent>(() => ({ batchItemFailures: [{ itemIdentifier: "?" }] }));
    const sent = Array.from({ length: 12 }, (_, index) => `m${index}`);
    for (const body of sent) await sendOne(queueUrl, body);
    runStandard(queueUrl, stub);
    await until(() => isEmpty(queueUrl));
    expect(stub.events.map(({ Records }) => Records.length)).toEqual([10, 2]);
    expect(stub.events.flatMap(bodies).toSorted()).toEqual(sent.toSorted());
  });

  it("runs batches side by side", async () => {
    const queueUrl = await makeStandardQueue(30);
    let letGo = () => {};
    const gate = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    const stub = stubFunction<SQSEvent>((event) => (bodies(event).includes("slow") ? gate : null));
    await sendOne(queueUrl, "slow");
    runStandard(queueUrl, stub);
    await until(() => stub.events.length === 1);
    await sendOne(queueUrl, "fast");
    await until(() => stub.events.length === 2);
    letGo();
    await until(() => isEmpty(queueUrl));
  });

  it("delivers a delayed message when its delay is over, not before", async () => {
    const queueUrl = await makeStandardQueue(30);
    const lateness: number[] = [];
    const due = new Map<string, number>();
    const stub = stubFunction<SQSEvent>((event) => {
      for (const body of bodies(event)) lateness.push(Date.now() - (due.get(body) ?? 0));
    });
    runStandard(queueUrl, stub);
    for (const [seconds, body] of [
      [3, "c"],
      [1, "a"],
      [2, "b"],
      [5, "d"],
    ] as const) {
      due.set(body, Date.now() + seconds * 1_000);
      await sendOne(queueUrl, body, seconds);
    }
    await until(() => lateness.length === 4);
    expect(stub.events.flatMap(bodies)).toEqual(["a", "b", "c", "d"]);
    expect(Math.min(...lateness)).toBeGreaterThanOrEqual(0);
  });

  it("leaves all of a batch that fails for after the visibility timeout", async () => {
    const queueUrl = await makeStandardQueue(2);
    const at: number[] = [];
    const stub = stubFunction<SQSEvent>((_, call) => {
      at.push(performance.now());
      if (call === 1) throw new Error("no");
    });
    await sendOne(queueUrl, "m1");
    await sendOne(queueUrl, "m2");
    runStandard(queueUrl, stub);
    await until(() => isEmpty(queueUrl));
    expect(stub.events.map((event) => bodies(event).toSorted())).toEqual([
      ["m1", "m2"],
      ["m1", "m2"],
    ]);
    expect((at[1] ?? 0) - (at[0] ?? 0)).toBeGreaterThan(1_900);
  });

  it("tries a throttled invocation again, with the same receipt", async () => {
    const queueUrl = await makeStandardQueue(30);
    const stub = stubFunction<SQSEvent>((_, call) => {
      if (call < 3) throw new ThrottledError();
    });
    await sendOne(queueUrl, "m1");
    runStandard(queueUrl, stub);
    await until(() => isEmpty(queueUrl));
    const received = stub.events.map(({ Records: [record] }) => [
      record?.receiptHandle,
      record?.attributes.ApproximateReceiveCount,
    ]);
    expect(received).toEqual(Array(3).fill([expect.any(String), "1"]));
    expect(new Set(received.map(([handle]) => handle)).size).toBe(1);
  });

  it("waits in turn for as long as the message is hidden; then the message comes again", async () => {
    const queueUrl = await makeStandardQueue(1);
    let isFree = false;
    const events: SQSEvent[] = [];
    const patience: number[] = [];
    const stub = stubFunction<SQSEvent>();
    const busy = async (event: unknown, { waitMs = 0 } = {}) => {
      if (!isFree) {
        patience.push(waitMs);
        await new Promise((resolve) => setTimeout(resolve, waitMs));
        throw new ThrottledError();
      }
      events.push(event as SQSEvent);
      return { ok: true as const, payload: null };
    };
    await sendOne(queueUrl, "m1");
    runStandard(queueUrl, { ...stub, invoke: busy });
    await until(() => patience.length === 2);
    isFree = true;
    await until(() => isEmpty(queueUrl));
    expect(patience[0]).toBeGreaterThan(800);
    expect(patience[0]).toBeLessThanOrEqual(1_000);
    expect(Number(events[0]?.Records[0]?.attributes.ApproximateReceiveCount)).toBeGreaterThan(1);
  });
});

/** How often the engine has handed out the queue's one message. */
async function receiveCount(queueUrl: string): Promise<unknown> {
  const name = queueUrl.split("/").at(-1);
  const response = await fetch(`${aws.engines.endpoints.sqs}/_fauxqs/queues/${name}`);
  const { messages } = (await response.json()) as {
    messages: Record<"ready", { approximateReceiveCount: number }[]> &
      Record<"inflight", { message: { approximateReceiveCount: number } }[]>;
  };
  return (messages.inflight[0]?.message ?? messages.ready[0])?.approximateReceiveCount;
}

describe("the SQS engine", () => {
  const receive = async (queueUrl: string, max: number) => {
    const { Messages = [] } = await aws.clients.sqs.send(
      new ReceiveMessageCommand({ QueueUrl: queueUrl, MaxNumberOfMessages: max }),
    );
    return Messages.map(({ Body, ReceiptHandle }) => ({ body: Body, handle: ReceiptHandle }));
  };

  it("locks a group of which messages are out, and gives returned ones first", async () => {
    const queueUrl = await makeQueue({ VisibilityTimeout: "30" });
    await send(queueUrl, "a", "m1", "m2", "m3");
    await send(queueUrl, "b", "n1");
    const [m1, m2] = await receive(queueUrl, 2);
    expect([m1?.body, m2?.body]).toEqual(["m1", "m2"]);
    expect((await receive(queueUrl, 10)).map(({ body }) => body)).toEqual(["n1"]);
    for (const { handle } of [m1, m2].filter((each) => each !== undefined)) {
      await aws.clients.sqs.send(
        new ChangeMessageVisibilityCommand({
          QueueUrl: queueUrl,
          ReceiptHandle: handle,
          VisibilityTimeout: 0,
        }),
      );
    }
    expect((await receive(queueUrl, 10)).map(({ body }) => body)).toEqual(["m1", "m2", "m3"]);
  });
});

describe("failedItems", () => {
  const ids = ["1", "2"];

  it.each([
    ["null", null],
    ["an object without a list", {}],
    ["a null list", { batchItemFailures: null }],
    ["an empty list", { batchItemFailures: [] }],
  ])("is none of them for %s", (_, answer) => {
    expect(failedItems(answer, ids)).toEqual([]);
  });

  it("is those that are listed", () => {
    expect(failedItems({ batchItemFailures: [{ itemIdentifier: "2" }] }, ids)).toEqual(["2"]);
  });

  it.each([
    ["a string", "fine"],
    ["a list that is none", { batchItemFailures: "2" }],
    ["an empty identifier", { batchItemFailures: [{ itemIdentifier: "" }] }],
    ["a null identifier", { batchItemFailures: [{ itemIdentifier: null }] }],
    ["a misspelt key", { batchItemFailures: [{ messageId: "2" }] }],
    ["a null item", { batchItemFailures: [null] }],
    [
      "an unknown message beside a known one",
      {
        batchItemFailures: [{ itemIdentifier: "2" }, { itemIdentifier: "3" }],
      },
    ],
  ])("is all of them for %s", (_, answer) => {
    expect(failedItems(answer, ids)).toEqual(ids);
  });
});
