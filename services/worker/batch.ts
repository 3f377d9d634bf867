import type { SQSBatchResponse, SQSRecord } from "aws-lambda";
import * as v from "valibot";
import type { DeadLetters } from "../../shared/aws/deadLetters.ts";
import type { Logger } from "../../shared/aws/log.ts";
import { type Message, message } from "../../shared/aws/queue.ts";
import { ConflictError, isPermanent, type Known, type Table } from "../../shared/aws/table.ts";
import { applyReport, type Block, isExpired } from "../../shared/domain/block.ts";
import { parseCidr } from "../../shared/domain/cidr.ts";
import { type Corroboration, corroborate } from "../../shared/domain/corroboration.ts";
import type { Escalation } from "../../shared/domain/escalation.ts";
import { type NeverBlock, protectedBy } from "../../shared/domain/neverBlock.ts";
import { isHeld, isOvertaken } from "../../shared/domain/unblock.ts";

export type Worker = {
  readonly table: Table;
  readonly deadLetters: DeadLetters;
  readonly escalation: Escalation;
  readonly corroboration: Corroboration;
  readonly neverBlock: () => Promise<NeverBlock>;
  readonly log: Logger;
};

type Delivered = { readonly index: number; readonly record: SQSRecord; readonly message: Message };

const UNKNOWN: Known = { block: undefined, strikes: 0, suspect: undefined, unblock: undefined };

/**
 * Works a batch of the FIFO queue off: one write per address, whatever the number of its messages.
 *
 * - A message that can never succeed, because it is malformed or its write is refused for good, goes
 *   to the dead-letter queue at once, with its reason, and does not hold up the rest.
 * - When an address cannot be written, its first message and everything after it in the batch is
 *   handed back, so that order holds. What was written besides is delivered again, and changes
 *   nothing then: every write is a maximum of what was and what is reported.
 *
 * @param now epoch milliseconds
 * @see https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
 */
export async function workOff(
  records: readonly SQSRecord[],
  worker: Worker,
  now: number,
): Promise<SQSBatchResponse> {
  const failed: number[] = [];
  const fail = (indexes: readonly number[], error: unknown, what: string) => {
    worker.log.error(what, error as Error);
    failed.push(...indexes);
  };

  const bury = async (index: number, record: SQSRecord, reason: string, detail: string) => {
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
      const { cidr } = parsed.message;
      byAddress.set(cidr, [...(byAddress.get(cidr) ?? []), delivered]);
    } else {
      await bury(index, record, parsed.reason, parsed.detail);
    }
  }

  // Without the list the blocks are written all the same: they are not lost, and `plan`, which asks
  // again, blocks nothing new meanwhile.
  const neverBlock = await worker.neverBlock().catch((error) => {
    worker.log.error("The never-block list cannot be read", error);
    return undefined;
  });
  const known = await worker.table
    .readKnown([...byAddress.keys()], now)
    .catch((error) => fail([0], error, "The table could not be read"));
  if (known) {
    const writes = [...byAddress].map(async ([cidr, messages]) => {
      const write = (from: Known | undefined) =>
        writeAddress(cidr, messages, from ?? UNKNOWN, neverBlock, worker, now);
      try {
        await write(known.get(cidr)).catch(async (error) => {
          if (!(error instanceof ConflictError)) throw error;
          // Mostly our own write: its answer was lost, and the SDK has tried again.
          await write((await worker.table.readKnown([cidr], now)).get(cidr));
        });
      } catch (error) {
        if (!isPermanent(error)) {
          fail([messages[0]?.index ?? 0], error, "A block could not be written");
          return;
        }
        worker.log.error("A block can never be written", error as Error);
        const detail = (error as Error).message;
        for (const { index, record } of messages) await bury(index, record, "refused", detail);
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

/** Folds the messages of one address, in order, into at most one write of its block. */
async function writeAddress(
  cidr: string,
  messages: readonly Delivered[],
  known: Known,
  neverBlock: NeverBlock | undefined,
  { table, escalation, corroboration, log }: Worker,
  now: number,
): Promise<void> {
  const before = known.block && { ...known.block, wake: false };
  const refused = neverBlock && protectedBy(neverBlock, parseCidr(cidr));
  // A block that has ended is a strike, even where an unblock comes before DynamoDB deletes it.
  const strikes =
    before && isExpired(before, now) ? Math.max(known.strikes, before.strikes) : known.strikes;
  let { suspect, unblock } = known;
  let block: Block | undefined = before;
  for (const { message } of messages) {
    if (message.kind === "unblock") {
      const { operator, requestedAt, holdUntil } = message;
      if (isOvertaken(requestedAt, block?.lastSeenAt ?? unblock?.requestedAt)) {
        log.info("Came too late", { cidr, operator });
        continue;
      }
      block = undefined;
      suspect = undefined;
      unblock = { requestedAt, holdUntil };
      log.info("Unblocking", { cidr, operator, holdUntil });
      continue;
    }
    if (refused) {
      log.warn("Refused a never-block address", { cidr, why: refused.why });
      continue;
    }
    if (isExpired(message, now) || isOvertaken(message.reportedAt, unblock?.requestedAt)) {
      log.info("Came too late", { cidr, detector: message.detector });
      continue;
    }
    if (unblock && isHeld(unblock, now)) {
      if (!message.byOperator) {
        log.info("Held after an unblock", { cidr, detector: message.detector });
        continue;
      }
      unblock = { ...unblock, holdUntil: 0 };
    }
    const isLive = block && !isExpired(block, now);
    const judged =
      isLive || message.byOperator
        ? { reports: [message] }
        : corroborate(suspect, message, corroboration);
    if ("suspect" in judged) {
      suspect = judged.suspect;
      continue;
    }
    suspect = undefined;
    for (const report of judged.reports) {
      block = applyReport(block, report, strikes, escalation, now);
    }
  }

  if (unblock && unblock !== known.unblock) await table.writeUnblock(cidr, unblock);
  if (suspect && suspect !== known.suspect) await table.writeSuspect(cidr, suspect);
  if (block !== before) {
    if (block) await table.writeBlock(block, before);
    else if (before) await table.removeBlock(before);
  }
  if (known.suspect && !suspect) await table.removeSuspect(cidr);
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
