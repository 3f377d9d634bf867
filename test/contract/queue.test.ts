import { DeleteMessageCommand, ReceiveMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import * as v from "valibot";
import { startTestEngines } from "../../infra/local/test/support/fixtures.ts";
import { createFold } from "../../services/blacklist/fold.ts";
import { callerName } from "../../shared/aws/callers.ts";
import { createDeadLetters } from "../../shared/aws/deadLetters.ts";
import {
  type BlockMessage,
  createQueue,
  groupOf,
  message as messageSchema,
  type Queue,
  QueueUnavailableError,
  type UnblockMessage,
} from "../../shared/aws/queue.ts";
import { parseCidr } from "../../shared/domain/cidr.ts";

import { ordersOver } from "../support/endpoint.ts";
import { createMemoryTable } from "../support/memoryTable.ts";
import { NOW, type ReportChange, reportOf } from "../support/reports.ts";
import { makeQueue } from "../support/resources.ts";

/*
 * The queue's adapters on fauxqs, with the queues as infra/queue.yml defines them.
 */

const LIST = "portcullis-local";

let aws: Awaited<ReturnType<typeof startTestEngines>>;
let sqs: SQSClient;
beforeAll(async () => {
  aws = await startTestEngines("sqs");
  sqs = aws.clients.sqs;
}, 60_000);
afterAll(() => aws?.stop());

/** Each test has queues of its own. */
let url: string;
let deadUrl: string;
let count = 0;
beforeEach(async () => {
  count++;
  url = await makeQueue(aws.clients, `queue-${count}.fifo`, "Queue");
  deadUrl = await makeQueue(aws.clients, `dead-${count}.fifo`, "DeadLetterQueue");
});

const blockOf = (cidr: string, change: ReportChange = {}): BlockMessage => {
  const { weight, byOperator, leastPrefix, ...claim } = reportOf(cidr, { seconds: 600, ...change });
  return { kind: "block", ...claim };
};
const unblockOf = (cidr: string, requestId: string) => ({
  kind: "unblock" as const,
  cidr: parseCidr(cidr),
  requestedAt: NOW,
  operator: "night-shift",
  holdUntil: 0,
  requestId,
});
/** The body of a message. */
const asSent = <T extends BlockMessage | UnblockMessage>(message: T) => ({
  ...message,
  cidr: message.cidr.text,
});
const address = (n: number) => `203.0.113.${n}/32`;

const receive = async (queueUrl = url) =>
  (
    await sqs.send(
      new ReceiveMessageCommand({
        QueueUrl: queueUrl,
        MaxNumberOfMessages: 10,
        MessageAttributeNames: ["All"],
        MessageSystemAttributeNames: ["MessageGroupId", "MessageDeduplicationId"],
      }),
    )
  ).Messages ?? [];
const bodies = async (queueUrl = url) =>
  (await receive(queueUrl)).map(({ Body = "" }) => JSON.parse(Body));

describe("createQueue", () => {
  const queueOf = (shards = 1): Queue => createQueue(sqs, { url, list: LIST, shards });

  test("sends what the worker reads, in the list's group, with the deduplication id", async () => {
    const block = blockOf("2001:db8::/48", { reason: "ü 攻撃 🔥" });
    await queueOf().send(block, "id-1", "detectors");
    const [received] = await receive();
    expect(v.parse(messageSchema, JSON.parse(received?.Body ?? ""))).toEqual(block);
    expect(received?.Attributes).toMatchObject({
      MessageGroupId: `${LIST}.suricata`,
      MessageDeduplicationId: "id-1",
    });
  });

  test("sends many at ten a call, and tells of each whether it is stored", async () => {
    const entries = Array.from({ length: 23 }, (_, n) => ({
      message: blockOf(address(n)),
      deduplicationId: `many-${n}`,
      lane: "detectors" as const,
    }));
    expect(await queueOf().sendAll(entries)).toEqual(Array(23).fill(true));
    const received = [...(await bodies()), ...(await bodies()), ...(await bodies())];
    expect(received.map(({ cidr }) => cidr)).toEqual(
      entries.slice(0, received.length).map(({ message }) => message.cidr.text),
    );
    const nowhere = createQueue(sqs, { url: `${url}-gone`, list: LIST, shards: 1 });
    expect(await nowhere.sendAll(entries.slice(0, 2))).toEqual([false, false]);
    expect(await queueOf().sendAll([])).toEqual([]);
  });

  test("messages from before there were holds and counts are read as if they had none", () => {
    const { count: _, ...block } = asSent(blockOf(address(1)));
    expect(v.parse(messageSchema, block)).toEqual(blockOf(address(1)));
    const { holdUntil: __, ...unblock } = asSent(unblockOf(address(1), "unblock-1"));
    expect(v.parse(messageSchema, unblock)).toEqual(unblockOf(address(1), "unblock-1"));
  });

  test("what a message claims of its caller's rights is not even read", () => {
    const forged = { ...asSent(blockOf(address(1))), weight: 100, byOperator: true };
    expect(v.parse(messageSchema, forged)).toEqual(blockOf(address(1)));
  });

  test("an undo travels among the operators' messages, and says where to go on", async () => {
    const undo = {
      ...{ kind: "undo" as const, detector: "suricata", since: NOW, requestedAt: NOW + 1 },
      ...{ operator: "night-shift", requestId: "undo-1", after: "block#203.0.113.9/32" },
    };
    await queueOf().send(undo, "undo-1", "operators");
    const [received] = await receive();
    expect(v.parse(messageSchema, JSON.parse(received?.Body ?? ""))).toEqual(undo);
    expect(received?.Attributes?.MessageGroupId).toBe(`${LIST}:operators`);
  });

  test("an operator's message is given out while a detector's are being worked on", async () => {
    for (let i = 0; i < 25; i++) await queueOf().send(blockOf(address(i)), `id-${i}`, "detectors");
    expect(await receive()).toHaveLength(10);
    await queueOf().send(unblockOf(address(1), "unblock-1"), "unblock-1", "operators");
    const report = blockOf(address(1), { detector: "falco" });
    await queueOf().send(report, "falco-1", "detectors");
    const groups = [...(await receive()), ...(await receive())].map(
      ({ Attributes }) => Attributes?.MessageGroupId,
    );
    expect(groups.toSorted()).toEqual([`${LIST}.falco`, `${LIST}:operators`]);
  });

  test.each<[string, object]>([
    ["no canonical address", { cidr: "203.0.113.9" }],
    ["host bits", { cidr: "203.0.113.9/24" }],
    ["too wide a range", { cidr: "203.0.0.0/15" }],
    ["no address at all", { cidr: "nonsense" }],
    ["an address that is no text", { cidr: { text: address(1) } }],
    ["a count below nothing", { count: -1 }],
    ["half a report", { count: 1.5 }],
    ["a count above all", { count: 1_001 }],
  ])("no message has %s", (_what, change) => {
    const sent = asSent(blockOf(address(1)));
    expect(v.is(messageSchema, sent)).toBe(true);
    expect(v.is(messageSchema, { ...sent, ...change })).toBe(false);
  });

  test("an unblock may be of a range that is too wide to block", () => {
    const unblock = unblockOf("203.0.0.0/8", "unblock-1");
    expect(v.parse(messageSchema, asSent(unblock))).toEqual(unblock);
  });

  test.each(["攻撃 🔥", "\ufffe\uffff", "\ud83d", "\u007f\u0085\u2028", 'a "quoted" \\u0041'])(
    "takes any text: %j",
    async (reason) => {
      await queueOf().send(blockOf(address(1), { reason }), "id-1", "detectors");
      expect(await bodies()).toMatchObject([{ reason }]);
    },
  );

  test("keeps the order in which messages were sent", async () => {
    const messages = Array.from({ length: 10 }, (_, i) => blockOf(address(i)));
    for (const [i, message] of messages.entries())
      await queueOf().send(message, `id-${i}`, "detectors");
    expect(await bodies()).toEqual(messages.map(asSent));
  });

  test("gives out no further message of a group while some are being worked on", async () => {
    for (let i = 0; i < 12; i++) await queueOf().send(blockOf(address(i)), `id-${i}`, "detectors");
    expect(await receive()).toHaveLength(10);
    expect(await receive()).toHaveLength(0);
  });

  test("folds messages of one deduplication id, and only those", async () => {
    await queueOf().send(blockOf(address(1), { requestId: "first" }), "id-1", "detectors");
    await queueOf().send(blockOf(address(1), { requestId: "second" }), "id-1", "detectors");
    await queueOf().send(blockOf(address(1), { requestId: "third" }), "id-2", "detectors");
    expect(await bodies()).toMatchObject([{ requestId: "first" }, { requestId: "third" }]);
  });

  test("does not fold equal messages of different ids: an explicit id wins over the content", async () => {
    await queueOf().send(blockOf(address(1)), "id-1", "detectors");
    await queueOf().send(blockOf(address(1)), "id-2", "detectors");
    expect(await receive()).toHaveLength(2);
  });

  test("keeps the order per address where a list has several groups", async () => {
    const queue = queueOf(4);
    for (let round = 0; round < 3; round++) {
      for (let n = 0; n < 8; n++) {
        await queue.send(
          blockOf(address(n), { requestId: String(round) }),
          `id-${round}-${n}`,
          "detectors",
        );
      }
    }
    const groups = new Map<string, Set<string>>();
    const rounds = new Map<string, number[]>();
    for (let left = 24; left > 0; ) {
      const messages = await receive();
      expect(messages.length).toBeGreaterThan(0);
      left -= messages.length;
      for (const { Body = "", Attributes, ReceiptHandle } of messages) {
        await sqs.send(new DeleteMessageCommand({ QueueUrl: url, ReceiptHandle }));
        const { cidr, requestId } = JSON.parse(Body);
        const group = String(Attributes?.MessageGroupId);
        groups.set(cidr, (groups.get(cidr) ?? new Set()).add(group));
        rounds.set(cidr, [...(rounds.get(cidr) ?? []), Number(requestId)]);
      }
    }
    expect([...rounds.values()]).toEqual(Array(8).fill([0, 1, 2]));
    expect([...groups.values()].map(({ size }) => size)).toEqual(Array(8).fill(1));
  });

  test("says that the queue is unavailable, and why, where there is none", async () => {
    const queue = createQueue(sqs, { url: `${url}-missing`, list: LIST, shards: 1 });
    const error = await queue
      .send(blockOf(address(1)), "id-1", "detectors")
      .catch((reason) => reason);
    expect(error).toBeInstanceOf(QueueUnavailableError);
    expect(error.cause).toBeInstanceOf(Error);
  });

  test("says that the queue is unavailable where nobody answers", async () => {
    const nobody = new SQSClient({
      endpoint: "http://127.0.0.1:9",
      region: "us-east-1",
      credentials: { accessKeyId: "local", secretAccessKey: "local" },
      maxAttempts: 1,
    });
    const queue = createQueue(nobody, { url, list: LIST, shards: 1 });
    await expect(queue.send(blockOf(address(1)), "id-1", "detectors")).rejects.toThrow(
      QueueUnavailableError,
    );
    nobody.destroy();
  });
});

describe("the endpoint's fold across functions", () => {
  /** Warm functions that know nothing of each other but what operators have ordered. */
  const functions = () => {
    const queue = createQueue(sqs, { url, list: LIST, shards: 1 });
    const orders = ordersOver(createMemoryTable().orders);
    const start = () => {
      const own = orders.instance();
      const fold = createFold(queue, own);
      return {
        async send(message: BlockMessage) {
          const current = await own.current();
          if (!fold.earlier(message, current)) await fold.send(message, current, "detectors");
        },
        sendOrder: fold.sendOrder,
      };
    };
    return [start(), start(), start()] as const;
  };

  test("equal reports to two functions in one window are one message", async () => {
    const [one, other] = functions();
    await one.send(blockOf(address(1), { requestId: "first" }));
    await other.send(blockOf(address(1), { requestId: "second" }));
    expect(await bodies()).toMatchObject([{ requestId: "first" }]);
  });

  test("a longer, a more severe and a later report get through, whoever takes them", async () => {
    const [one, other] = functions();
    await one.send(blockOf(address(1)));
    await other.send(blockOf(address(1), { seconds: 900 }));
    await one.send(blockOf(address(1), { severity: 9 }));
    await other.send(blockOf(address(1), { reportedAt: NOW + 60_000 }));
    expect(await receive()).toHaveLength(4);
  });

  test("block, unblock and the same block again are three messages, whoever takes them", async () => {
    const [one, other, third] = functions();
    await one.send(blockOf(address(1)));
    await other.sendOrder(unblockOf(address(1), "unblock-1"));
    await one.send(blockOf(address(1)));
    await third.send(blockOf(address(1)));
    // Each lane keeps its own order.
    const kinds = [...(await bodies()), ...(await bodies())].map(({ kind }) => kind);
    expect(kinds.toSorted()).toEqual(["block", "block", "unblock"]);
  });
});

describe("createDeadLetters", () => {
  const letter = {
    messageId: "0f6c0e4e-message",
    group: LIST,
    body: "{not JSON at all",
    reason: "invalid_json",
    detail: "The message is not JSON.",
  };
  const put = (change: Partial<typeof letter> = {}) =>
    createDeadLetters(sqs, deadUrl).put({ ...letter, ...change });

  test("stores the message as it came, with the group that it goes back to and the reason", async () => {
    await put();
    const [received] = await receive(deadUrl);
    expect(received).toMatchObject({
      Body: letter.body,
      // A group of its own, so that it hides no other when they are listed.
      Attributes: { MessageGroupId: letter.messageId },
      MessageAttributes: {
        group: { DataType: "String", StringValue: LIST },
        reason: { DataType: "String", StringValue: "invalid_json" },
        detail: { DataType: "String", StringValue: "The message is not JSON." },
      },
    });
  });

  test("is safe to repeat", async () => {
    await put();
    await put();
    expect(await receive(deadUrl)).toHaveLength(1);
  });

  test("keeps messages apart that are equal but for their ids", async () => {
    await put();
    await put({ messageId: "another" });
    expect(await receive(deadUrl)).toHaveLength(2);
  });

  test.each([
    ["a very long detail", "x".repeat(10_000)],
    ["control characters", "kind: received \0\u001b[31m\u0008"],
    ["half a character", "kind: received \ud83d"],
    ["half a character at the cut", `${"x".repeat(255)}🔥`],
    ["a character that is none", "kind: received \uffff"],
  ])("has a detail that SQS takes, even of %s", async (_what, detail) => {
    await put({ detail });
    const [received] = await receive(deadUrl);
    expect(received?.MessageAttributes?.detail?.StringValue).toMatch(/^[ -~]{1,256}$/);
  });

  test("fails where the queue does: the message must not be lost", async () => {
    const nowhere = createDeadLetters(sqs, `${deadUrl}-missing`);
    await expect(nowhere.put(letter)).rejects.toThrow();
  });
});

describe("groupOf", () => {
  const groupIn = (shards: number, n = 1, detector = "suricata") =>
    groupOf(blockOf(address(n), { detector }), "detectors", { list: LIST, shards });

  test("is a detector's own where there is one shard", () => {
    expect(groupIn(1)).toBe(`${LIST}.suricata`);
    expect(groupIn(1, 1, "falco")).toBe(`${LIST}.falco`);
  });

  test("is one of as many groups as there are shards, always the same for an address", () => {
    const groups = new Set(
      Array.from({ length: 250 }, (_, n) => {
        expect(groupIn(5, n)).toBe(groupIn(5, n));
        return groupIn(5, n);
      }),
    );
    const expected = [0, 1, 2, 3, 4].map((shard) => `${LIST}.suricata.${shard}`);
    expect([...groups].toSorted()).toEqual(expected);
  });

  test.each([1, 5])("is the operators' for whatever they say, with %i shards", (shards) => {
    const config = { list: LIST, shards };
    for (const message of [blockOf(address(1)), unblockOf(address(1), "unblock-1")])
      expect(groupOf(message, "operators", config)).toBe(`${LIST}:operators`);
  });

  test("is the operators' for no detector, whatever it is called", () => {
    const config = { list: LIST, shards: 1 };
    const operators = groupOf(unblockOf(address(1), "unblock-1"), "operators", config);
    for (const name of ["operators", ".operators", operators.slice(LIST.length + 1)]) {
      expect(v.is(callerName, name)).toBe(true);
      for (const shards of [1, 5]) expect(groupIn(shards, 1, name)).not.toBe(operators);
    }
    // A caller's group goes on with a dot and its name.
    expect(v.is(callerName, operators.replace(`${LIST}.`, ""))).toBe(false);
  });
});
