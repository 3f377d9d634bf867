import {
  DeleteMessageBatchCommand,
  type Message,
  ReceiveMessageCommand,
  type SQSClient,
} from "@aws-sdk/client-sqs";
import type { SQSEvent, SQSRecord } from "aws-lambda";
import { messageOf } from "../errors.ts";
import type { Invoke } from "../lambda.ts";
import type { Log } from "../log.ts";
import type { QueueMapping } from "../template.ts";
import { backoffMs, pause } from "../waiting.ts";
import type { EventSource } from "./source.ts";

/** Batches at a time: more groups than this wait in the queue. */
const MAX_BATCHES = 32;
/** Short, because a waiting poll of the engine does not see a message whose visibility comes back. */
const LONG_POLL_SECONDS = 2;

/**
 * Runs an SQS event source mapping.
 *
 * Lambda's rules: it long-polls; it sends one batch at a time per message group, in the group's
 * order, and so many batches at a time as there are groups. What the function did not fail is
 * deleted; what it failed stays invisible for the rest of the queue's visibility timeout.
 */
export function startQueueSource(options: {
  sqs: SQSClient;
  queueUrl: string;
  region: string;
  mapping: QueueMapping;
  invoke: Invoke;
  log: Log;
}): EventSource {
  const { sqs, queueUrl, mapping, invoke, log } = options;
  const stopping = new AbortController();
  const groups = new Map<string, Promise<void>>();

  async function pollQueue(): Promise<void> {
    let failures = 0;
    while (!stopping.signal.aborted) {
      try {
        const { Messages = [] } = await sqs.send(
          new ReceiveMessageCommand({
            QueueUrl: queueUrl,
            MaxNumberOfMessages: Math.min(10, mapping.batchSize),
            WaitTimeSeconds: LONG_POLL_SECONDS,
            MessageSystemAttributeNames: ["All"],
            MessageAttributeNames: ["All"],
          }),
          { abortSignal: stopping.signal },
        );
        failures = 0;
        for (const [group, batch] of Map.groupBy(Messages, groupOf)) queueUp(group, batch);
        if (groups.size >= MAX_BATCHES) await Promise.race(groups.values());
      } catch (error) {
        if (stopping.signal.aborted) return;
        log.line(`ReceiveMessage failed: ${messageOf(error)}`);
        await pause(backoffMs(failures++, 2_000), stopping.signal);
      }
    }
  }

  /** After the batch of its group that runs, if one does: SQS's own lock may have run out. */
  function queueUp(group: string, batch: readonly Message[]): void {
    const previous = groups.get(group) ?? Promise.resolve();
    const mine = previous
      .then(() => process(batch))
      .catch((error) => log.line(`Batch left in the queue: ${messageOf(error)}`))
      .finally(() => {
        if (groups.get(group) === mine) groups.delete(group);
      });
    groups.set(group, mine);
  }

  async function process(batch: readonly Message[]): Promise<void> {
    const outcome = await invoke(toEvent(batch, mapping.queueArn, options.region));
    const failed = new Set(
      outcome.ok && mapping.reportsBatchItemFailures
        ? failedItems(outcome.payload, batch.map(idOf))
        : batch.map(idOf).filter(() => !outcome.ok),
    );
    const done = batch.filter((message) => !failed.has(idOf(message)));
    if (done.length > 0) await deleteAll(done);
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
      await Promise.all(groups.values());
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

/** In a standard queue every message is a group of its own. */
const groupOf = (message: Message): string => message.Attributes?.MessageGroupId ?? idOf(message);

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
