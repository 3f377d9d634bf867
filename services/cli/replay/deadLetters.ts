import { hash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import {
  BatchRequestTooLong,
  CancelMessageMoveTaskCommand,
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  ListMessageMoveTasksCommand,
  type Message,
  SendMessageBatchCommand,
  type SQSClient,
  StartMessageMoveTaskCommand,
} from "@aws-sdk/client-sqs";
import { countMessages, receiveAll, release, sentAt, type Watch } from "./messages.ts";

// Two kinds of messages lie in the dead-letter queue:
//
//   put there by the worker  can never succeed; has its reason, and a message group of its own
//   moved by SQS             failed for an hour (`retries_exhausted`); still in its original message group
//
// A replay puts a copy into the queue, in the group that the message came from, and deletes the message once
// SQS has taken the copy. If stopped in between, it leaves a message twice, never none; and a message that
// comes twice changes nothing. The worker decides what a replayed report is still worth: it blocks for what
// is left of its time.

/** A dead letter as shown to the operator. */
export type DeadLetter = {
  readonly id: string;
  readonly reason: string;
  readonly detail: string;
  /** When it was dead-lettered, ISO 8601. */
  readonly since: string;
  /** The message group that it returns to. */
  readonly group: string;
  readonly body: string;
};

/** Which ones to replay; all by default. */
export type Choice = {
  readonly reason?: string | undefined;
  readonly id?: string | undefined;
  /** What to send instead of its own body; only together with an id. */
  readonly body?: string | undefined;
};

export type Urls = { readonly deadLetters: string; readonly queue: string };

const MOVED_BY_SQS = "retries_exhausted";

/** The dead letters and their reasons. `total` is SQS's own count; SQS shows ten per message group. */
export async function listDeadLetters(
  sqs: SQSClient,
  queueUrl: string,
): Promise<{ deadLetters: DeadLetter[]; total: number }> {
  const messages: Message[] = [];
  try {
    for await (const batch of receiveAll(sqs, queueUrl)) messages.push(...batch);
  } finally {
    await release(sqs, queueUrl, messages);
  }
  return { deadLetters: messages.map(deadLetterOf), total: await countMessages(sqs, queueUrl) };
}

/**
 * Replays the dead letters that were there when it began. When all are chosen and the queue supports SQS's
 * own move task, that moves them, after those that the worker put there: a move task knows neither the queue
 * nor the group that these came from, and ends when it meets a new one of them. What it leaves is replayed
 * one by one.
 *
 * @returns how many went back into the queue
 * @throws if SQS takes no copy; what was not replayed is still there
 */
export async function replayDeadLetters(
  sqs: SQSClient,
  urls: Urls,
  choice: Choice,
  watch: Watch,
): Promise<number> {
  const startedAt = Date.now();
  const isChosen = (message: Message) => {
    const { id, reason } = deadLetterOf(message);
    // Messages that failed again meanwhile are left for another time.
    if (sentAt(message) > startedAt) return false;
    return (choice.id ?? id) === id && (choice.reason ?? reason) === reason;
  };
  if (choice.id !== undefined || choice.reason !== undefined) {
    return replayOneByOne(sqs, urls, isChosen, watch, choice.body);
  }
  const isFromWorker = (message: Message) => deadLetterOf(message).reason !== MOVED_BY_SQS;
  const fromWorker = await replayOneByOne(
    sqs,
    urls,
    (one) => isChosen(one) && isFromWorker(one),
    watch,
  );
  const after = (done: number): Watch => ({
    ...watch,
    onProgress: (count) => watch.onProgress(done + count),
  });
  if (watch.signal.aborted) return fromWorker;
  const { moved, isDone } = await moveAll(sqs, urls.deadLetters, after(fromWorker));
  const done = fromWorker + moved;
  if (isDone || watch.signal.aborted) return done;
  return done + (await replayOneByOne(sqs, urls, isChosen, after(done)));
}

async function replayOneByOne(
  sqs: SQSClient,
  { deadLetters, queue }: Urls,
  isChosen: (message: Message) => boolean,
  { signal, onProgress }: Watch,
  body?: string,
): Promise<number> {
  let replayed = 0;
  const kept: Message[] = [];
  try {
    for await (const batch of receiveAll(sqs, deadLetters)) {
      const chosen = batch.filter((message) => !signal.aborted && isChosen(message));
      kept.push(...batch);
      if (chosen.length > 0) {
        const { taken, failure } = await send(sqs, queue, chosen, body);
        await remove(sqs, deadLetters, taken);
        for (const message of taken) kept.splice(kept.indexOf(message), 1);
        replayed += taken.length;
        onProgress(replayed);
        if (failure) throw new Error(`The queue did not take all copies: ${failure}`);
      }
      if (signal.aborted) break;
    }
  } finally {
    await release(sqs, deadLetters, kept);
  }
  return replayed;
}

/** The messages whose copies SQS has taken, and why it did not take the others. */
type Sent = { readonly taken: readonly Message[]; readonly failure: string | undefined };

async function send(
  sqs: SQSClient,
  queueUrl: string,
  messages: readonly Message[],
  body: string | undefined,
): Promise<Sent> {
  const Entries = messages.map((message, index) => {
    const deadLetter = deadLetterOf(message);
    const MessageBody = body ?? deadLetter.body;
    return {
      Id: String(index),
      MessageBody,
      MessageGroupId: deadLetter.group,
      // A dead letter that is replayed again at once is taken only once; with a new body it is another one.
      MessageDeduplicationId: hash("sha256", deadLetter.id + MessageBody),
    };
  });
  try {
    const answer = await sqs.send(new SendMessageBatchCommand({ QueueUrl: queueUrl, Entries }));
    const ids = new Set(answer.Successful?.map(({ Id }) => Id));
    const taken = messages.filter((_message, index) => ids.has(String(index)));
    if (taken.length === messages.length) return { taken, failure: undefined };
    return { taken, failure: answer.Failed?.[0]?.Message ?? "it gives no reason" };
  } catch (error) {
    if (!(error instanceof BatchRequestTooLong) || messages.length < 2) throw error;
    const middle = Math.ceil(messages.length / 2);
    const first = await send(sqs, queueUrl, messages.slice(0, middle), body);
    if (first.failure) return first;
    const second = await send(sqs, queueUrl, messages.slice(middle), body);
    return { taken: [...first.taken, ...second.taken], failure: second.failure };
  }
}

async function remove(
  sqs: SQSClient,
  queueUrl: string,
  messages: readonly Message[],
): Promise<void> {
  if (messages.length === 0) return;
  const Entries = messages.map(({ ReceiptHandle }, index) => ({
    Id: String(index),
    ReceiptHandle,
  }));
  const { Failed = [] } = await sqs.send(
    new DeleteMessageBatchCommand({ QueueUrl: queueUrl, Entries }),
  );
  // Those not deleted will be replayed once more, which changes nothing.
  if (Failed.length > 0) throw new Error(`Replayed, but not deleted: ${Failed[0]?.Message}`);
}

/** Errors of SQS-compatible queues that do not know move tasks. */
const UNSUPPORTED = /InvalidAction|UnknownOperation|NotImplemented/;

/** Lets SQS move all of them, as far as it can; `isDone` says whether it reached the end. */
async function moveAll(
  sqs: SQSClient,
  queueUrl: string,
  { signal, onProgress }: Watch,
): Promise<{ moved: number; isDone: boolean }> {
  const { Attributes } = await sqs.send(
    new GetQueueAttributesCommand({ QueueUrl: queueUrl, AttributeNames: ["QueueArn"] }),
  );
  const SourceArn = Attributes?.QueueArn;
  let TaskHandle: string | undefined;
  try {
    ({ TaskHandle } = await sqs.send(new StartMessageMoveTaskCommand({ SourceArn })));
  } catch (error) {
    if (UNSUPPORTED.test((error as Error).name)) return { moved: 0, isDone: false };
    throw error;
  }
  const latest = async () => {
    const command = new ListMessageMoveTasksCommand({ SourceArn, MaxResults: 1 });
    return (await sqs.send(command)).Results?.[0];
  };
  for (;;) {
    const task = await latest();
    const moved = task?.ApproximateNumberOfMessagesMoved ?? 0;
    onProgress(moved);
    if (task?.Status !== "RUNNING" && task?.Status !== "CANCELLING") {
      return { moved, isDone: task?.Status === "COMPLETED" };
    }
    if (signal.aborted) {
      await sqs.send(new CancelMessageMoveTaskCommand({ TaskHandle })).catch(async (error) => {
        // If it has ended meanwhile, that is just as good.
        if ((await latest())?.Status === "RUNNING") throw error;
      });
      return { moved, isDone: false };
    }
    await sleep(1_000, undefined, { signal }).catch(() => undefined);
  }
}

function deadLetterOf(message: Message): DeadLetter {
  const attribute = (name: string) => message.MessageAttributes?.[name]?.StringValue;
  return {
    id: String(message.MessageId),
    reason: attribute("reason") ?? MOVED_BY_SQS,
    detail: attribute("detail") ?? "It failed as often as the queue allows.",
    since: new Date(sentAt(message)).toISOString(),
    group: attribute("group") ?? String(message.Attributes?.MessageGroupId),
    body: message.Body ?? "",
  };
}
