import type { SQSBatchResponse, SQSRecord } from "aws-lambda";
import * as v from "valibot";
import type { DeadLetters } from "../../shared/aws/deadLetters.ts";
import type { Logger } from "../../shared/aws/log.ts";
import { message } from "../../shared/aws/queue.ts";
import type { Addresses } from "../../shared/aws/table/addresses.ts";
import { ConflictError, isPermanent } from "../../shared/aws/table/items.ts";
import {
  decide,
  type Event,
  type Known,
  type Message,
  NOTHING_KNOWN,
  type Policy,
} from "../../shared/domain/decide.ts";
import type { NeverBlock } from "../../shared/domain/neverBlock.ts";
import type { EpochMillis } from "../../shared/domain/time.ts";

export type Worker = {
  readonly addresses: Addresses;
  readonly deadLetters: DeadLetters;
  readonly policy: Omit<Policy, "neverBlock">;
  readonly neverBlock: () => Promise<NeverBlock>;
  readonly log: Logger;
};

type Delivered = { readonly index: number; readonly record: SQSRecord; readonly message: Message };

/**
 * Processes a batch of the FIFO queue: one write per address, whatever the number of its messages.
 *
 * - A message that can never succeed, because it is malformed or its write is refused for good, goes
 *   to the dead-letter queue at once, with its reason, and does not hold up the rest.
 * - When an address cannot be written, its first message and everything after it in the batch is
 *   handed back, so that order holds. What was written besides is delivered again, and then only
 *   counts once more.
 *
 * @see https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
 */
export async function processBatch(
  records: readonly SQSRecord[],
  worker: Worker,
  now: EpochMillis,
): Promise<SQSBatchResponse> {
  const failed: number[] = [];
  const fail = (indexes: readonly number[], error: unknown, what: string) => {
    worker.log.error(what, error as Error);
    failed.push(...indexes);
  };

  const deadLetter = async (index: number, record: SQSRecord, reason: string, detail: string) => {
    try {
      const { messageId, body, attributes } = record;
      const group = attributes.MessageGroupId ?? "unknown";
      await worker.deadLetters.put({ messageId, group, body, reason, detail });
      worker.log.warn("Dead-lettered a message", { id: messageId, reason, detail });
    } catch (error) {
      fail([index], error, "The dead-letter queue took no message");
    }
  };

  const byAddress = new Map<string, Delivered[]>();
  for (const [index, record] of records.entries()) {
    const parsed = parseMessage(record.body);
    if (parsed.ok) {
      const delivered = { index, record, message: parsed.message };
      const { text } = parsed.message.cidr;
      byAddress.set(text, [...(byAddress.get(text) ?? []), delivered]);
    } else {
      await deadLetter(index, record, parsed.reason, parsed.detail);
    }
  }

  // Without the list the blocks are written all the same: they are not lost, and `plan`, which asks
  // again, blocks nothing new meanwhile.
  const neverBlock = await worker.neverBlock().catch((error) => {
    worker.log.error("The never-block list cannot be read", error);
    return undefined;
  });
  const policy = { ...worker.policy, neverBlock };
  const known = await worker.addresses
    .read([...byAddress.keys()], now)
    .catch((error) => fail([0], error, "The table could not be read"));
  if (known) {
    const writes = [...byAddress].map(async ([text, messages]) => {
      const write = (from: Known = NOTHING_KNOWN) =>
        writeAddress(messages, from, policy, worker, now);
      try {
        const events = await write(known.get(text)).catch(async (error) => {
          if (!(error instanceof ConflictError)) throw error;
          // Mostly our own write: its answer was lost, and the SDK has tried again.
          return write((await worker.addresses.read([text], now)).get(text));
        });
        for (const event of events) logEvent(worker.log, event);
      } catch (error) {
        if (!isPermanent(error)) {
          fail([messages[0]?.index ?? 0], error, "A block could not be written");
          return;
        }
        worker.log.error("A block can never be written", error as Error);
        const detail = (error as Error).message;
        for (const { index, record } of messages)
          await deadLetter(index, record, "refused", detail);
      }
    });
    await Promise.all(writes);
  }
  const firstFailure = Math.min(...failed);
  return {
    batchItemFailures: records
      .slice(Math.min(firstFailure, records.length))
      .map(({ messageId }) => ({ itemIdentifier: messageId })),
  };
}

/** Decides what the messages of one address make of it, and writes what has changed. */
async function writeAddress(
  messages: readonly Delivered[],
  known: Known,
  policy: Policy,
  { addresses }: Worker,
  now: EpochMillis,
): Promise<readonly Event[]> {
  const [first] = messages;
  if (!first) return [];
  const { next, events } = decide(
    known,
    messages.map(({ message }) => message),
    policy,
    now,
  );
  await addresses.write(first.message.cidr, known, next);
  return events;
}

const SENTENCES: Readonly<Record<Event["kind"], string>> = {
  blocked: "Blocked",
  extended: "Extended a block",
  suspected: "Reported by too few detectors",
  held: "Held after an unblock",
  stale: "Ignored a stale message",
  refused: "Refused a never-block address",
  unblocked: "Unblocked",
};

function logEvent(log: Logger, { kind, cidr, ...event }: Event): void {
  const { block, ...rest } = "block" in event ? event : { ...event, block: undefined };
  const line = { event: kind, cidr: cidr.text, ...rest };
  const more = block && { expiresAt: block.expiresAt, strikes: block.strikes, hits: block.hits };
  log[kind === "refused" ? "warn" : "info"](SENTENCES[kind], { ...line, ...more });
}

type Parsed =
  | { readonly ok: true; readonly message: Message }
  | { readonly ok: false; readonly reason: string; readonly detail: string };

function parseMessage(body: string): Parsed {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch {
    return { ok: false, reason: "invalid_json", detail: "The message is not JSON." };
  }
  const result = v.safeParse(message, json);
  if (result.success) return { ok: true, message: result.output };
  const [issue] = result.issues;
  return {
    ok: false,
    reason: "invalid_message",
    detail: `${v.getDotPath(issue) ?? "message"}: ${issue.message}`,
  };
}
