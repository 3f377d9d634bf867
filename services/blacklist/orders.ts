import { setTimeout as pause } from "node:timers/promises";
import type { Logger } from "../../shared/aws/log.ts";
import type { OrderBook } from "../../shared/aws/table/orders.ts";
import type { Orders } from "../../shared/domain/orders.ts";
import {
  type EpochMillis,
  type Millis,
  type Seconds,
  toEpochSeconds,
} from "../../shared/domain/time.ts";

/** How long an instance trusts its last read of the orders. */
export const LEASE_MS: Millis = 500;

/** No report waits longer for the orders. */
const READ_MS: Millis = 300;

/** How long after its last withdrawal a detector is known to withdraw reports. */
const WITHDRAWER_LIFE: Seconds = 30 * 86_400;

/** Longer than any lease, as timers and clocks are inexact. */
const ANNOUNCE_MS: Millis = LEASE_MS + 100;

export type StandingOrders = ReturnType<typeof createStandingOrders>;

/**
 * The operators' standing orders, known to every instance of the endpoint: reports from before an unblock or
 * an undo do not count after it. Each instance holds the orders under a lease, so that a storm costs two
 * reads a second instead of one per report; an unblock is answered once the leases from before it are over.
 */
export function createStandingOrders(
  book: Pick<OrderBook, "read" | "countUnblock" | "markWithdrawer">,
  log: Pick<Logger, "warn">,
  clock: () => EpochMillis,
  wait: (ms: Millis) => Promise<unknown> = pause,
) {
  let lease:
    | { readonly since: EpochMillis; readonly orders: Promise<Orders | undefined> }
    | undefined;

  async function read(now: EpochMillis): Promise<Orders | undefined> {
    try {
      return await book.read(now, AbortSignal.timeout(READ_MS));
    } catch (error) {
      log.warn("The standing orders cannot be read now, so nothing folds", error as Error);
      return undefined;
    }
  }

  return {
    /**
     * The orders, including every unblock and undo answered before the call; undefined if they cannot be
     * read. Never throws.
     */
    async current(): Promise<Orders | undefined> {
      const now = clock();
      const age = lease ? now - lease.since : Number.POSITIVE_INFINITY;
      // A clock that was set back (age < 0) ends the lease.
      if (!lease || age < 0 || age >= LEASE_MS) lease = { since: now, orders: read(now) };
      return lease.orders;
    },

    /**
     * Resolves once no instance folds this detector's reports any more: a report after a withdrawal must not
     * fold into one from before it. Only the first withdrawal in weeks has to wait for that.
     *
     * @param orders as the request knows them
     */
    async letWithdraw(detector: string, orders: Orders | undefined): Promise<void> {
      const now = toEpochSeconds(clock());
      const mark = orders?.withdrawers.find((one) => one.detector === detector);
      if (mark && mark.until - now > WITHDRAWER_LIFE / 2) return;
      await book.markWithdrawer({ detector, until: now + WITHDRAWER_LIFE });
      if (!mark) await wait(ANNOUNCE_MS);
    },

    /** Counts an unblock; other instances may not know yet. */
    async add(): Promise<void> {
      await book.countUnblock();
    },

    /** Counts an unblock, and resolves once every instance knows. */
    async announce(): Promise<void> {
      await book.countUnblock();
      await wait(ANNOUNCE_MS);
    },
  };
}
