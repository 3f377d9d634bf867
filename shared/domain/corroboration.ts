import type { Report } from "./block.ts";
import { type EpochSeconds, type Seconds, toEpochSeconds } from "./time.ts";

/** When one detector's report is not enough. Off if the threshold is 0. */
export type Corroboration = {
  /** An address is blocked when the weights of distinct detectors add up to this. */
  readonly threshold: number;
  /** Reports add up only within this time of each other. */
  readonly window: Seconds;
};

/** What is remembered of a detector's report that was not enough. */
export type Evidence = Pick<
  Report,
  | "expiresAt"
  | "reportedAt"
  | "severity"
  | "reason"
  | "requestId"
  | "weight"
  | "leastPrefix"
  | "count"
>;

/** An address that some detectors have reported, but not enough of them. */
export type Suspect = {
  readonly reports: Readonly<Record<string, Evidence>>;
  /** When the last of the reports stops counting. */
  readonly expiresAt: EpochSeconds;
  /** How often the item has been written; 0 if it is not in the table yet. */
  readonly version: number;
};

/** At most this many detectors per suspect. */
const MAX_DETECTORS = 32;

/**
 * Adds a report to what is known about a suspect. Each detector's latest report counts.
 *
 * @returns the reports of all detectors, oldest first, if they reach the threshold; otherwise the
 *   suspect to remember
 */
export function corroborate(
  suspect: Suspect | undefined,
  report: Report,
  { threshold, window }: Corroboration,
): { readonly reports: readonly Report[] } | { readonly suspect: Suspect } {
  const { detector, reportedAt } = report;
  const known = Object.entries(suspect?.reports ?? {}).filter(
    ([name, known]) =>
      name !== detector && Math.abs(known.reportedAt - reportedAt) <= window * 1000,
  );
  const all: [string, Evidence][] = [
    ...known.slice(1 - MAX_DETECTORS),
    [detector, evidenceOf(report)],
  ];
  const sum = all.reduce((total, [, { weight }]) => total + weight, 0);
  if (sum < threshold) {
    // A redelivered report changes nothing.
    if (suspect?.reports[detector]?.requestId === report.requestId) return { suspect };
    const latest = Math.max(...all.map(([, one]) => one.reportedAt));
    const until = toEpochSeconds(latest) + window;
    const version = suspect?.version ?? 0;
    return { suspect: { reports: Object.fromEntries(all), expiresAt: until, version } };
  }
  return {
    reports: all
      .map(([name, one]) => ({ ...report, ...one, detector: name }))
      .toSorted((a, b) => a.reportedAt - b.reportedAt),
  };
}

function evidenceOf({ expiresAt, reportedAt, severity, reason, ...report }: Report): Evidence {
  const { requestId, weight, leastPrefix, count } = report;
  return { expiresAt, reportedAt, severity, reason, requestId, weight, leastPrefix, count };
}

/** The suspect without the evidence that is not to be kept; undefined if none is left. */
export function withoutEvidence(
  suspect: Suspect,
  isKept: (evidence: Evidence, detector: string) => boolean,
): Suspect | undefined {
  const all = Object.entries(suspect.reports);
  const kept = all.filter(([detector, evidence]) => isKept(evidence, detector));
  if (kept.length === all.length) return suspect;
  return kept.length > 0 ? { ...suspect, reports: Object.fromEntries(kept) } : undefined;
}
