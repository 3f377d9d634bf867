import type { Cidr } from "./cidr.ts";
import { type Escalation, escalate } from "./escalation.ts";
import { rankOf } from "./rank.ts";
import { addReports, type Score } from "./score.ts";
import { type EpochMillis, type EpochSeconds, isExpired, type Millis } from "./time.ts";

/** A detector's report that an address attacks us, as it travels through the queue. */
export type Report = {
  readonly cidr: Cidr;
  /** Until when the detector wants the address blocked. */
  readonly expiresAt: EpochSeconds;
  /** When the endpoint accepted it. */
  readonly reportedAt: EpochMillis;
  /** 1 (weak) to 10. */
  readonly severity: number;
  readonly reason: string;
  readonly detector: string;
  /** What the report weighs where blocks need corroboration. */
  readonly weight: number;
  /** An operator's report needs no corroboration, and lifts a hold. */
  readonly byOperator: boolean;
  readonly requestId: string;
  /** How many equal reports it stands for, itself included: repeats fold before they are sent. */
  readonly count: number;
};

/** A wanted block, as the table holds it. */
export type Block = {
  readonly cidr: Cidr;
  /** Also the table's TTL attribute. */
  readonly expiresAt: EpochSeconds;
  readonly severity: number;
  readonly score: Score;
  /** How many times this address has been blocked, this block included. */
  readonly strikes: number;
  readonly reason: string;
  readonly detectors: readonly string[];
  /** Of the first and the last report of this block. */
  readonly firstSeenAt: EpochMillis;
  readonly lastSeenAt: EpochMillis;
  /** Reports of this block, folded ones included. */
  readonly hits: number;
  /** Of the first request. */
  readonly requestId: string;
  /** This very write must wake the enforcer: the mark that the stream's filter matches. */
  readonly wake: boolean;
};

/** How reports become blocks. */
export type BlockPolicy = {
  readonly escalation: Escalation;
  /** After which a report counts half in the score. */
  readonly halfLife: Millis;
};

/** Detectors that an item names at most: a block does not grow with its reports. */
const MAX_DETECTORS = 16;

/** How far the clocks of two functions may be apart. */
const CLOCK_SKEW: Millis = 5_000;

/**
 * What a report makes of an address. `existing` is its block in the table, expired ones included
 * (TTL deletion is late); `strikes` is how many of its blocks have ended before, and `score` that of the
 * last of them, as remembered: who comes back is no stranger.
 *
 * - no block, or one whose time is over: a new block begins, with one strike more;
 * - a block: the later expiry, the greater severity, the reports counted together; an expiry is only
 *   ever extended;
 * - a report whose own time is over (it lay in a queue too long) changes nothing.
 */
export function applyReport(
  existing: Block | undefined,
  report: Report,
  strikes: number,
  policy: BlockPolicy,
  now: EpochMillis,
  score?: Score,
): Block | undefined {
  if (isExpired(report, now)) return existing;
  if (existing && !isExpired(existing, now)) return extend(existing, report, policy, now);
  const past = Math.max(strikes, existing?.strikes ?? 0);
  return begin(report, past + 1, policy, existing?.score ?? score);
}

/** Folded repeats count, but a talkative detector must not outweigh all others. */
const MAX_COUNTED = 4;

const countedOf = ({ count }: Report) => Math.min(count, MAX_COUNTED);

function begin(
  report: Report,
  strikes: number,
  { escalation, halfLife }: BlockPolicy,
  score: Score | undefined,
): Block {
  return {
    cidr: report.cidr,
    expiresAt: escalate(report, strikes, escalation),
    severity: report.severity,
    score: addReports(score, report.reportedAt, countedOf(report), halfLife),
    strikes,
    reason: report.reason,
    detectors: [report.detector],
    firstSeenAt: report.reportedAt,
    lastSeenAt: report.reportedAt,
    hits: report.count,
    requestId: report.requestId,
    wake: false,
  };
}

function extend(block: Block, report: Report, policy: BlockPolicy, now: EpochMillis): Block {
  const extended = {
    ...block,
    // As long as if this report had begun the block: the order of reports makes no difference.
    expiresAt: Math.max(block.expiresAt, escalate(report, block.strikes, policy.escalation)),
    severity: Math.max(block.severity, report.severity),
    score: addReports(block.score, report.reportedAt, countedOf(report), policy.halfLife),
    reason: report.severity >= block.severity && report.reason ? report.reason : block.reason,
    detectors: [...new Set([...block.detectors, report.detector])].slice(0, MAX_DETECTORS),
    lastSeenAt: Math.max(block.lastSeenAt, report.reportedAt),
    hits: block.hits + report.count,
  };
  // A batch may raise the rank first and then extend the block: the one write of the batch keeps the
  // mark. A block extended in its last moments may already be over by the enforcer's clock.
  const isEnding = block.expiresAt * 1000 - now < CLOCK_SKEW;
  const wake = block.wake || rankOf(extended) > rankOf(block) || isEnding;
  return { ...extended, wake };
}
