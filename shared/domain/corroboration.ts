import type { Report } from "./block.ts";
import { type EpochSeconds, type Seconds, toEpochSeconds } from "./time.ts";

/** When the report of one detector is not enough. Off where the threshold is 0. */
export type Corroboration = {
  /** An address is blocked when the weights of distinct detectors add up to this. */
  readonly threshold: number;
  /** Reports count together only within this time of each other. */
  readonly window: Seconds;
};

/** What is remembered of a report that was not enough, by detector. */
export type Evidence = Pick<
  Report,
  "expiresAt" | "reportedAt" | "severity" | "reason" | "requestId" | "weight" | "count"
>;

/** An address that detectors have reported, but not enough of them. */
export type Suspect = {
  readonly reports: Readonly<Record<string, Evidence>>;
  /** When the last of the reports stops counting. */
  readonly expiresAt: EpochSeconds;
};

/** Detectors that a suspect names at most. */
const MAX_DETECTORS = 32;

/**
 * Adds a report to what is known of a suspect. Of each detector the latest report counts.
 *
 * @returns the reports of all detectors, oldest first, where they reach the threshold; otherwise the
 *   suspect to remember
 */
export function corroborate(
  suspect: Suspect | undefined,
  report: Report,
  { threshold, window }: Corroboration,
): { readonly reports: readonly Report[] } | { readonly suspect: Suspect } {
  const { detector, expiresAt, reportedAt, severity, reason, requestId, weight, count } = report;
  const known = Object.entries(suspect?.reports ?? {}).filter(
    ([name, evidence]) =>
      name !== detector && Math.abs(evidence.reportedAt - reportedAt) <= window * 1000,
  );
  const all: [string, Evidence][] = [
    ...known.slice(1 - MAX_DETECTORS),
    [detector, { expiresAt, reportedAt, severity, reason, requestId, weight, count }],
  ];
  const sum = all.reduce((total, [, evidence]) => total + evidence.weight, 0);
  if (sum < threshold) {
    const latest = Math.max(...all.map(([, evidence]) => evidence.reportedAt));
    const until = toEpochSeconds(latest) + window;
    return { suspect: { reports: Object.fromEntries(all), expiresAt: until } };
  }
  return {
    reports: all
      .map(([name, evidence]) => ({ ...report, ...evidence, detector: name }))
      .toSorted((a, b) => a.reportedAt - b.reportedAt),
  };
}
