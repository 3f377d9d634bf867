import type { Millis } from "../../../shared/domain/time.ts";
import type { DetectorShape } from "./detector.ts";
import type { Defence } from "./simulate.ts";
import type { TrafficShape } from "./traffic.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** Scanners a minute. */
export const PRESSURES = [2, 10, 40] as const;

/** Six hours of attacks on a host behind an ACL. */
export const sixHours = (scannersPerMinute: number): TrafficShape => ({
  lengthMs: 6 * HOUR_MS,
  persistent: {
    count: 40,
    attemptsPerSecond: [0.2, 5],
    onMs: 15 * MINUTE_MS,
    offMs: 10 * MINUTE_MS,
    activeMs: [1.5 * HOUR_MS, 2.5 * HOUR_MS],
  },
  scanners: { perMinute: scannersPerMinute, attempts: [5, 12], withinMs: MINUTE_MS },
});

/** As on a real host, what the ACL denies never reaches the detector's logs. */
export const blind: DetectorShape = {
  threshold: 5,
  windowMs: MINUTE_MS,
  quietMs: MINUTE_MS,
  isBlind: true,
};

/** As with flow logs, where denied packets are recorded too. */
export const seeing: DetectorShape = { ...blind, isBlind: false };

/** The ACL's default quota less what an operator keeps, and blocks of an hour. */
export const acl: Defence = { slots: 18, blockMs: HOUR_MS };

/**
 * The same in 45 seconds and with four slots, for the running product, whose half-life is to be
 * `halfLife`. Rates and times are not those of the six hours divided by one number: they are chosen
 * so that an attacker is reported often while he is on, as in the six hours.
 *
 * Share stopped by when a change is in force, in the simulation of this seed:
 *
 *     after     newest first   ours   clairvoyant
 *     0 s       0.08           0.70   0.74
 *     0.5 s     0.07           0.68   0.71
 *     1 s       0.07           0.62   0.69
 *     2 s       0.06           0.62   0.65
 */
export const scaledDown = {
  seed: 2,
  halfLife: 10_000,
  foresightMs: 10_000,
  traffic: {
    lengthMs: 45_000,
    persistent: {
      count: 6,
      attemptsPerSecond: [2, 10],
      onMs: 15_000,
      offMs: 4_000,
      activeMs: [25_000, 38_000],
    },
    scanners: { perMinute: 40, attempts: [3, 5], withinMs: 1_000 },
  },
  detector: { threshold: 3, windowMs: 2_000, quietMs: 1_000, isBlind: true },
  defence: { slots: 4, blockMs: 30_000 },
} as const satisfies {
  seed: number;
  halfLife: Millis;
  foresightMs: number;
  traffic: TrafficShape;
  detector: DetectorShape;
  defence: Defence;
};
