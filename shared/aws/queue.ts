import { hash } from "node:crypto";
import { SendMessageBatchCommand, SendMessageCommand, type SQSClient } from "@aws-sdk/client-sqs";
import pLimit from "p-limit";
import * as v from "valibot";
import { isBlockable } from "../domain/cidr.ts";
import { cidr } from "./schemas.ts";

const blockable = v.pipe(cidr, v.check(isBlockable, "is too wide a range"));
const epochSeconds = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(10_000_000_000));
const epochMillis = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(10_000_000_000_000));
const name = v.pipe(v.string(), v.nonEmpty(), v.maxLength(128));

/** How many equal reports a message may stand for: more would add little to a score. */
export const MAX_COUNT = 1_000;

/** Where a request came from, so that a stolen token can be traced. */
const origin = v.object({
  sourceIp: v.pipe(v.string(), v.maxLength(64)),
  gatewayRequestId: v.pipe(v.string(), v.maxLength(128)),
});
export type Origin = v.InferOutput<typeof origin>;

const report = v.object({
  kind: v.literal("block"),
  cidr: blockable,
  expiresAt: epochSeconds,
  reportedAt: epochMillis,
  severity: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(10)),
  reason: v.pipe(v.string(), v.maxLength(256)),
  detector: name,
  requestId: name,
  count: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(MAX_COUNT)), 1),
  origin: v.optional(origin),
});
const unblock = v.object({
  kind: v.literal("unblock"),
  cidr,
  requestedAt: epochMillis,
  operator: name,
  /** Epoch seconds until which the address must not be blocked again; 0 for no hold. */
  holdUntil: v.optional(epochSeconds, 0),
  requestId: name,
});

/** A detector withdraws its own reports of one address. */
const withdrawal = v.object({
  kind: v.literal("withdraw"),
  cidr: blockable,
  detector: name,
  withdrawnAt: epochMillis,
  requestId: name,
  origin: v.optional(origin),
});

/** An operator takes back everything that a detector reported in a span of time. */
const undo = v.object({
  kind: v.literal("undo"),
  detector: name,
  since: epochMillis,
  requestedAt: epochMillis,
  operator: name,
  requestId: name,
  /** Where to continue: the sort key of the last block that was looked at; absent at the start. */
  after: v.optional(v.pipe(v.string(), v.maxLength(256))),
});

/** The detectors whose events EventBridge puts into the queue, by their names as callers. */
export const EVENT_KINDS = ["guardduty", "securityhub"] as const;

/** A complete event as AWS sends it; the worker takes it apart. */
const event = v.object({
  kind: v.picklist(EVENT_KINDS),
  event: v.looseObject({
    id: v.pipe(v.string(), v.regex(/^[\w-]{1,64}$/, "is no id of an event")),
    time: v.pipe(
      v.string(),
      v.isoTimestamp("is no ISO timestamp"),
      v.transform(Date.parse),
      epochMillis,
    ),
  }),
});

/**
 * A message in the queue. It says who reports, not what that caller may do: the worker asks the list of
 * callers again.
 */
export const message = v.variant("kind", [report, withdrawal, unblock, undo, event]);
type Received = v.InferOutput<typeof message>;
export type EventMessage = Extract<Received, { event: unknown }>;
/** The messages that we send ourselves. */
export type QueueMessage = Exclude<Received, EventMessage>;
export type BlockMessage = Extract<QueueMessage, { kind: "block" }>;
export type WithdrawMessage = Extract<QueueMessage, { kind: "withdraw" }>;
export type UnblockMessage = Extract<QueueMessage, { kind: "unblock" }>;
export type UndoMessage = Extract<QueueMessage, { kind: "undo" }>;

/** The queue could not take a message: nothing was accepted. */
export class QueueUnavailableError extends Error {
  override readonly name = "QueueUnavailableError";
}

export type Queue = {
  /**
   * Resolves once SQS has stored the message (or folded it into an equal one).
   * @throws QueueUnavailableError after the SDK's own retries
   */
  send(message: QueueMessage, deduplicationId: string, lane: Lane): Promise<void>;
  /** Sends many, ten per call; returns for each, in order, whether SQS has stored it. Never throws. */
  sendAll(entries: readonly Outgoing[]): Promise<boolean[]>;
};

/**
 * Operators' messages travel in a lane of their own, so that no storm delays them, and so do those of each
 * detector. Order is kept within a lane; between lanes the older message loses, by its time of acceptance.
 */
export type Lane = "detectors" | "operators";

export type Outgoing = {
  readonly message: QueueMessage;
  readonly deduplicationId: string;
  readonly lane: Lane;
};

/** @see https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html */
const MAX_BATCH = 10;

/** Batches in flight at a time: SQS takes 300 calls a second per message group. */
const PARALLEL_BATCHES = 8;

export type QueueConfig = {
  readonly url: string;
  readonly list: string;
  /** Message groups per detector; order is kept per address. */
  readonly shards: number;
};

export function createQueue(sqs: SQSClient, { url, list, shards }: QueueConfig): Queue {
  const fieldsOf = ({ message, deduplicationId, lane }: Outgoing) => ({
    MessageBody: toAscii(JSON.stringify(wireOf(message))),
    MessageGroupId: groupOf(message, lane, { list, shards }),
    MessageDeduplicationId: deduplicationId,
  });

  async function sendBatch(entries: readonly Outgoing[]): Promise<boolean[]> {
    const Entries = entries.map((entry, index) => ({ Id: String(index), ...fieldsOf(entry) }));
    const { Successful } = await sqs.send(new SendMessageBatchCommand({ QueueUrl: url, Entries }));
    const stored = new Set(Successful?.map(({ Id }) => Id));
    return Entries.map(({ Id }) => stored.has(Id));
  }

  return {
    async send(message, deduplicationId, lane) {
      try {
        const fields = fieldsOf({ message, deduplicationId, lane });
        await sqs.send(new SendMessageCommand({ QueueUrl: url, ...fields }));
      } catch (cause) {
        throw new QueueUnavailableError("The queue could not take the message.", { cause });
      }
    },

    async sendAll(entries) {
      const batches = Array.from({ length: Math.ceil(entries.length / MAX_BATCH) }, (_, index) =>
        entries.slice(index * MAX_BATCH, (index + 1) * MAX_BATCH),
      );
      const limit = pLimit(PARALLEL_BATCHES);
      const results = batches.map((batch) =>
        limit(() => sendBatch(batch).catch(() => batch.map(() => false))),
      );
      return (await Promise.all(results)).flat();
    },
  };
}

/** Escapes JSON to ASCII: SQS refuses a message for a single U+FFFE or U+FFFF in its text. */
function toAscii(json: string): string {
  return json.replace(
    /[^ -~]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** A message with its address as text. */
const wireOf = (message: QueueMessage) =>
  "cidr" in message ? { ...message, cidr: message.cidr.text } : message;

/**
 * The message group. Each detector has its own, or with several shards one for each shard of the addresses,
 * so that a flood from one detector delays no other. Operators share one, named after a colon, which no
 * caller's name may contain.
 */
export function groupOf(
  message: QueueMessage,
  lane: Lane,
  { list, shards }: Pick<QueueConfig, "list" | "shards">,
): string {
  if (lane === "operators" || !("detector" in message) || message.kind === "undo")
    return `${list}:operators`;
  const group = `${list}.${message.detector}`;
  if (shards === 1) return group;
  return `${group}.${hash("sha256", message.cidr.text, "buffer").readUInt32BE() % shards}`;
}
