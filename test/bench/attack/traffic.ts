import { createRandom, type Random } from "../random.ts";

/** One attempt to break in; what a detector sees in its logs. */
export type Attempt = { readonly address: string; readonly atMs: number };

/** From the least to the most, both included. */
export type Range = readonly [least: number, most: number];

/**
 * Who attacks, and how. Two kinds, and the whole difficulty is to tell them apart:
 *
 * - Persistent attackers come back: on for a while, off for a while, and again, each at a rate of
 *   its own.
 * - Scanners try often enough to be reported, and never return. Whoever blocks them has spent a
 *   slot on nobody.
 */
export type TrafficShape = {
  readonly lengthMs: number;
  readonly persistent: {
    readonly count: number;
    /** The rate of each is drawn log-uniformly. */
    readonly attemptsPerSecond: Range;
    /** Means of exponential distributions. */
    readonly onMs: number;
    readonly offMs: number;
    /** From an attacker's first attempt to the last; the start is drawn so that it ends in time. */
    readonly activeMs: Range;
  };
  readonly scanners: {
    readonly perMinute: number;
    readonly attempts: Range;
    /** All attempts of one scanner lie within this time. */
    readonly withinMs: number;
  };
};

/**
 * All attempts in the order of their times, from 0 to the length; the same for the same seed. The
 * persistent attackers are also the same whatever the number of scanners.
 *
 * @example
 * for (const { address, atMs } of attemptsOf(shape, 1)) …
 */
export function attemptsOf(shape: TrafficShape, seed: number): readonly Attempt[] {
  const newAddress = addresses(createRandom(seed + 3_000));
  return [
    ...persistentAttempts(shape, newAddress, createRandom(seed + 1_000)),
    ...scannerAttempts(shape, newAddress, createRandom(seed + 2_000)),
  ].toSorted((a, b) => a.atMs - b.atMs);
}

function* persistentAttempts(
  { persistent, lengthMs }: TrafficShape,
  newAddress: () => string,
  random: Random,
): Generator<Attempt> {
  const { attemptsPerSecond, onMs, offMs } = persistent;
  for (let index = 0; index < persistent.count; index++) {
    const address = newAddress();
    const meanGapMs = 1000 / logUniform(random, attemptsPerSecond);
    const activeMs = Math.min(lengthMs, uniform(random, persistent.activeMs));
    let atMs = random.next() * (lengthMs - activeMs);
    const endMs = atMs + activeMs;
    while (atMs < endMs) {
      const offAtMs = Math.min(endMs, atMs + exponential(random, onMs));
      for (;;) {
        atMs += exponential(random, meanGapMs);
        if (atMs >= offAtMs) break;
        yield { address, atMs };
      }
      atMs = offAtMs + exponential(random, offMs);
    }
  }
}

function* scannerAttempts(
  { scanners, lengthMs }: TrafficShape,
  newAddress: () => string,
  random: Random,
): Generator<Attempt> {
  const meanGapMs = 60_000 / scanners.perMinute;
  let startMs = exponential(random, meanGapMs);
  for (; startMs < lengthMs; startMs += exponential(random, meanGapMs)) {
    const address = newAddress();
    for (let left = random.between(...scanners.attempts); left > 0; left--) {
      const atMs = startMs + random.next() * scanners.withinMs;
      if (atMs < lengthMs) yield { address, atMs };
    }
  }
}

/** Gives another address with every call. */
function addresses(random: Random): () => string {
  const given = new Set<string>();
  return () => {
    for (;;) {
      const address = random.address();
      if (given.has(address)) continue;
      given.add(address);
      return address;
    }
  };
}

const uniform = (random: Random, [least, most]: Range): number =>
  least + random.next() * (most - least);

const logUniform = (random: Random, [least, most]: Range): number =>
  least * (most / least) ** random.next();

const exponential = (random: Random, mean: number): number => -mean * Math.log(1 - random.next());
