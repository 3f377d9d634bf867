import type { SQSBatchResponse, SQSRecord } from "aws-lambda";
import * as v from "valibot";
import type { Logger } from "../../shared/aws/log.ts";
import {
  type EventMessage,
  message as messageSchema,
  type Origin,
  type QueueMessage,
  type UndoMessage,
} from "../../shared/aws/queue.ts";
import { isPermanent } from "../../shared/aws/table/items.ts";
import {
  asReport,
  type Caller,
  may,
  mayReport,
  plausible,
  type Role,
} from "../../shared/domain/caller.ts";
import type { Event, Message, Policy } from "../../shared/domain/decide.ts";
import type { Shift } from "../../shared/domain/outstanding.ts";
import type { EpochMillis, Millis } from "../../shared/domain/time.ts";
import { takeApart } from "./takeApart.ts";
import { takeBack } from "./undo.ts";
import type { Worker } from "./worker.ts";
import { settleAddress, writeAddress } from "./write.ts";

type Received = QueueMessage | EventMessage;
type Delivered<M> = { readonly index: number; readonly record: SQSRecord; readonly message: M };

/**
 * Processes a batch of the FIFO queue: one write per address, whatever the number of its messages.
 *
 * - A message that can never succeed, because it is malformed or its write is refused for good, goes to the
 *   dead-letter queue at once, with its reason, and does not hold up the rest.
 * - A message that its caller may not send, or may no longer send, is dropped, and the log says so. A caller
 *   that is on no list may be too new for this function to know: then the lists are read again, and the
 *   message is handed back.
 * - An event from AWS is taken apart into blocks, which go back into the queue.
 * - If an address cannot be written, its first message and everything after it in the batch is handed back,
 *   to keep the order. What was already written is then redelivered, and changes nothing.
 *
 * @see https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
 */
