import type { Cidr } from "./cidr.ts";
import { type Escalation, escalate } from "./escalation.ts";
import { rankOf } from "./rank.ts";
import { addReports, type Score } from "./score.ts";
import { type EpochMillis, type EpochSeconds, isExpired, type Millis } from "./time.ts";

/** The severity of a report that states none. */
export const DEFAULT_SEVERITY = 5;

/** A caller's report that an address attacks us. */
export type Report = {
  readonly cidr: Cidr;
  /** When the block that the detector asks for is to end. */
  readonly expiresAt: EpochSeconds;
  /** When the endpoint accepted it. */
  readonly reportedAt: EpochMillis;
  /** 1 (weak) to 10. */
  readonly severity: number;
  readonly reason: string;
  readonly detector: string;
  /** The report's weight where blocks need corroboration. */
  readonly weight: number;
  /** An operator's report needs no corroboration, and lifts a hold. */
  readonly byOperator: boolean;
  /** The widest range that the caller may report; no merged range that covers the address is wider. */
  readonly leastPrefix: number;
  readonly requestId: string;
  /**
   * How many equal reports it stands for, itself included: repeats fold before they are sent. 0 for a
   * report that only extends a block: it begins none and adds nothing to the rank.
   */
  readonly count: number;
};

/** What one caller asks of a block: all of its reports, combined. */
export type OwnReport = Pick<
  Report,
  "severity" | "reason" | "weight" | "byOperator" | "leastPrefix"
> & {
  /** When the block that it asks for ends, escalation included. */
  readonly expiresAt: EpochSeconds;
  /** When it reported last. */
  readonly reportedAt: EpochMillis;
  /** Of its last report. */
  readonly requestId: string;
  /** When it withdrew its reports; absent as long as it wants the block. */
  readonly withdrawnAt?: EpochMillis;
};

/** Who wants a block, by the name of the caller. */
export type Reports = Readonly<Record<string, OwnReport>>;

/** A wanted block, as the table holds it. */
export type Block = Pick<Report, "severity" | "reason" | "byOperator" | "leastPrefix"> & {
  readonly cidr: Cidr;
  /** Who wants it. The block's end, severity, reason and leastPrefix follow from these. */
  readonly reports: Reports;
  /** The caller that reported it first, against whose limit it counts. */
  readonly begunBy: string;
  /** Also the table's TTL attribute. */
  readonly expiresAt: EpochSeconds;
  readonly score: Score;
  /** How many times this address has been blocked, this block included. */
  readonly strikes: number;
  /** The times of this block's first and last report. */
  readonly firstSeenAt: EpochMillis;
  readonly lastSeenAt: EpochMillis;
  /** Number of reports of this block, folded ones included. */
  readonly hits: number;
  /** The first request's id. */
  readonly requestId: string;
  /** Whether this write must wake the enforcer; the stream's filter matches this mark. */
  readonly wake: boolean;
  /** How often the item has been written; 0 if it is not in the table yet. */
  readonly version: number;
};

/** How reports become blocks. */
export type BlockPolicy = {
  readonly escalation: Escalation;
  /** The time after which a report counts half in the score. */
  readonly halfLife: Millis;
  /** The total weight that must ask for a severity or an end before it applies; 0: any one caller will do. */
  readonly threshold: number;
};

/** At most this many callers per item, so that a block does not grow with its reports. */
const MAX_REPORTERS = 16;

/** How far apart the clocks of two functions may be. */
const CLOCK_SKEW: Millis = 5_000;

/**
 * Applies a report to an address. `existing` is its block in the table, even if expired (TTL deletion is
 * late); `strikes` is how many of its blocks have ended before, and `score` is the remembered score of the
 * last of them: a returning attacker does not start from zero.
 *
 * - no block, or an expired one: a new block begins, with one more strike;
 * - a live block: the later expiry, the greater severity, and all reports counted; an expiry is only ever
 *   extended;
 * - a report that has itself expired (it waited in a queue too long) changes nothing, nor does one that is
 *   delivered again.
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

/**
 * The block without the reports that are not to be kept; undefined if nobody wants it any more. The strikes
 * and the score stay: the attack did happen.
 */
export function withoutReports(
  block: Block,
  isKept: (own: OwnReport, caller: string) => boolean,
  policy: Pick<BlockPolicy, "threshold">,
): Block | undefined {
  const kept = Object.entries(block.reports).filter(([name, own]) => isKept(own, name));
  if (kept.length === 0) return undefined;
  if (kept.length === Object.keys(block.reports).length) return block;
  const reports = Object.fromEntries(kept);
  const begunBy = block.begunBy in reports ? block.begunBy : (kept[0]?.[0] ?? block.begunBy);
  // It may end sooner now: the enforcer must know.
  return { ...block, ...wantedBy(reports, policy), begunBy, wake: true };
}

/**
 * The block after one of its callers has withdrawn its own reports: they keep it until `until` at the
 * latest, and if others want it, they alone decide its severity. Returns the same object if the caller has
 * reported since, or has no report to withdraw.
 */
export function withdrawn(
  block: Block,
  caller: string,
  { withdrawnAt, until }: { readonly withdrawnAt: EpochMillis; readonly until: EpochSeconds },
  policy: Pick<BlockPolicy, "threshold">,
): Block {
  const own = block.reports[caller];
  if (!own || own.withdrawnAt !== undefined || own.reportedAt > withdrawnAt) return block;
  const ending = { ...own, withdrawnAt, expiresAt: Math.min(own.expiresAt, until) };
  const reports = { ...block.reports, [caller]: ending };
  const begunBy = block.begunBy === caller ? (wantingOf(reports)[0] ?? caller) : block.begunBy;
  // It may end sooner now: the enforcer must know.
  return { ...block, ...wantedBy(reports, policy), begunBy, wake: true };
}

