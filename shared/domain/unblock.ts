import type { EpochMillis, EpochSeconds, Millis } from "./time.ts";

/** The latest unblock of an address. */
export type Unblock = {
  /** When the endpoint accepted it. */
  readonly requestedAt: EpochMillis;
  /** Until when no detector's report blocks the address again; 0 for no hold. */
  readonly holdUntil: EpochSeconds;
};

/**
 * A message is stale when it is this much older than what is known already: it is a replayed one.
 * Within this time the queue's order counts, as clocks differ a little.
 */
const STALE_AFTER: Millis = 60_000;

/** Whether a message from `at` comes after, but is older than, what is known from `then`. */
export function isStale(at: EpochMillis, then: EpochMillis | undefined): boolean {
  return then !== undefined && at + STALE_AFTER < then;
}

/** Whether detectors' reports are ignored. */
export function isHeld(unblock: Unblock | undefined, now: EpochMillis): boolean {
  return unblock !== undefined && unblock.holdUntil * 1000 > now;
}
