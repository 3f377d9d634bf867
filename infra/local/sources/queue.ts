import {
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  type Message,
  ReceiveMessageCommand,
  type SQSClient,
} from "@aws-sdk/client-sqs";
import type { SQSEvent, SQSRecord } from "aws-lambda";
import pLimit from "p-limit";
import { messageOf } from "../errors.ts";
import { type Invoke, type Outcome, ThrottledError } from "../lambda.ts";
import type { Log } from "../log.ts";
import type { QueueMapping } from "../template.ts";
import { backoffMs, pause } from "../waiting.ts";
import type { EventSource } from "./source.ts";

/** Batches at a time if the mapping sets no limit: more than this wait in the queue. */
const MAX_BATCHES = 32;
/** How often the queue is asked for its visibility timeout, which may be changed while it runs. */
const REFRESH_EVERY_MS = 5_000;
/** The pause after an invocation that was throttled at once. */
const THROTTLED_PAUSE_MS = 100;
/** Short, because a killed runner's poll goes on at the engine and hides the messages that it receives. */
const LONG_POLL_SECONDS = 2;
/** Between two short polls that bring nothing. */
const SHORT_POLL_EVERY_MS = 250;

/**
 * Runs an SQS event source mapping.
 *
 * Lambda's rules: it long-polls. From a FIFO queue it sends one batch at a time per message group, in
 * the group's order, and the groups side by side; from a standard queue, whatever a poll brings is a
 * batch, and batches run side by side. What the function did not fail is deleted; what it failed stays
 * invisible for the rest of the queue's visibility timeout. A throttled invocation is retried until
 * that timeout is over, and then its messages are left to the queue. The mapping's maximum concurrency
 * bounds the batches that run at a time.
 */
export function startQueueSource(options: {
  sqs: SQSClient;
  queueUrl: string;
  region: string;
  mapping: QueueMapping;
  invoke: Invoke;
  log: Log;
  /** For an engine that long-polls by trying again and again, and answers nothing else meanwhile. */
  isShortPolling?: boolean;
}): EventSource {
  const { sqs, queueUrl, mapping, invoke, log, isShortPolling = false } = options;
  const stopping = new AbortController();
  const isFifo = mapping.queueArn.endsWith(".fifo");
  const underWay = new Map<unknown, Promise<void>>();
  const limit = pLimit(Math.min(MAX_BATCHES, mapping.maximumConcurrency ?? MAX_BATCHES));
  let visibilityMs = 0;
  let refreshedAtMs = Number.NEGATIVE_INFINITY;

  async function pollQueue(): Promise<void> {
    let failures = 0;
    while (!stopping.signal.aborted) {
      try {
        await refreshVisibility();
        const { Messages = [] } = await sqs.send(
          new ReceiveMessageCommand({
            QueueUrl: queueUrl,
            MaxNumberOfMessages: Math.min(10, mapping.batchSize),
            WaitTimeSeconds: isShortPolling ? 0 : LONG_POLL_SECONDS,
            MessageSystemAttributeNames: ["All"],
            MessageAttributeNames: ["All"],
          }),
          { abortSignal: stopping.signal },
        );
        failures = 0;
        if (isShortPolling && Messages.length === 0)
          await pause(SHORT_POLL_EVERY_MS, stopping.signal);
        const untilMs = performance.now() + visibilityMs;
        const batches = isFifo
          ? [...Map.groupBy(Messages, groupOf)]
          : [[Messages, Messages] as const];
        for (const [group, batch] of batches) if (batch.length > 0) queueUp(group, batch, untilMs);
        if (underWay.size >= limit.concurrency) await Promise.race(underWay.values());
      } catch (error) {
        if (stopping.signal.aborted) return;
        log.line(`ReceiveMessage failed: ${messageOf(error)}`);
        await pause(backoffMs(failures++, 2_000), stopping.signal);
      }
    }
  }

  async function refreshVisibility(): Promise<void> {
    if (performance.now() - refreshedAtMs < REFRESH_EVERY_MS) return;
    const { Attributes } = await sqs.send(
      new GetQueueAttributesCommand({ QueueUrl: queueUrl, AttributeNames: ["VisibilityTimeout"] }),
      { abortSignal: stopping.signal },
    );
    visibilityMs = Number(Attributes?.VisibilityTimeout ?? 30) * 1_000;
    refreshedAtMs = performance.now();
  }

  /** After the batch of its group that runs, if one does: SQS's own lock may have run out. */
  function queueUp(group: unknown, batch: readonly Message[], untilMs: number): void {
    const previous = underWay.get(group) ?? Promise.resolve();
    const mine = previous
      .then(() => limit(() => process(batch, untilMs)))
      .catch((error) => log.line(`Batch left in the queue: ${messageOf(error)}`))
      .finally(() => {
        if (underWay.get(group) === mine) underWay.delete(group);
      });
    underWay.set(group, mine);
  }

  async function process(batch: readonly Message[], untilMs: number): Promise<void> {
    const outcome = await invokeBy(untilMs, toEvent(batch, mapping.queueArn, options.region));
    const failed = new Set(
      outcome.ok && mapping.reportsBatchItemFailures
        ? failedItems(outcome.payload, batch.map(idOf))
        : batch.map(idOf).filter(() => !outcome.ok),
    );
    const done = batch.filter((message) => !failed.has(idOf(message)));
    if (done.length > 0) await deleteAll(done);
  }

  /** Waits for a throttled function, in turn, until the batch's messages become visible again. */
  async function invokeBy(untilMs: number, event: SQSEvent): Promise<Outcome> {
    for (;;) {
      const leftMs = untilMs - performance.now();
      try {
        return await invoke(event, { waitMs: Math.max(0, leftMs) });
      } catch (error) {
        const isOver = performance.now() + THROTTLED_PAUSE_MS >= untilMs;
        if (isOver || stopping.signal.aborted || !(error instanceof ThrottledError)) throw error;
        await pause(THROTTLED_PAUSE_MS, stopping.signal);
      }
    }
  }

  async function deleteAll(messages: readonly Message[]): Promise<void> {
    const { Failed = [] } = await sqs.send(
      new DeleteMessageBatchCommand({
        QueueUrl: queueUrl,
        Entries: messages.map((message, index) => ({
          Id: String(index),
          ReceiptHandle: message.ReceiptHandle,
        })),
      }),
    );
    if (Failed.length > 0) log.line(`${Failed.length} messages could not be deleted`);
  }

  const polling = pollQueue();
  return {
    async stop() {
      stopping.abort();
      await polling;
      await Promise.all(underWay.values());
    },
  };
}