/** The callers that still want the block. */
export const wantingOf = (reports: Reports): string[] =>
  Object.keys(reports).filter((caller) => reports[caller]?.withdrawnAt === undefined);

/** Folded repeats count, but a talkative detector must not outweigh all others. */
const MAX_COUNTED = 4;

const countedOf = ({ count }: Report) => Math.min(count, MAX_COUNTED);

function begin(
  report: Report,
  strikes: number,
  policy: BlockPolicy,
  score: Score | undefined,
): Block {
  return {
    cidr: report.cidr,
    ...wantedBy({ [report.detector]: ownOf(report, strikes, policy) }, policy),
    begunBy: report.detector,
    score: addReports(score, report.reportedAt, countedOf(report), policy.halfLife),
    strikes,
    firstSeenAt: report.reportedAt,
    lastSeenAt: report.reportedAt,
    hits: report.count,
    requestId: report.requestId,
    wake: false,
    version: 0,
  };
}

function extend(block: Block, report: Report, policy: BlockPolicy, now: EpochMillis): Block {
  const before = block.reports[report.detector];
  // A report that is redelivered or overtaken says nothing new about how often the address attacks.
  const isCounted =
    !before || (report.reportedAt >= before.reportedAt && report.requestId !== before.requestId);
  const own = together(before, ownOf(report, block.strikes, policy));
  const extended = {
    ...block,
    ...wantedBy(bounded({ ...block.reports, [report.detector]: own }), policy),
    lastSeenAt: Math.max(block.lastSeenAt, report.reportedAt),
    ...(isCounted && {
      score: addReports(block.score, report.reportedAt, countedOf(report), policy.halfLife),
      hits: block.hits + report.count,
    }),
  };
  // A batch may raise the rank first and then extend the block: the batch's single write keeps the mark.
  // A block extended in its last moments may already be over by the enforcer's clock.
  const isEnding = block.expiresAt * 1000 - now < CLOCK_SKEW;
  const wake = block.wake || rankOf(extended) > rankOf(block) || isEnding;
  return { ...extended, wake };
}

function ownOf(report: Report, strikes: number, { escalation }: BlockPolicy): OwnReport {
  const { reportedAt, severity, reason, weight, byOperator, leastPrefix, requestId } = report;
  // As if this report had begun the block, so that the order of reports makes no difference.
  const expiresAt = escalate(report, strikes, escalation);
  return { expiresAt, reportedAt, severity, reason, weight, byOperator, leastPrefix, requestId };
}

/**
 * Combines a caller's reports: the later end, and the greater severity with its reason. Of withdrawn
 * reports only the end counts, so that the block has no gap.
 */
function together(before: OwnReport | undefined, own: OwnReport): OwnReport {
  if (!before) return own;
  if (before.withdrawnAt !== undefined)
    return { ...own, expiresAt: Math.max(before.expiresAt, own.expiresAt) };
  const latest = own.reportedAt >= before.reportedAt ? own : before;
  return {
    ...latest,
    expiresAt: Math.max(before.expiresAt, own.expiresAt),
    severity: Math.max(before.severity, own.severity),
    reason: own.severity >= before.severity && own.reason ? own.reason : before.reason,
  };
}

/** If too many callers want a block, the detector whose reports end soonest is forgotten, an operator last. */
function bounded(reports: Reports): Reports {
  const entries = Object.entries(reports);
  if (entries.length <= MAX_REPORTERS) return reports;
  const [first] = entries.toSorted(
    ([, a], [, b]) => Number(a.byOperator) - Number(b.byOperator) || a.expiresAt - b.expiresAt,
  );
  return Object.fromEntries(entries.filter((entry) => entry !== first));
}

/** The part of a block that follows from its reports. */
function wantedBy(reports: Reports, { threshold }: Pick<BlockPolicy, "threshold">) {
  const all = Object.values(reports);
  const wanting = all.filter((own) => own.withdrawnAt === undefined);
  const deciding = wanting.length > 0 ? wanting : all;
  const severity = supported(deciding, (own) => own.severity, threshold);
  const reason = deciding
    .filter((own) => own.reason !== "")
    .toSorted((a, b) => b.severity - a.severity || b.reportedAt - a.reportedAt)[0]?.reason;
  return {
    reports,
    expiresAt: supported(all, (own) => own.expiresAt, threshold),
    severity,
    reason: reason ?? "",
    byOperator: deciding.some((own) => own.byOperator),
    leastPrefix: Math.min(...deciding.map((own) => own.leastPrefix)),
  };
}

/**
 * The most that reports of sufficient total weight ask for, so that a report without weight decides
 * nothing where blocks need corroboration. An operator's report suffices by itself.
 */
function supported(
  reports: readonly OwnReport[],
  asked: (own: OwnReport) => number,
  threshold: number,
): number {
  const strongest = reports.toSorted((a, b) => asked(b) - asked(a));
  let weight = 0;
  for (const own of strongest) {
    weight += own.byOperator ? Number.POSITIVE_INFINITY : own.weight;
    if (weight >= threshold) return asked(own);
  }
  // The reports once reached the threshold, and those left no longer do: take the least that any asks for.
  return Math.min(...reports.map(asked));
}
