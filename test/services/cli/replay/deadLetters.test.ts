import {
  CancelMessageMoveTaskCommand,
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  ListMessageMoveTasksCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SendMessageCommand,
  type SQSClient,
  StartMessageMoveTaskCommand,
} from "@aws-sdk/client-sqs";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { startTestEngines } from "../../../../infra/local/test/support/fixtures.ts";
import {
  type Choice,
  listDeadLetters,
  replayDeadLetters,
  type Urls,
} from "../../../../services/cli/replay/deadLetters.ts";
import { createDeadLetters } from "../../../../shared/aws/deadLetters.ts";
import { makeQueue } from "../../../support/resources.ts";

// On fauxqs, which knows no move task; with the queues as infra/queue.yml defines them.

const ACL = "acl-0123456789abcdef0";

let aws: Awaited<ReturnType<typeof startTestEngines>>;
let sqs: SQSClient;
beforeAll(async () => {
  aws = await startTestEngines("sqs");
  sqs = aws.clients.sqs;
  // The engine is one server: a short poll finds whatever there is.
  sqs.middlewareStack.add(
    (next) =>
      ({ input, ...args }) =>
        next({ ...args, input: short(input) }),
    {
      step: "initialize",
    },
  );
}, 60_000);
afterAll(() => aws?.stop());

const short = <T extends object>(input: T): T =>
  "WaitTimeSeconds" in input ? { ...input, WaitTimeSeconds: 0 } : input;

let urls: Urls;
let count = 0;
beforeEach(async () => {
  count++;
  urls = {
    queue: await makeQueue(aws.clients, `queue-${count}.fifo`, "Queue"),
    deadLetters: await makeQueue(aws.clients, `dead-${count}.fifo`, "DeadLetterQueue"),
  };
});

/** As the worker buries a message. */
const bury = (name: string, reason = "invalid_json") =>
  createDeadLetters(sqs, urls.deadLetters).put({
    ...{ messageId: name, group: ACL, body: name, reason, detail: `What is wrong with ${name}.` },
  });

/** As SQS moves a message that was received too often: in its group, without a reason. */
const move = (name: string) =>
  sqs.send(
    new SendMessageCommand({
      QueueUrl: urls.deadLetters,
      MessageBody: name,
      MessageGroupId: ACL,
      MessageDeduplicationId: name,
    }),
  );

async function inOrder(names: readonly string[], put: (name: string) => Promise<unknown>) {
  for (const name of names) await put(name);
}
const numbered = (length: number, prefix: string) =>
  Array.from({ length }, (_, n) => `${prefix}-${String(n).padStart(3, "0")}`);

/** Takes all out of the queue: what the worker would get, in order. */
async function queued(): Promise<{ body: string; group: string }[]> {
  const found: { body: string; group: string }[] = [];
  for (;;) {
    const { Messages = [] } = await sqs.send(
      new ReceiveMessageCommand({
        QueueUrl: urls.queue,
        MaxNumberOfMessages: 10,
        MessageSystemAttributeNames: ["MessageGroupId"],
      }),
    );
    if (Messages.length === 0) return found;
    for (const { Body, Attributes } of Messages) {
      found.push({ body: String(Body), group: String(Attributes?.MessageGroupId) });
    }
    const Entries = Messages.map(({ ReceiptHandle }, n) => ({ Id: String(n), ReceiptHandle }));
    await sqs.send(new DeleteMessageBatchCommand({ QueueUrl: urls.queue, Entries }));
  }
}
const bodies = async () => (await queued()).map(({ body }) => body);
const dead = async () => {
  const { deadLetters } = await listDeadLetters(sqs, urls.deadLetters);
  return deadLetters.map(({ body }) => body).toSorted();
};
const quiet = { signal: new AbortController().signal, onProgress: () => {} };
const replay = (choice: Choice = {}, client = sqs) =>
  replayDeadLetters(client, urls, choice, quiet);