/**
 * Which messages a function's answer fails, by `ReportBatchItemFailures`.
 *
 * Lambda's rules: nothing, null, or an empty or null list is complete success; a list with an
 * identifier that is empty, missing or of no message of the batch fails the whole batch, as does an
 * answer that is no object.
 */
export function failedItems(answer: unknown, ids: readonly string[]): readonly string[] {
  if (answer === null || answer === undefined) return [];
  if (typeof answer !== "object") return ids;
  const list = (answer as { batchItemFailures?: unknown }).batchItemFailures;
  if (list === null || list === undefined) return [];
  if (!Array.isArray(list)) return ids;
  const failed = list.map((item) => (item as { itemIdentifier?: unknown } | null)?.itemIdentifier);
  return failed.every((id): id is string => typeof id === "string" && ids.includes(id))
    ? failed
    : ids;
}

const idOf = (message: Message): string => String(message.MessageId);

const groupOf = (message: Message): string => String(message.Attributes?.MessageGroupId);

function toEvent(batch: readonly Message[], queueArn: string, region: string): SQSEvent {
  return { Records: batch.map((message) => toRecord(message, queueArn, region)) };
}

function toRecord(message: Message, queueArn: string, region: string): SQSRecord {
  const attributes = Object.entries(message.MessageAttributes ?? {});
  return {
    messageId: idOf(message),
    receiptHandle: String(message.ReceiptHandle),
    body: message.Body ?? "",
    attributes: message.Attributes as unknown as SQSRecord["attributes"],
    messageAttributes: Object.fromEntries(
      attributes.map(([name, { StringValue, BinaryValue, DataType }]) => [
        name,
        {
          ...(StringValue !== undefined && { stringValue: StringValue }),
          ...(BinaryValue && { binaryValue: Buffer.from(BinaryValue).toString("base64") }),
          stringListValues: [],
          binaryListValues: [],
          dataType: String(DataType),
        },
      ]),
    ),
    ...(message.MD5OfMessageAttributes && {
      md5OfMessageAttributes: message.MD5OfMessageAttributes,
    }),
    md5OfBody: String(message.MD5OfBody),
    eventSource: "aws:sqs",
    eventSourceARN: queueArn,
    awsRegion: region,
  };
}
