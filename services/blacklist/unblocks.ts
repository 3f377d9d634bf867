import { setTimeout as pause } from "node:timers/promises";
import type { Logger } from "../../shared/aws/log.ts";
import type { UnblockCount } from "../../shared/aws/table/unblockCount.ts";

/** How long an instance trusts its last read of the count, in milliseconds. */
export const LEASE_MS = 500;

/** No report waits longer for the count, in milliseconds. */
const READ_MS = 300;

/** Longer than any lease: timers and clocks are not exact. */
const ANNOUNCE_MS = LEASE_MS + 100;

export type Unblocks = ReturnType<typeof createUnblocks>;

/**
 * How many unblocks there were, known to every instance of the endpoint: what was said before an
 * unblock says nothing after it. Each instance holds the count under a lease, so that a storm costs two
 * reads a second and not one for each report; an unblock is answered when the leases from before it are
 * over.
 *
 * @param clock epoch milliseconds
 */
export function createUnblocks(
  counter: UnblockCount,
  log: Pick<Logger, "warn">,
  clock: () => number,
  wait: (ms: number) => Promise<unknown> = pause,
) {
  let lease: { readonly since: number; readonly count: Promise<number | undefined> } | undefined;

  async function read(): Promise<number | undefined> {
    try {
      return await counter.read(AbortSignal.timeout(READ_MS));
    } catch (error) {
      log.warn("The unblocks cannot be counted now, so nothing folds", error as Error);
      return undefined;
    }
  }

  return {
    /**
     * A count that holds every unblock that was answered before the call; undefined where it cannot be
     * read. Never throws.
     */
    async count(): Promise<number | undefined> {
      const now = clock();
      const age = lease ? now - lease.since : Number.POSITIVE_INFINITY;
      // A clock that was set back says nothing of the lease.
      if (!lease || age < 0 || age >= LEASE_MS) lease = { since: now, count: read() };
      return lease.count;
    },

    /** Counts one; other instances may not know yet. */
    async add(): Promise<void> {
      await counter.increment();
    },

    /** Counts one, and resolves once every instance knows. */
    async announce(): Promise<void> {
      await counter.increment();
      await wait(ANNOUNCE_MS);
    },
  };
}