/** A client whose calls of one kind fail, as often as said, instead of being made or after them. */
function failing(command: abstract new (...args: never[]) => object, when: "before" | "after") {
  let left = 1;
  return {
    send: async (...args: Parameters<SQSClient["send"]>) => {
      const isHit = args[0] instanceof command && left-- > 0;
      if (isHit && when === "before") throw new Error("SQS is down.");
      const answer = await sqs.send(...args);
      if (isHit) throw new Error("The answer was lost.");
      return answer;
    },
  } as unknown as SQSClient;
}

describe("list", () => {
  test("tells each letter's reason; what SQS moved has retried long enough", async () => {
    await bury("poison");
    await move("starved");
    const { deadLetters, total } = await listDeadLetters(sqs, urls.deadLetters);
    expect(total).toBe(2);
    expect(deadLetters.toSorted((a, b) => a.body.localeCompare(b.body))).toMatchObject([
      { body: "poison", reason: "invalid_json", detail: "What is wrong with poison.", group: ACL },
      { body: "starved", reason: "retries_exhausted", group: ACL },
    ]);
    expect(deadLetters.every(({ since }) => Date.now() - Date.parse(since) < 60_000)).toBe(true);
  });

  test("takes nothing away: all are there at once for the next one", async () => {
    const names = numbered(30, "poison");
    await inOrder(names, bury);
    expect(await dead()).toEqual(names);
    expect(await dead()).toEqual(names);
  });

  test("goes on past deadLetters that SQS shows once more", async () => {
    const [first, second] = [
      { MessageId: "1", Body: "first" },
      { MessageId: "2", Body: "second" },
    ];
    const answers = [[first], [first], [first], [second], []];
    const client = {
      send: async (...[command]: Parameters<SQSClient["send"]>) =>
        command instanceof ReceiveMessageCommand ? { Messages: answers.shift() } : {},
    } as unknown as SQSClient;
    const { deadLetters } = await listDeadLetters(client, urls.deadLetters);
    expect(deadLetters.map(({ body }) => body)).toEqual(["first", "second"]);
    expect(answers).toEqual([]);
  });

  test("ends though SQS shows one letter again and again", async () => {
    const client = {
      send: async (...[command]: Parameters<SQSClient["send"]>) =>
        command instanceof ReceiveMessageCommand ? { Messages: [{ MessageId: "1" }] } : {},
    } as unknown as SQSClient;
    expect((await listDeadLetters(client, urls.deadLetters)).deadLetters).toHaveLength(1);
  });

  test("of one message group SQS shows ten; the count tells of the rest", async () => {
    await inOrder(numbered(12, "starved"), move);
    const { deadLetters, total } = await listDeadLetters(sqs, urls.deadLetters);
    expect([deadLetters.length, total]).toEqual([10, 12]);
  });
});

