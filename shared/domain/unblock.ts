/** An operator's latest word that an address is to be let alone. */
export type Unblock = {
  /** Epoch milliseconds at which the endpoint accepted it. */
  readonly requestedAt: number;
  /** Epoch seconds until which no detector's report blocks the address again; 0 for no hold. */
  readonly holdUntil: number;
};

/**
 * So much older than the word that it meets, in milliseconds, a message was overtaken: it is a replayed
 * one. Within this time the queue's order counts, as clocks differ a little.
 */
const OVERTAKEN_MS = 60_000;

/** Whether what was said at `saidAt` came after, but is from before, `then` (both epoch milliseconds). */
export function isOvertaken(saidAt: number, then: number | undefined): boolean {
  return then !== undefined && saidAt + OVERTAKEN_MS < then;
}

/** Whether detectors are not to be listened to. */
export function isHeld(unblock: Unblock | undefined, now: number): boolean {
  return unblock !== undefined && unblock.holdUntil * 1000 > now;
}
