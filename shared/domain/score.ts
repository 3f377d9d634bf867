import type { EpochMillis, Millis } from "./time.ts";

/**
 * How strongly an address attacks: the sum of its reports, each worth half as much after every half-life.
 *
 * The score is stored as a moment: the one at which a single report would carry the same weight now, and
 * at any later time, since all weights fade alike. So it can be compared and stored as it is, and only a
 * report changes it. It may lie ahead of the clock: `n` reports at once score `log2(n)` half-lives more
 * than one.
 *
 * @see Cormode, Shkapenyuk, Srivastava, Xu: Forward Decay. A Practical Time Decay Model for Streaming
 *   Systems. ICDE 2009
 */
export type Score = EpochMillis;

/** The score after `count` more reports made at `reportedAt`. The order makes no difference. */
export function addReports(
  score: Score | undefined,
  reportedAt: EpochMillis,
  count: number,
  halfLife: Millis,
): Score {
  const added = reportedAt + halfLife * Math.log2(count);
  if (score === undefined) return added;
  const [less, more] = score < added ? [score, added] : [added, score];
  return more + halfLife * Math.log2(1 + 2 ** ((less - more) / halfLife));
}