describe("replay", () => {
  test("puts all back into the group that they came from, those of a group in their order", async () => {
    const starved = numbered(25, "starved");
    await inOrder(starved, move);
    await inOrder(numbered(25, "poison"), bury);
    expect(await replay()).toBe(50);
    const found = await queued();
    expect(new Set(found.map(({ group }) => group))).toEqual(new Set([ACL]));
    expect(found.map(({ body }) => body).filter((body) => starved.includes(body))).toEqual(starved);
    expect(found).toHaveLength(50);
    expect(await dead()).toEqual([]);
  });

  test("by reason leaves the others, at once to be seen", async () => {
    await inOrder(numbered(15, "json"), (name) => bury(name, "invalid_json"));
    await inOrder(numbered(15, "schema"), (name) => bury(name, "invalid_message"));
    await inOrder(numbered(12, "starved"), move);
    expect(await replay({ reason: "invalid_message" })).toBe(15);
    expect((await bodies()).toSorted()).toEqual(numbered(15, "schema"));
    expect(await replay({ reason: "retries_exhausted" })).toBe(12);
    expect(await dead()).toEqual(numbered(15, "json"));
  });

  test("of one letter with a mended body", async () => {
    await bury("poison");
    await bury("other");
    const { deadLetters } = await listDeadLetters(sqs, urls.deadLetters);
    const id = deadLetters.find(({ body }) => body === "poison")?.id;
    expect(await replay({ id, body: "mended" })).toBe(1);
    expect(await bodies()).toEqual(["mended"]);
    expect(await dead()).toEqual(["other"]);
  });

  test("of deadLetters too large for one batch takes several", async () => {
    const large = numbered(5, "poison").map((name) => name.padEnd(300_000, "."));
    for (const body of large) {
      await createDeadLetters(sqs, urls.deadLetters).put({
        ...{ messageId: body.slice(0, 10), group: ACL, body, reason: "invalid_json", detail: "" },
      });
    }
    expect(await replay()).toBe(5);
    expect((await bodies()).toSorted()).toEqual(large);
  });

  test("of a letter that was mended once more sends it once more", async () => {
    await bury("poison");
    const { deadLetters } = await listDeadLetters(sqs, urls.deadLetters);
    const id = deadLetters[0]?.id;
    const undeleted = failing(DeleteMessageBatchCommand, "before");
    await expect(replay({ id, body: "half mended" }, undeleted)).rejects.toThrow();
    expect(await replay({ id, body: "mended" })).toBe(1);
    expect(await bodies()).toEqual(["half mended", "mended"]);
  });

  test("of none is nothing", async () => {
    expect(await replay({ reason: "no_such_reason" })).toBe(0);
    expect(await replay()).toBe(0);
  });

  test("deletes nothing whose copy was not taken", async () => {
    const names = numbered(12, "poison");
    await inOrder(names, bury);
    await expect(replay({}, failing(SendMessageBatchCommand, "before"))).rejects.toThrow("down");
    expect(await bodies()).toEqual([]);
    expect(await dead()).toEqual(names);
  });

  test("deletes only those whose copies were taken", async () => {
    await inOrder(["poison-1", "poison-2", "poison-3"], bury);
    const choosy = {
      send: async (...args: Parameters<SQSClient["send"]>) => {
        const [command] = args;
        if (!(command instanceof SendMessageBatchCommand)) return sqs.send(...args);
        command.input.Entries?.splice(0, 1);
        return sqs.send(...args);
      },
    } as unknown as SQSClient;
    await expect(replay({}, choosy)).rejects.toThrow("did not take all");
    expect([...(await bodies()), ...(await dead())].toSorted()).toEqual([
      "poison-1",
      "poison-2",
      "poison-3",
    ]);
  });

  test.each([
    ["copies were sent and the answer was lost", SendMessageBatchCommand, "after"],
    ["copies were taken and not deleted", DeleteMessageBatchCommand, "before"],
  ] as const)("again, after %s, makes no second copy", async (_when, command, when) => {
    const names = numbered(12, "poison");
    await inOrder(names, bury);
    await expect(replay({}, failing(command, when))).rejects.toThrow();
    await replay();
    expect((await bodies()).toSorted()).toEqual(names);
    expect(await dead()).toEqual([]);
  });

  test("stopped in between leaves every letter here or there, and can go on", async () => {
    const names = numbered(35, "poison");
    await inOrder(names, bury);
    const stopping = new AbortController();
    const onProgress = () => stopping.abort();
    const { signal } = stopping;
    expect(await replayDeadLetters(sqs, urls, {}, { signal, onProgress })).toBe(10);
    const first = await bodies();
    expect([...first, ...(await dead())].toSorted()).toEqual(names);
    expect(await replay()).toBe(25);
    expect([...first, ...(await bodies())].toSorted()).toEqual(names);
  });

  test("leaves what failed again meanwhile for another time", async () => {
    await inOrder(numbered(3, "poison"), bury);
    let again: Promise<void> | undefined;
    const onProgress = () => {
      again ??= bury("again");
    };
    const { signal } = quiet;
    expect(await replayDeadLetters(sqs, urls, {}, { signal, onProgress })).toBe(3);
    await again;
    expect(await dead()).toEqual(["again"]);
  });
});

