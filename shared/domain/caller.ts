import type { Report } from "./block.ts";
import { type Cidr, contains, type Family } from "./cidr.ts";
import {
  type EpochMillis,
  type EpochSeconds,
  type Millis,
  type Seconds,
  toEpochSeconds,
} from "./time.ts";

export const ROLES = ["detector", "operator", "reader"] as const;

/**
 * What a caller is: a detector reports, an operator does everything, a reader only looks.
 */
export type Role = (typeof ROLES)[number];

/** How far a caller may go. */
export type Limits = {
  /** Distinct addresses that it may report in a minute; folded repeats cost nothing. */
  readonly addressesPerMinute: number;
  /** Blocks of its own that may be in force at a time. */
  readonly outstanding: number;
  /** The widest range that it may report: the fewest bits of a prefix. */
  readonly leastPrefix: Readonly<Record<Family, number>>;
  /** A greater severity counts as this one. */
  readonly mostSeverity: number;
  /** A longer block lasts this long. */
  readonly longest: Seconds;
};

/** Who calls, and what it may do. Of its secret nothing is known here. */
export type Caller = {
  /** Tells callers apart, in the log and in the table. */
  readonly name: string;
  readonly role: Role;
  /** What its reports weigh where blocks need corroboration. */
  readonly weight: number;
  readonly limits: Limits;
  /** The ranges that it calls from; anywhere where there is none. */
  readonly from: readonly Cidr[];
  /** From when on its token is no longer valid; absent where it stays. */
  readonly expiresAt?: EpochSeconds;
};

const DAY: Seconds = 86_400;

/** What a caller may do of whom the owner says nothing more: a stolen token must not reach far. */
export const DEFAULT_LIMITS: Readonly<Record<Role, Limits>> = {
  detector: {
    addressesPerMinute: 6_000,
    outstanding: 10_000,
    leastPrefix: { 4: 24, 6: 56 },
    mostSeverity: 10,
    longest: 7 * DAY,
  },
  operator: {
    addressesPerMinute: 60_000,
    outstanding: 100_000,
    leastPrefix: { 4: 16, 6: 32 },
    mostSeverity: 10,
    longest: 365 * DAY,
  },
  reader: {
    addressesPerMinute: 0,
    outstanding: 0,
    leastPrefix: { 4: 32, 6: 128 },
    mostSeverity: 1,
    longest: 0,
  },
};

/** What each role may do. */
const MAY: Readonly<Record<Role, readonly Role[]>> = {
  detector: ["detector"],
  operator: ["detector", "operator", "reader"],
  reader: ["reader"],
};

/** Whether the caller may do what `role` is needed for. */
export function may(caller: Pick<Caller, "role">, role: Role): boolean {
  return MAY[caller.role].includes(role);
}

/** Whether the caller's token is still valid, and used from where it may be. */
export function isWelcome({ from, expiresAt }: Caller, source: Cidr, now: EpochMillis): boolean {
  if (expiresAt !== undefined && expiresAt * 1000 <= now) return false;
  return from.length === 0 || from.some((range) => contains(range, source));
}

/** Whether the caller may report a range as wide as this. */
export function mayReport({ limits }: Pick<Caller, "limits">, { family, prefix }: Cidr): boolean {
  return prefix >= limits.leastPrefix[family];
}

/** Messages claim no time later than this from now: clocks of functions differ a little. */
const MAX_AHEAD: Millis = 60_000;

/** The moment that a message claims, as far as it can be true. */
export const plausible = (claimed: EpochMillis, now: EpochMillis): EpochMillis =>
  Math.min(claimed, now + MAX_AHEAD);

/** What a message says of a report. */
export type Claim = Omit<Report, "weight" | "byOperator" | "leastPrefix">;

/**
 * A claim as far as its caller may go: no more severe and no longer than its limits, from no later than
 * now. Endpoint and worker ask both: what lies in a queue may have been put there by anyone.
 */
export function asReport(claim: Claim, caller: Caller, now: EpochMillis): Report {
  const { limits, weight, role } = caller;
  const reportedAt = plausible(claim.reportedAt, now);
  return {
    ...claim,
    reportedAt,
    expiresAt: Math.min(claim.expiresAt, toEpochSeconds(reportedAt) + limits.longest),
    severity: Math.min(claim.severity, limits.mostSeverity),
    weight,
    byOperator: role === "operator",
    leastPrefix: limits.leastPrefix[claim.cidr.family],
  };
}
