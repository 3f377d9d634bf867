import type { Family } from "./cidr.ts";
import { type Escalation, escalate } from "./escalation.ts";
import { rankOf } from "./rank.ts";

/** A detector's word that an address attacks us, as it travels through the queue. */
export type Report = {
  readonly cidr: string;
  readonly family: Family;
  /** Epoch seconds until which the detector wants the address blocked. */
  readonly expiresAt: number;
  /** Epoch milliseconds at which the endpoint accepted it. */
  readonly reportedAt: number;
  readonly severity: number;
  readonly reason: string;
  readonly detector: string;
  /** What the detector's word weighs where blocks need corroboration. */
  readonly weight: number;
  /** An operator's own word needs no corroboration, and lifts a hold. */
  readonly byOperator: boolean;
  readonly requestId: string;
};

/** A wanted block, as the table holds it. */
export type Block = {
  readonly cidr: string;
  readonly family: Family;
  /** Epoch seconds; also the table's TTL attribute. */
  readonly expiresAt: number;
  readonly severity: number;
  /** How many times this address has been blocked, this block included. */
  readonly strikes: number;
  readonly reason: string;
  readonly detectors: readonly string[];
  /** Epoch milliseconds of the first and the last report of this block. */
  readonly firstSeenAt: number;
  readonly lastSeenAt: number;
  readonly hits: number;
  /** Of the first request. */
  readonly requestId: string;
  readonly rank: string;
  /** This very write must wake the enforcer: the mark that the stream's filter matches. */
  readonly wake: boolean;
};

/** An item names at most so many detectors; a block does not grow with its reports. */
const MAX_DETECTORS = 16;

/** How far the clocks of two functions may be apart, in milliseconds. */
const CLOCK_SKEW_MS = 5_000;

/** Whether the block's time is over. DynamoDB deletes expired items late, so every reader asks. */
export function isExpired(block: { readonly expiresAt: number }, now: number): boolean {
  return block.expiresAt * 1000 <= now;
}

/**
 * What a report makes of an address. `existing` is its block in the table, expired ones included
 * (TTL deletion is late); `strikes` is how many of its blocks have ended before, as remembered.
 *
 * - no block, or one whose time is over: a new block begins, with one strike more;
 * - a block: the later expiry, the greater severity; an expiry is only ever extended;
 * - a report whose own time is over (it lay in a queue too long) changes nothing.
 */
export function applyReport(
  existing: Block | undefined,
  report: Report,
  strikes: number,
  escalation: Escalation,
  now: number,
): Block | undefined {
  if (isExpired(report, now)) return existing;
  return existing === undefined || isExpired(existing, now)
    ? begin(report, Math.max(strikes, existing?.strikes ?? 0) + 1, escalation)
    : extend(existing, report, escalation, now);
}

function begin(report: Report, strikes: number, escalation: Escalation): Block {
  const block = {
    cidr: report.cidr,
    family: report.family,
    expiresAt: escalate(report, strikes, escalation),
    severity: report.severity,
    strikes,
    reason: report.reason,
    detectors: [report.detector],
    firstSeenAt: report.reportedAt,
    lastSeenAt: report.reportedAt,
    hits: 1,
    requestId: report.requestId,
    wake: false,
  };
  return { ...block, rank: rankOf(block) };
}

function extend(block: Block, report: Report, escalation: Escalation, now: number): Block {
  const severity = Math.max(block.severity, report.severity);
  const extended = {
    ...block,
    // As long as if this report had begun the block: the order of reports makes no difference.
    expiresAt: Math.max(block.expiresAt, escalate(report, block.strikes, escalation)),
    severity,
    reason: report.severity >= block.severity && report.reason ? report.reason : block.reason,
    detectors: [...new Set([...block.detectors, report.detector])].slice(0, MAX_DETECTORS),
    lastSeenAt: Math.max(block.lastSeenAt, report.reportedAt),
    hits: block.hits + 1,
  };
  const rank = rankOf(extended);
  // A batch may raise it first and then extend it: the one write of the batch keeps the mark. A block
  // extended in its last moments may already be over by the enforcer's clock.
  const wake = block.wake || rank > block.rank || block.expiresAt * 1000 - now < CLOCK_SKEW_MS;
  return { ...extended, rank, wake };
}