// No engine that runs on every machine has SQS's move tasks: their answers are played here.
describe("where the queue supports move tasks", () => {
  const SOURCE = "arn:aws:sqs:us-east-1:000000000000:dead.fifo";
  const RUNNING = { Status: "RUNNING", ApproximateNumberOfMessagesMoved: 7 };

  function withMoveTasks(...answers: object[]) {
    const asked: object[] = [];
    const client = {
      send: async (...args: Parameters<SQSClient["send"]>) => {
        const [command] = args;
        if (command instanceof GetQueueAttributesCommand)
          return { Attributes: { QueueArn: SOURCE } };
        if (command instanceof StartMessageMoveTaskCommand) {
          asked.push(command.input);
          return { TaskHandle: "task-1" };
        }
        if (command instanceof ListMessageMoveTasksCommand)
          return { Results: answers.splice(0, 1) };
        if (command instanceof CancelMessageMoveTaskCommand) return asked.push(command.input);
        return sqs.send(...args);
      },
    } as unknown as SQSClient;
    return { client, asked };
  }

  test("what the worker buried is replayed one by one, the rest by SQS", async () => {
    await inOrder(["poison-1", "poison-2"], bury);
    await inOrder(["starved-1"], move);
    const { client, asked } = withMoveTasks(RUNNING, {
      Status: "COMPLETED",
      ApproximateNumberOfMessagesMoved: 12,
    });
    const progress: number[] = [];
    const onProgress = (replayed: number) => void progress.push(replayed);
    const { signal } = quiet;
    expect(await replayDeadLetters(client, urls, {}, { signal, onProgress })).toBe(14);
    expect(asked).toEqual([{ SourceArn: SOURCE }]);
    expect(progress).toEqual([2, 9, 14]);
    expect((await bodies()).toSorted()).toEqual(["poison-1", "poison-2"]);
  });

  test("what a task that failed has left is replayed one by one", async () => {
    await inOrder(numbered(12, "starved"), move);
    const FailureReason = "CouldNotDetermineMessageSource";
    const { client } = withMoveTasks(RUNNING, { ...RUNNING, Status: "FAILED", FailureReason });
    const progress: number[] = [];
    const onProgress = (replayed: number) => void progress.push(replayed);
    const { signal } = quiet;
    expect(await replayDeadLetters(client, urls, {}, { signal, onProgress })).toBe(7 + 12);
    expect(progress).toEqual([7, 7, 7 + 10, 7 + 12]);
    expect(await bodies()).toEqual(numbered(12, "starved"));
    expect(await dead()).toEqual([]);
  });

  test.each([
    ["has ended meanwhile", "COMPLETED", "7"],
    ["goes on", "RUNNING", "No permission."],
  ])("a task that cannot be cancelled and %s: %s", async (_what, Status, end) => {
    const { client } = withMoveTasks(RUNNING, { ...RUNNING, Status });
    const { send } = client;
    client.send = (async (...args: Parameters<typeof send>) => {
      if (args[0] instanceof CancelMessageMoveTaskCommand) throw new Error("No permission.");
      return send(...args);
    }) as typeof send;
    const stopping = new AbortController();
    const onProgress = () => stopping.abort();
    const replaying = replayDeadLetters(client, urls, {}, { signal: stopping.signal, onProgress });
    expect(await replaying.then(String, ({ message }) => message)).toBe(end);
  });

  test("a task that is stopped is cancelled, and what it left stays", async () => {
    await inOrder(["starved-1"], move);
    const { client, asked } = withMoveTasks(RUNNING);
    const stopping = new AbortController();
    const onProgress = () => stopping.abort();
    const { signal } = stopping;
    expect(await replayDeadLetters(client, urls, {}, { signal, onProgress })).toBe(7);
    expect(asked).toEqual([{ SourceArn: SOURCE }, { TaskHandle: "task-1" }]);
    expect(await dead()).toEqual(["starved-1"]);
  });
});
