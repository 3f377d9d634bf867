import { describe, expect, test } from "@jest/globals";
import {
  clairvoyant,
  decayedReports,
  HALF_LIFE,
  lastReportFirst,
  newestFirst,
} from "./policies.ts";
import { acl, blind, scaledDown, sixHours } from "./scenario.ts";
import { simulate } from "./simulate.ts";
import { type Attempt, attemptsOf } from "./traffic.ts";

describe("the simulated attack", () => {
  test("is the same for the same seed, in the order of time, and another for another", () => {
    const { traffic } = scaledDown;
    const attempts = attemptsOf(traffic, 1);
    expect(attemptsOf(traffic, 1)).toEqual(attempts);
    expect(attempts).toEqual(attempts.toSorted((a, b) => a.atMs - b.atMs));
    expect(attemptsOf(traffic, 2)).not.toEqual(attempts);
  });

  test("decayed reports stop nearly what clairvoyance does, with fewer changes than last report first", () => {
    const attempts = attemptsOf(sixHours(10), 1);
    const ours = simulate(attempts, blind, acl, decayedReports());
    const best = simulate(attempts, blind, acl, clairvoyant(attempts));
    const lastReport = simulate(attempts, blind, acl, lastReportFirst);
    expect(ours.attemptsStopped).toBeGreaterThan(0.95 * best.attemptsStopped);
    expect(ours.attemptsStopped).toBeGreaterThan(lastReport.attemptsStopped);
    expect(ours.changes).toBeLessThan(lastReport.changes);
  });

  test.each([0, 500, 1000])("scaled down, with changes in force after %i ms", (delayMs) => {
    const { traffic, detector, defence, halfLife, foresightMs, seed } = scaledDown;
    const attempts = attemptsOf(traffic, seed);
    const play = (policy: Parameters<typeof simulate>[3]) =>
      simulate(attempts, detector, { ...defence, delayMs }, policy).attemptsStopped;
    const ours = play(decayedReports({ halfLife }));
    expect(ours).toBeGreaterThan(0.8 * play(clairvoyant(attempts, foresightMs)));
    expect(ours).toBeGreaterThan(3 * play(newestFirst));
  });
});

describe("two equal attackers and one slot", () => {
  const HOURS = 6;
  const attempts: readonly Attempt[] = Array.from({ length: HOURS * 3600 }, (_, second) => [
    { address: "192.0.2.1", atMs: second * 1000 },
    { address: "198.51.100.1", atMs: second * 1000 + 500 },
  ]).flat();
  const swaps = (isBlind: boolean, margin: number) => {
    const policy = decayedReports({ margin });
    const { changes } = simulate(attempts, { ...blind, isBlind }, { ...acl, slots: 1 }, policy);
    return changes - 1; // without the one that created the entry
  };

  test("do not swap where the detector sees both", () => {
    expect(swaps(false, 0)).toBeGreaterThan(HOURS * 50);
    expect(swaps(false, 0.2)).toBeLessThan(HOURS);
  });

  // Only the one that is not denied is seen, so that its score overtakes in the end. Each swap takes
  // a margin, and a score rises no higher than the clock and 3 half-lives: what a report a minute
  // for ever comes to is log2(1 / (1 - 2^(-1/5))) = 2.95.
  test.each([0.2, 0.5, 1, 2])(
    "swap once in a margin of %s half-lives where it is blind",
    (margin) => {
      const halfLives = (HOURS * 3_600_000) / HALF_LIFE + 3;
      expect(swaps(true, margin)).toBeLessThanOrEqual(halfLives / margin);
    },
  );
});
