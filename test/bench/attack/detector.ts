import type { Attempt } from "./traffic.ts";

/** What a detector sends. */
export type Sighted = {
  readonly address: string;
  readonly atMs: number;
  /** For how many attempts it stands: this one, and those folded since the last report. */
  readonly count: number;
};

export type DetectorShape = {
  /** It reports an address after this many attempts … */
  readonly threshold: number;
  /** … within this time … */
  readonly windowMs: number;
  /** … and the same address again after this time at the earliest. */
  readonly quietMs: number;
  /** Whether it sees nothing of an address that is denied, as on a host behind the ACL. */
  readonly isBlind: boolean;
};

export type Detector = {
  /** To be called with every attempt in the order of time. */
  notice(attempt: Attempt, isDenied: boolean): Sighted | undefined;
};

type Sighting = {
  /** The latest attempts, the oldest first, `threshold` at most. */
  readonly latestMs: number[];
  reportedAtMs: number;
  folded: number;
};

/**
 * A detector as fail2ban is one: attempts counted over a sliding window.
 *
 * @example
 * const detector = createDetector({ threshold: 5, windowMs: 60_000, quietMs: 60_000, isBlind: true });
 * const report = detector.notice({ address: "203.0.113.7", atMs: 0 }, false);
 */
export function createDetector(shape: DetectorShape): Detector {
  const { threshold, windowMs, quietMs, isBlind } = shape;
  const sightings = new Map<string, Sighting>();

  function sightingOf(address: string): Sighting {
    const known = sightings.get(address);
    if (known) return known;
    const sighting = { latestMs: [], reportedAtMs: Number.NEGATIVE_INFINITY, folded: 0 };
    sightings.set(address, sighting);
    return sighting;
  }

  return {
    notice({ address, atMs }, isDenied) {
      if (isDenied && isBlind) return undefined;
      const sighting = sightingOf(address);
      const { latestMs } = sighting;
      latestMs.push(atMs);
      if (latestMs.length > threshold) latestMs.shift();
      const oldestMs = latestMs[0] ?? atMs;
      if (latestMs.length < threshold || atMs - oldestMs > windowMs) return undefined;
      sighting.folded++;
      if (atMs - sighting.reportedAtMs < quietMs) return undefined;
      const report = { address, atMs, count: sighting.folded };
      sighting.reportedAtMs = atMs;
      sighting.folded = 0;
      return report;
    },
  };
}
