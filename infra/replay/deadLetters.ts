import {
  CancelMessageMoveTaskCommand,
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  ListMessageMoveTasksCommand,
  type Message,
  SendMessageBatchCommand,
  type SQSClient,
  StartMessageMoveTaskCommand,
} from "@aws-sdk/client-sqs";
import { pause } from "../local/waiting.ts";
import { countMessages, receiveAll, release, sentAt, type Watch } from "./messages.ts";

// Two kinds of messages lie in the dead-letter queue:
//
//   buried by the worker   can never succeed; has its reason, and a message group of its own
//   moved by SQS           failed an hour long (`retries_exhausted`); in its own message group still
//
// A replay puts a copy into the queue, in the group that the message came from, and deletes the message
// once SQS has taken the copy. Stopped in between it leaves a message twice, never none; and a message
// that comes twice changes nothing. What a block's message is worth by then is the worker's to say: it
// blocks for what is left of its time.

/** A dead letter, for the operator. */
export type Letter = {
  readonly id: string;
  readonly reason: string;
  readonly detail: string;
  /** When it was dead-lettered, ISO 8601. */
  readonly since: string;
  /** The message group that it goes back into. */
  readonly group: string;
  readonly body: string;
};

/** Which letters to replay; all, where nothing is said. */
export type Choice = {
  readonly reason?: string | undefined;
  readonly id?: string | undefined;
  /** What to send instead of the letter's own body; with an id only. */
  readonly body?: string | undefined;
};

export type Urls = { readonly deadLetters: string; readonly queue: string };

const MOVED_BY_SQS = "retries_exhausted";

/** The letters with their reasons. `total` is SQS's own count; of one message group SQS shows ten. */
export async function listDeadLetters(
  sqs: SQSClient,
  queueUrl: string,
): Promise<{ letters: Letter[]; total: number }> {
  const messages: Message[] = [];
  try {
    for await (const batch of receiveAll(sqs, queueUrl)) messages.push(...batch);
  } finally {
    await release(sqs, queueUrl, messages);
  }
  return { letters: messages.map(letterOf), total: await countMessages(sqs, queueUrl) };
}

/**
 * Replays the letters that were there when it began. All of them go by SQS's own move task where the
 * queue supports it, after those that the worker buried: a move task knows nothing of the group that
 * these came from.
 *
 * @returns how many went back into the queue
 * @throws where SQS takes no copy; what was not replayed lies there still
 */
export async function replayDeadLetters(
  sqs: SQSClient,
  urls: Urls,
  choice: Choice,
  watch: Watch,
): Promise<number> {
  const startedAt = Date.now();
  const isChosen = (message: Message) => {
    const { id, reason } = letterOf(message);
    // What failed again meanwhile is left for another time.
    if (sentAt(message) >= startedAt) return false;
    return (choice.id ?? id) === id && (choice.reason ?? reason) === reason;
  };
  if (choice.id !== undefined || choice.reason !== undefined) {
    return replayOneByOne(sqs, urls, isChosen, watch, choice.body);
  }
  const isBuried = (message: Message) => letterOf(message).reason !== MOVED_BY_SQS;
  const buried = await replayOneByOne(sqs, urls, (one) => isChosen(one) && isBuried(one), watch);
  const later = { ...watch, onProgress: (count: number) => watch.onProgress(buried + count) };
  const moved = watch.signal.aborted ? 0 : await moveAll(sqs, urls.deadLetters, later);
  return buried + (moved ?? (await replayOneByOne(sqs, urls, isChosen, later)));
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
        const sent = await send(sqs, queue, chosen, body);
        await remove(sqs, deadLetters, sent);
        for (const message of sent) kept.splice(kept.indexOf(message), 1);
        replayed += sent.length;
        onProgress(replayed);
        if (sent.length < chosen.length) throw new Error("The queue did not take all copies.");
      }
      if (signal.aborted) break;
    }
  } finally {
    await release(sqs, deadLetters, kept);
  }
  return replayed;
}

/** Sends copies; answers the messages whose copies SQS has taken. */
async function send(
  sqs: SQSClient,
  queueUrl: string,
  messages: readonly Message[],
  body: string | undefined,
): Promise<Message[]> {
  const { Successful = [] } = await sqs.send(
    new SendMessageBatchCommand({
      QueueUrl: queueUrl,
      Entries: messages.map((message, index) => ({
        Id: String(index),
        MessageBody: body ?? letterOf(message).body,
        MessageGroupId: letterOf(message).group,
        // The same letter replayed again at once is taken once.
        MessageDeduplicationId: letterOf(message).id,
      })),
    }),
  );
  const taken = new Set(Successful.map(({ Id }) => Id));
  return messages.filter((_message, index) => taken.has(String(index)));
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
  await sqs.send(new DeleteMessageBatchCommand({ QueueUrl: queueUrl, Entries }));
}

/** Errors of SQS-compatible queues that know no move tasks. */
const UNSUPPORTED = /UnsupportedOperation|InvalidAction|UnknownOperation|NotImplemented/;

/** Lets SQS move all letters; undefined where it cannot. */
async function moveAll(
  sqs: SQSClient,
  queueUrl: string,
  { signal, onProgress }: Watch,
): Promise<number | undefined> {
  const { Attributes } = await sqs.send(
    new GetQueueAttributesCommand({ QueueUrl: queueUrl, AttributeNames: ["QueueArn"] }),
  );
  const SourceArn = Attributes?.QueueArn;
  let TaskHandle: string | undefined;
  try {
    ({ TaskHandle } = await sqs.send(new StartMessageMoveTaskCommand({ SourceArn })));
  } catch (error) {
    if (UNSUPPORTED.test((error as Error).name)) return undefined;
    throw error;
  }
  for (;;) {
    const { Results = [] } = await sqs.send(
      new ListMessageMoveTasksCommand({ SourceArn, MaxResults: 1 }),
    );
    const [task] = Results;
    const moved = task?.ApproximateNumberOfMessagesMoved ?? 0;
    onProgress(moved);
    if (task?.Status === "FAILED") throw new Error(`SQS moved ${moved}: ${task.FailureReason}`);
    if (task?.Status !== "RUNNING") return moved;
    if (signal.aborted) {
      await sqs.send(new CancelMessageMoveTaskCommand({ TaskHandle }));
      return moved;
    }
    await pause(1_000, signal);
  }
}

function letterOf(message: Message): Letter {
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
