import { hash } from "node:crypto";
import { LRUCache } from "lru-cache";
import {
  type BlockMessage,
  type Lane,
  MAX_COUNT,
  type Queue,
  QueueUnavailableError,
  type UnblockMessage,
  type UndoMessage,
  type WithdrawMessage,
} from "../../shared/aws/queue.ts";
import { overlaps } from "../../shared/domain/cidr.ts";
import type { Orders } from "../../shared/domain/orders.ts";
import { unannounced } from "./errors.ts";
import type { StandingOrders } from "./orders.ts";

/** How many reports a warm function remembers. */
const MAX_REMEMBERED = 10_000;

/** The last message sent about an address for a detector. */
type Sent = {
  readonly message: BlockMessage;
  /** The orders in force then, as far as they concern the message. */
  readonly generation: string;
  /** How many reports have been folded into it since. */
  folded: number;
};

/** The orders in force; undefined if they are unknown: then nothing folds. */
type Standing = Orders | undefined;

/**
 * Folds repeats before they cost a call: a storm is mostly equal reports of the same addresses. Reports are
 * equal if they come from the same detector, concern the same address, are neither longer nor more severe,
 * and fall within the fold window with no unblock, undo or end of a hold in between. Reports of a detector
 * that withdraws reports never fold. SQS folds across functions by deduplication id; a bounded memory in the
 * warm function folds before the send. The next report that is sent carries the count of those folded since.
 * A failed send is not remembered.
 */
export function createFold(
  queue: Queue,
  standingOrders: Pick<StandingOrders, "add" | "announce" | "letWithdraw">,
) {
  const lastSent = new LRUCache<string, Sent>({ max: MAX_REMEMBERED });
  const keyOf = ({ cidr, detector }: BlockMessage) => `${cidr.text} ${detector}`;

  /** The last message sent about the same address, if nothing has been ordered since. */
  function sentOf(message: BlockMessage, orders: Standing): Sent | undefined {
    if (!orders || isWithdrawers(message, orders)) return undefined;
    const sent = lastSent.get(keyOf(message));
    return sent && sent.generation === generationOf(message, orders) ? sent : undefined;
  }

  /** The message, counting the equal ones folded since the last was sent. */
  function counted<M extends BlockMessage | WithdrawMessage>(message: M, orders: Standing): M {
    if (message.kind === "withdraw") return message;
    const folded = sentOf(message, orders)?.folded ?? 0;
    return { ...message, count: Math.min(MAX_COUNT, message.count + folded) };
  }

  function remember(message: BlockMessage | WithdrawMessage, orders: Standing): void {
    if (orders === undefined || message.kind === "withdraw") return;
    const generation = generationOf(message, orders);
    lastSent.set(keyOf(message), { message, generation, folded: 0 });
  }

  return {
    /** The message that this one folds into; undefined if it must be sent. */
    earlier(message: BlockMessage, orders: Standing): BlockMessage | undefined {
      const sent = sentOf(message, orders);
      if (!sent || !foldsInto(message, sent.message)) return undefined;
      sent.folded++;
      return sent.message;
    },

    /** Sends a message that folds into no other. @throws QueueUnavailableError */
    async send<M extends BlockMessage | WithdrawMessage>(
      message: M,
      orders: Standing,
      lane: Lane,
    ): Promise<M> {
      const sent = counted(message, orders);
      await queue.send(sent, deduplicationId(sent, orders), lane);
      remember(sent, orders);
      return sent;
    },

    /** As `send` for each message; undefined in place of one that the queue could not take. */
    async sendAll<M extends BlockMessage | WithdrawMessage>(
      messages: readonly M[],
      orders: Standing,
      lane: Lane,
    ): Promise<(M | undefined)[]> {
      const outgoing = messages.map((message) => counted(message, orders));
      const stored = await queue.sendAll(
        outgoing.map((message) => ({
          message,
          deduplicationId: deduplicationId(message, orders),
          lane,
        })),
      );
      return outgoing.map((message, index) => {
        if (!stored[index]) return undefined;
        remember(message, orders);
        return message;
      });
    },

    /** Withdrawals of this detector may be sent once this resolves. @throws Error */
    letWithdraw: standingOrders.letWithdraw,

    /**
     * An order never folds. Once this resolves, no report folds into one from before the order.
     *
     * @throws QueueUnavailableError if it is not queued, Refusal if some instances may not have learnt of it
     */
    async sendOrder(message: UnblockMessage | UndoMessage): Promise<void> {
      // An order that could not be announced must not be queued.
      await standingOrders.add().catch((cause) => {
        throw new QueueUnavailableError("The order could not be counted.", { cause });
      });
      await queue.send(message, message.requestId, "operators");
      // Only now, so that reports that see this count are later than the order.
      await standingOrders.announce().catch((cause) => {
        throw unannounced(cause);
      });
    },
  };
}

/** Whether the detector withdraws reports. */
const isWithdrawers = ({ detector }: BlockMessage, { withdrawers }: Orders): boolean =>
  withdrawers.some((one) => one.detector === detector);

/** Judged by the messages' own times: timers do not run while Lambda freezes the function. */
function foldsInto(message: BlockMessage, earlier: BlockMessage): boolean {
  return (
    durationSeconds(message) <= durationSeconds(earlier) &&
    message.severity <= earlier.severity &&
    message.reportedAt - earlier.reportedAt < foldWindowMs(durationSeconds(earlier))
  );
}

/**
 * What no fold may cross: the unblocks, the detector's undos, and the holds during or after which the report
 * is made. A report that a hold swallows must not swallow one from after the hold.
 */
function generationOf({ cidr, detector, reportedAt }: BlockMessage, orders: Orders): string {
  const holds = orders.holds.filter((hold) => overlaps(hold.cidr, cidr));
  const undos = orders.undos.filter((undo) => undo.detector === detector);
  if (holds.length === 0 && undos.length === 0) return String(orders.unblocks);
  const under = holds.filter(({ until }) => reportedAt < until * 1000);
  const after = holds.filter(({ until }) => until * 1000 <= reportedAt);
  return JSON.stringify([
    orders.unblocks,
    Math.max(0, ...undos.map(({ requestedAt }) => requestedAt)),
    Math.max(0, ...under.map(({ requestedAt }) => requestedAt)),
    Math.max(0, ...after.map(({ until }) => until)),
  ]);
}

/**
 * One id for equal reports in the same time window, between the same orders. A longer duration or a greater
 * severity makes a different report.
 *
 * @param orders those in force; undefined for an id that is the message's alone
 * @see https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/using-messagededuplicationid-property.html
 */
export function deduplicationId(message: BlockMessage | WithdrawMessage, orders: Standing): string {
  if (message.kind === "withdraw" || orders === undefined || isWithdrawers(message, orders)) {
    return message.requestId;
  }
  const { cidr, detector, severity, reportedAt } = message;
  const duration = durationSeconds(message);
  const window = Math.floor(reportedAt / foldWindowMs(duration));
  const generation = generationOf(message, orders);
  return hash(
    "sha256",
    JSON.stringify([cidr.text, detector, severity, duration, window, generation]),
  );
}

/**
 * How long equal reports fold, in milliseconds: at most a minute, and at most a tenth of the block, so that
 * a fold never outlives its block.
 */
export function foldWindowMs(durationSeconds: number): number {
  return Math.min(60_000, durationSeconds * 100);
}

function durationSeconds({ expiresAt, reportedAt }: BlockMessage): number {
  return expiresAt - Math.floor(reportedAt / 1000);
}
