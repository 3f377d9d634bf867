import type { Family } from "./cidr.ts";

/** What decides who gets a slot, strongest criterion first. */
export type Ranked = {
  readonly cidr: string;
  readonly family: Family;
  /** 1 (weak) to 10. */
  readonly severity: number;
  /** How many times this address has been blocked, this block included. */
  readonly strikes: number;
  /** When this block began, in milliseconds since the epoch. */
  readonly firstSeenAt: number;
};

/**
 * The order of blocks as one string: severity, then how often the address offends, then recency,
 * then the address itself, so that no two blocks are ever equal. The greater string is the stronger
 * block. It is the sort key of the table's index `byRank`, so that the strongest blocks of a family
 * are the first ones read, however many wait.
 *
 * Recency is when the block began, not when it was last reported: an attacker who is reported every
 * second would otherwise change places, and so ACL entries, every second.
 */
export function rankOf({ cidr, family, severity, strikes, firstSeenAt }: Ranked): string {
  return [
    family,
    digits(severity, 2),
    digits(Math.min(strikes, 999), 3),
    digits(firstSeenAt, 14),
    cidr,
  ].join("#");
}

function digits(value: number, width: number): string {
  return String(value).padStart(width, "0");
}