export async function processBatch(
  records: readonly SQSRecord[],
  worker: Worker,
  now: EpochMillis,
): Promise<SQSBatchResponse> {
  const failed: number[] = [];
  const fail = (index: number, error: unknown, what: string) => {
    worker.log.error(what, error as Error);
    failed.push(index);
  };

  async function deadLetter(index: number, record: SQSRecord, reason: string, detail: string) {
    try {
      const { messageId, body, attributes } = record;
      const group = attributes.MessageGroupId ?? "unknown";
      await worker.deadLetters.put({ messageId, group, body, reason, detail });
      worker.log.warn("Dead-lettered a message", { id: messageId, reason, detail });
    } catch (error) {
      fail(index, error, "The dead-letter queue took no message");
    }
  }

  /** Runs a write. If it fails, the messages are dead-lettered if no retry can help, else handed back. */
  async function attempt(
    messages: readonly Delivered<unknown>[],
    what: string,
    write: () => Promise<readonly Shift[]>,
  ): Promise<readonly Shift[]> {
    try {
      return await write();
    } catch (error) {
      if (!isPermanent(error)) {
        fail(messages[0]?.index ?? 0, error, what);
        return [];
      }
      worker.log.error(`${what}, and never can be`, error as Error);
      for (const { index, record } of messages)
        await deadLetter(index, record, "refused", (error as Error).message);
      return [];
    }
  }

  /**
   * Another lane may have written in between. An operator's message is counted once it is written, and then
   * its address is looked at again; a detector's lane looks again if the count has changed since before it
   * read. So of two concurrent writers, one sees the other's write.
   */
  async function settle(
    written: readonly Delivered<Message>[][],
    hasOrdered: boolean,
    policy: Policy,
    countBefore: number,
  ) {
    const cidrs = written.flatMap(([first]) => first?.message.cidr ?? []);
    if (cidrs.length === 0) return [];
    const unchanged = async () => {
      if (!hasOrdered) return (await worker.orders.readCount()) === countBefore;
      await worker.orders.countUnblock();
      return false;
    };
    const isDone = await unchanged().catch((error) =>
      fail(0, error, "The orders could not be counted"),
    );
    if (isDone !== false) return [];
    const read = await Promise.all([
      worker.orders.read(now),
      worker.addresses.read(
        cidrs.map(({ text }) => text),
        now,
      ),
    ]).catch((error) => fail(0, error, "What was written could not be read again"));
    if (!read) return [];
    const [orders, known] = read;
    const settled = written.map((messages) =>
      attempt(messages, "A block could not be settled", async () => {
        const [first] = messages;
        const one = first && known.get(first.message.cidr.text);
        return one
          ? settleAddress(first.message.cidr, one, { ...policy, orders }, worker, now)
          : [];
      }),
    );
    return (await Promise.all(settled)).flat();
  }

  const parsed: Delivered<Received>[] = [];
  for (const [index, record] of records.entries()) {
    const result = parseMessage(record.body);
    if (result.ok) parsed.push({ index, record, message: result.message });
    else await deadLetter(index, record, result.reason, result.detail);
  }

  const failures = () => ({
    batchItemFailures: records
      .slice(Math.min(...failed, records.length))
      .map(({ messageId }) => ({ itemIdentifier: messageId })),
  });
  if (parsed.length === 0) return failures();

  // Without the list the blocks are written all the same, so that none is lost; `plan` asks again, and
  // blocks nothing new meanwhile.
  const readNeverBlock = worker.neverBlock().catch((error) => {
    worker.log.error("The never-block list cannot be read", error);
    return undefined;
  });
  const texts = [
    ...new Set(parsed.flatMap(({ message }) => ("cidr" in message ? message.cidr.text : []))),
  ];
  // Orders first: an unblock that is written after this read is also counted after it.
  const read = await Promise.all([callersOf(parsed, worker, now), worker.orders.read(now)])
    .then(async (both) => [...both, await worker.addresses.read(texts, now)] as const)
    .catch((error) => fail(0, error, "What the batch needs could not be read"));
  const neverBlock = await readNeverBlock;
  if (read) {
    const [callers, orders, known] = read;
    const policy: Policy = { ...worker.policy, neverBlock, orders };
    const { byAddress, undos, events, early } = sorted(parsed, callers, worker, now);
    for (const { index, message } of early) {
      const error = new Error(`${saidBy(message).name} is not known yet.`);
      fail(index, error, "A caller that the endpoint knows is on no list here");
    }

    const origins = originsOf(parsed);
    const isUnblock = ({ message }: Delivered<Message>) => message.kind === "unblock";
    const hasOrdered = [...byAddress.values()].flat().some(isUnblock);
    const shifts = await Promise.all([
      ...[...byAddress.values()].map((messages) =>
        attempt(messages, "A block could not be written", async () => {
          const [first] = messages;
          if (!first) return [];
          const { cidr } = first.message;
          const said = messages.map(({ message }) => message);
          const written = await writeAddress(cidr, said, known.get(cidr.text), policy, worker, now);
          for (const event of written.events) logEvent(worker.log, event, origins);
          return written.shifts;
        }),
      ),
      ...undos.map((one) =>
        attempt([one], "Reports could not be taken back", () =>
          takeBack(one.message, policy, worker, now),
        ),
      ),
      ...events.map((one) =>
        attempt([one], "An event could not be taken apart", async () => {
          const { index, record, message, caller } = one;
          const problem = await takeApart(message, caller, worker, now);
          if (problem) await deadLetter(index, record, problem.reason, problem.detail);
          return [];
        }),
      ),
    ]);

    await Promise.all([
      countOutstanding(shifts.flat(), worker, now),
      settle([...byAddress.values()], hasOrdered, policy, orders.unblocks).then((settled) =>
        countOutstanding(settled, worker, now),
      ),
    ]);
  }
  return failures();
}

/**
 * The endpoint and the worker each read the lists every few seconds: a message accepted this recently may
 * come from a caller that the worker does not know yet.
 */
const LEARNT_WITHIN: Millis = 15_000;

const isEarly = (message: Received, now: EpochMillis) =>
  !("event" in message) && Math.abs(now - momentOf(message)) < LEARNT_WITHIN;

/** The callers; the lists are read again if one of them is new. */
async function callersOf(
  delivered: readonly Delivered<Received>[],
  { callers }: Pick<Worker, "callers">,
  now: EpochMillis,
): Promise<ReadonlyMap<string, Caller>> {
  const known = await callers();
  const isNew = delivered.some(
    ({ message }) => !known.has(saidBy(message).name) && isEarly(message, now),
  );
  return isNew ? callers(now) : known;
}

