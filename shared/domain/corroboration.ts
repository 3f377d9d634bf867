import type { Report } from "./block.ts";

/** When the word of one detector is not enough. Off where the threshold is 0. */
export type Corroboration = {
  /** An address is blocked when the weights of distinct detectors add up to this. */
  readonly threshold: number;
  /** Only reports within so many seconds of each other count together. */
  readonly windowSeconds: number;
};

/** What is remembered of a report that was not enough, by detector. */
export type Evidence = Pick<
  Report,
  "expiresAt" | "reportedAt" | "severity" | "reason" | "requestId" | "weight"
>;

/** An address that detectors have reported, but not enough of them. */
export type Suspect = {
  readonly reports: Readonly<Record<string, Evidence>>;
  /** Epoch seconds at which the last of the reports stops counting. */
  readonly expiresAt: number;
};

/** A suspect names at most so many detectors. */
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
  { threshold, windowSeconds }: Corroboration,
): { readonly reports: readonly Report[] } | { readonly suspect: Suspect } {
  const { detector, expiresAt, reportedAt, severity, reason, requestId, weight } = report;
  const oldest = reportedAt - windowSeconds * 1000;
  const known = Object.entries(suspect?.reports ?? {}).filter(
    ([name, evidence]) => name !== detector && evidence.reportedAt >= oldest,
  );
  const all: [string, Evidence][] = [
    ...known.slice(1 - MAX_DETECTORS),
    [detector, { expiresAt, reportedAt, severity, reason, requestId, weight }],
  ];
  const sum = all.reduce((total, [, evidence]) => total + evidence.weight, 0);
  if (sum < threshold) {
    const until = Math.floor(reportedAt / 1000) + windowSeconds;
    return { suspect: { reports: Object.fromEntries(all), expiresAt: until } };
  }
  return {
    reports: all
      .map(([name, evidence]) => ({ ...report, ...evidence, detector: name }))
      .toSorted((a, b) => a.reportedAt - b.reportedAt),
  };
}
