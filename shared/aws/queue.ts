import { hash } from "node:crypto";
import { SendMessageBatchCommand, SendMessageCommand, type SQSClient } from "@aws-sdk/client-sqs";
import * as v from "valibot";
import { isBlockable } from "../domain/cidr.ts";
import type { Message } from "../domain/decide.ts";
import { cidr } from "./schemas.ts";

const blockable = v.pipe(cidr, v.check(isBlockable, "is too wide a range"));
const epochSeconds = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(10_000_000_000));
const epochMillis = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(10_000_000_000_000));
const name = v.pipe(v.string(), v.nonEmpty(), v.maxLength(128));

/** How many equal reports a message may stand for: more add little to a score. */
export const MAX_COUNT = 1_000;

const report = v.object({
  kind: v.literal("block"),
  cidr: blockable,
  expiresAt: epochSeconds,
  reportedAt: epochMillis,
  severity: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(10)),
  reason: v.pipe(v.string(), v.maxLength(256)),
  detector: name,
  weight: v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(100)), 1),
  byOperator: v.optional(v.boolean(), false),
  requestId: name,
  count: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(MAX_COUNT)), 1),
});
const unblock = v.object({
  kind: v.literal("unblock"),
  cidr,
  requestedAt: epochMillis,
  operator: name,
  /** Epoch seconds until which the address is not to be blocked again; 0 for no hold. */
  holdUntil: v.optional(epochSeconds, 0),
  requestId: name,
});

/** What travels through the queue: the schema of a message of the domain. */
export const message: v.GenericSchema<unknown, Message> = v.variant("kind", [report, unblock]);
export type BlockMessage = Extract<Message, { kind: "block" }>;
export type UnblockMessage = Extract<Message, { kind: "unblock" }>;

/** The queue could not take a message: nothing was accepted. */
export class QueueUnavailableError extends Error {
  override readonly name = "QueueUnavailableError";
}

export type Queue = {
  /**
   * Resolves once SQS has stored the message (or folded it into an equal one).
   * @throws QueueUnavailableError after the SDK's own retries
   */
  send(message: Message, deduplicationId: string): Promise<void>;
  /** Sends many at ten a call; for each, in order, whether SQS has stored it. Never throws. */
  sendAll(entries: readonly Outgoing[]): Promise<boolean[]>;
};

export type Outgoing = { readonly message: Message; readonly deduplicationId: string };

/** @see https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html */
const MAX_BATCH = 10;

export type QueueConfig = {
  readonly url: string;
  readonly list: string;
  /** Message groups of the list; order holds per address. */
  readonly shards: number;
};

export function createQueue(sqs: SQSClient, { url, list, shards }: QueueConfig): Queue {
  const fieldsOf = ({ message, deduplicationId }: Outgoing) => ({
    MessageBody: toAscii(JSON.stringify({ ...message, cidr: message.cidr.text })),
    MessageGroupId: groupOf(message.cidr.text, list, shards),
    MessageDeduplicationId: deduplicationId,
  });

  async function sendBatch(entries: readonly Outgoing[]): Promise<boolean[]> {
    const Entries = entries.map((entry, index) => ({ Id: String(index), ...fieldsOf(entry) }));
    const { Successful } = await sqs.send(new SendMessageBatchCommand({ QueueUrl: url, Entries }));
    const stored = new Set(Successful?.map(({ Id }) => Id));
    return Entries.map(({ Id }) => stored.has(Id));
  }

  return {
    async send(message, deduplicationId) {
      try {
        const fields = fieldsOf({ message, deduplicationId });
        await sqs.send(new SendMessageCommand({ QueueUrl: url, ...fields }));
      } catch (cause) {
        throw new QueueUnavailableError("The queue could not take the message.", { cause });
      }
    },

    async sendAll(entries) {
      const batches = Array.from({ length: Math.ceil(entries.length / MAX_BATCH) }, (_, index) =>
        entries.slice(index * MAX_BATCH, (index + 1) * MAX_BATCH),
      );
      const results = batches.map((batch) => sendBatch(batch).catch(() => batch.map(() => false)));
      return (await Promise.all(results)).flat();
    },
  };
}

/** JSON that is all ASCII: SQS refuses a message for a single U+FFFE or U+FFFF in its text. */
function toAscii(json: string): string {
  return json.replace(
    /[^ -~]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** The message group: the list's name, and with several shards the shard of the address. */
export function groupOf(cidr: string, list: string, shards: number): string {
  if (shards === 1) return list;
  return `${list}.${hash("sha256", cidr, "buffer").readUInt32BE() % shards}`;
}
