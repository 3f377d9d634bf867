import {
  ChangeMessageVisibilityBatchCommand,
  GetQueueAttributesCommand,
  type Message,
  ReceiveMessageCommand,
  type SQSClient,
} from "@aws-sdk/client-sqs";

/** How long a received message is hidden from others: longer than ten of them take. */
const HIDDEN_SECONDS = 60;

/**
 * After this many answers in a row with nothing new, the queue counts as read: kept messages reappear when
 * their time is over, and may come before those that nobody has seen yet.
 */
const MAX_STALE_ANSWERS = 5;

/** Watches and stops a replay. */
export type Watch = {
  /** Ends the replay after the messages in progress. */
  readonly signal: AbortSignal;
  onProgress(replayed: number): void;
};

/**
 * The queue's messages, ten at a time, each once, until no more come. They stay hidden from others until the
 * consumer releases or deletes them. For a FIFO queue's message group, SQS shows no more than ten until
 * these are deleted.
 */
export async function* receiveAll(sqs: SQSClient, queueUrl: string): AsyncGenerator<Message[]> {
  const seen = new Set<string>();
  for (let stale = 0; stale < MAX_STALE_ANSWERS; ) {
    const { Messages = [] } = await sqs.send(
      new ReceiveMessageCommand({
        QueueUrl: queueUrl,
        MaxNumberOfMessages: 10,
        // Long polling asks all of SQS's servers; a short poll may find nothing in a queue that has messages.
        WaitTimeSeconds: 1,
        VisibilityTimeout: HIDDEN_SECONDS,
        MessageSystemAttributeNames: ["All"],
        MessageAttributeNames: ["All"],
      }),
    );
    if (Messages.length === 0) return;
    const fresh = Messages.filter(({ MessageId }) => !seen.has(String(MessageId)));
    stale = fresh.length === 0 ? stale + 1 : 0;
    if (fresh.length === 0) continue;
    for (const { MessageId } of fresh) seen.add(String(MessageId));
    yield fresh;
  }
}

/** Makes messages visible again at once. If that fails, they reappear by themselves a minute later. */
export async function release(
  sqs: SQSClient,
  queueUrl: string,
  messages: readonly Message[],
): Promise<void> {
  for (let first = 0; first < messages.length; first += 10) {
    const Entries = messages.slice(first, first + 10).map(({ ReceiptHandle }, index) => ({
      Id: String(index),
      ReceiptHandle,
      VisibilityTimeout: 0,
    }));
    await sqs
      .send(new ChangeMessageVisibilityBatchCommand({ QueueUrl: queueUrl, Entries }))
      .catch(() => {});
  }
}

/** Approximately how many messages are in a queue. */
export async function countMessages(sqs: SQSClient, queueUrl: string): Promise<number> {
  const names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"] as const;
  const { Attributes } = await sqs.send(
    new GetQueueAttributesCommand({ QueueUrl: queueUrl, AttributeNames: [...names] }),
  );
  return names.reduce((sum, name) => sum + Number(Attributes?.[name] ?? 0), 0);
}

/** When SQS took the message, in epoch milliseconds. */
export const sentAt = ({ Attributes }: Message): number => Number(Attributes?.SentTimestamp ?? 0);