/** The messages by address, the undos and the events, as far as their callers may send them. */
function sorted(
  delivered: readonly Delivered<Received>[],
  callers: ReadonlyMap<string, Caller>,
  { log, measure }: Pick<Worker, "log" | "measure">,
  now: EpochMillis,
) {
  const byAddress = new Map<string, Delivered<Message>[]>();
  const undos: Delivered<UndoMessage>[] = [];
  const events: (Delivered<EventMessage> & { readonly caller: Caller })[] = [];
  const early: Delivered<Received>[] = [];
  const add = (one: Delivered<Message>) => {
    const { text } = one.message.cidr;
    byAddress.set(text, [...(byAddress.get(text) ?? []), one]);
  };
  for (const one of delivered) {
    const { message } = one;
    const { name, role, requestId } = saidBy(message);
    const caller = callers.get(name);
    const isAllowed =
      caller !== undefined &&
      may(caller, role) &&
      (message.kind !== "block" || mayReport(caller, message.cidr));
    if (!caller && isEarly(message, now)) {
      early.push(one);
    } else if (!isAllowed) {
      const { kind } = message;
      const line = { caller: name, kind, requestId, ...("origin" in message && message.origin) };
      log.warn("Dropped a message: its caller may not say so", line);
      measure("Revoked", 1);
    } else if ("event" in message) {
      events.push({ ...one, message, caller });
    } else if (message.kind === "block") {
      const { kind, origin: _, ...claim } = message;
      add({ ...one, message: { kind, ...asReport(claim, caller, now) } });
    } else if (message.kind === "withdraw") {
      const withdrawnAt = plausible(message.withdrawnAt, now);
      add({ ...one, message: { ...message, withdrawnAt } });
    } else {
      const requestedAt = plausible(message.requestedAt, now);
      if (message.kind === "unblock") add({ ...one, message: { ...message, requestedAt } });
      else undos.push({ ...one, message: { ...message, requestedAt } });
    }
  }
  return { byAddress, undos, events, early };
}

/** When the endpoint accepted the message. */
function momentOf(message: Exclude<Received, EventMessage>): EpochMillis {
  if (message.kind === "block") return message.reportedAt;
  return message.kind === "withdraw" ? message.withdrawnAt : message.requestedAt;
}

/** Who says it, in which role, and in which request. */
function saidBy(message: Received): { name: string; role: Role; requestId: string } {
  if ("event" in message) {
    return { name: message.kind, role: "detector", requestId: message.event.id };
  }
  const { requestId } = message;
  if (message.kind === "block" || message.kind === "withdraw") {
    return { name: message.detector, role: "detector", requestId };
  }
  return { name: message.operator, role: "operator", requestId };
}

/** A failed count must not keep a block from being written: ended blocks drop out of the count anyway. */
async function countOutstanding(
  shifts: readonly Shift[],
  { outstanding, measure, log }: Worker,
  now: EpochMillis,
): Promise<void> {
  if (shifts.length === 0) return;
  try {
    const all = await outstanding.count(shifts, now);
    if (all !== undefined) measure("Outstanding", all);
  } catch (error) {
    log.error("The blocks in force could not be counted", error as Error);
  }
}

const SENTENCES: Readonly<Record<Event["kind"], string>> = {
  blocked: "Blocked",
  extended: "Extended a block",
  suspected: "Reported by too few detectors",
  held: "Held after an unblock",
  undone: "Ignored a report that was taken back",
  stale: "Ignored a stale message",
  refused: "Refused a never-block address",
  unblocked: "Unblocked",
  withdrawn: "Withdrew a detector's report",
};

/** Where the requests came from, by request id. */
function originsOf(delivered: readonly Delivered<Received>[]): ReadonlyMap<string, Origin> {
  return new Map(
    delivered.flatMap(({ message }) =>
      "origin" in message && message.origin ? [[message.requestId, message.origin] as const] : [],
    ),
  );
}

/** Logs the only line about a report, so it says where the report came from. */
function logEvent(
  log: Logger,
  { kind, cidr, ...event }: Event,
  origins: ReadonlyMap<string, Origin>,
): void {
  const { block, ...rest } = "block" in event ? event : { ...event, block: undefined };
  const line = { event: kind, cidr: cidr.text, ...rest, ...origins.get(event.requestId) };
  const more = block && { expiresAt: block.expiresAt, strikes: block.strikes, hits: block.hits };
  log[kind === "refused" ? "warn" : "info"](SENTENCES[kind], { ...line, ...more });
}

type Parsed =
  | { readonly ok: true; readonly message: Received }
  | { readonly ok: false; readonly reason: string; readonly detail: string };

function parseMessage(body: string): Parsed {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch {
    return { ok: false, reason: "invalid_json", detail: "The message is not JSON." };
  }
  const result = v.safeParse(messageSchema, json);
  if (result.success) return { ok: true, message: result.output };
  const [issue] = result.issues;
  return {
    ok: false,
    reason: "invalid_message",
    detail: `${v.getDotPath(issue) ?? "message"}: ${issue.message}`,
  };
}
