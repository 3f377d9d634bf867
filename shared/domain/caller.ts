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

/** What a caller is: a detector reports, an operator may do everything, a reader only reads. */
export type Role = (typeof ROLES)[number];

/** How far a caller may go. */
export type Limits = {
  /** Distinct addresses that it may report per minute; folded repeats are free. */
  readonly addressesPerMinute: number;
  /** How many of its blocks may be in force at once. */
  readonly outstanding: number;
  /** The widest range that it may report: the fewest bits of a prefix. */
  readonly leastPrefix: Readonly<Record<Family, number>>;
  /** Greater severities are capped at this one. */
  readonly mostSeverity: number;
  /** Longer blocks are cut to this duration. */
  readonly longest: Seconds;
};

/** Who calls, and what it may do. Its secret is not known here. */
export type Caller = {
  /** Tells callers apart, in the log and in the table. */
  readonly name: string;
  readonly role: Role;
  /** The weight of its reports where blocks need corroboration. */
  readonly weight: number;
  readonly limits: Limits;
  /** The ranges that it may call from; if empty, it may call from anywhere. */
  readonly from: readonly Cidr[];
  /** When its token stops being valid; absent if it never does. */
  readonly expiresAt?: EpochSeconds;
};

const DAY: Seconds = 86_400;

/** The limits of a caller for whom the owner sets none: a stolen token must not reach far. */
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

/** The roles that each role includes. */
const MAY: Readonly<Record<Role, readonly Role[]>> = {
  detector: ["detector"],
  operator: ["detector", "operator", "reader"],
  reader: ["reader"],
};

/** Whether the caller may do what requires `role`. */
export function may(caller: Pick<Caller, "role">, role: Role): boolean {
  return MAY[caller.role].includes(role);
}

/** Whether the caller's token is still valid and is used from an allowed address. */
export function isWelcome({ from, expiresAt }: Caller, source: Cidr, now: EpochMillis): boolean {
  if (expiresAt !== undefined && expiresAt * 1000 <= now) return false;
  return from.length === 0 || from.some((range) => contains(range, source));
}

/** Whether the caller may report a range this wide. */
export function mayReport({ limits }: Pick<Caller, "limits">, { family, prefix }: Cidr): boolean {
  return prefix >= limits.leastPrefix[family];
}

/** How far in the future a message's time may lie: the clocks of functions differ a little. */
const MAX_AHEAD: Millis = 60_000;

/** The moment that a message claims, capped at what can be true. */
export const plausible = (claimed: EpochMillis, now: EpochMillis): EpochMillis =>
  Math.min(claimed, now + MAX_AHEAD);

/** What a message says about a report. */
export type Claim = Omit<Report, "weight" | "byOperator" | "leastPrefix">;

/**
 * A claim cut to its caller's limits: no more severe and no longer than allowed, and made no later than
 * now. Both the endpoint and the worker check this, as anyone may have put a message in the queue.
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
