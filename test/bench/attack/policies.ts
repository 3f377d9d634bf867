import { strongest } from "./choose.ts";
import { scoreAfter } from "./score.ts";
import type { Policy, Wanted } from "./simulate.ts";
import type { Attempt } from "./traffic.ts";

/** What ours is set to, as measured (`node test/bench/attack/study.ts`). */
export const HALF_LIFE_MS = 300_000;
/** In half-lives. */
export const MARGIN = 0.2;
export const MAX_COUNT = 4;

/** The policies that ours is compared with. */
export const newestFirst: Policy = ranked("newest first", ({ beganAtMs }) => beganAtMs);
export const lastReportFirst: Policy = ranked("last report first", (block) => block.reportedAtMs);
export const firstComeStays: Policy = ranked(
  "first come stays",
  ({ reportedAtMs }) => reportedAtMs,
  Number.POSITIVE_INFINITY,
);

/** Ours: reports counted with exponential decay; a challenger must beat a holder by a margin. */
export function decayedReports({
  halfLifeMs = HALF_LIFE_MS,
  margin = MARGIN,
  maxCount = MAX_COUNT,
  rankOf = ({ score }: Wanted) => score,
  keepsScore = true,
}: {
  readonly halfLifeMs?: number;
  /** By how many half-lives a challenger must beat a holder. */
  readonly margin?: number;
  /** For how many attempts one report may count. */
  readonly maxCount?: number;
  readonly rankOf?: (block: Wanted) => number;
  readonly keepsScore?: boolean;
} = {}): Policy {
  return {
    ...ranked("decayed reports", rankOf, margin * halfLifeMs),
    keepsScore,
    score: (before, { atMs, count }) =>
      scoreAfter(before, { atMs, count: Math.min(count, maxCount) }, halfLifeMs),
  };
}

/** Chooses those with the most attempts in the time ahead: hardly to be beaten. */
export function clairvoyant(attempts: readonly Attempt[], foresightMs = 600_000): Policy {
  const timesMs = Map.groupBy(attempts, ({ address }) => address);
  const attemptsFrom = (address: string, fromMs: number, toMs: number) => {
    const own = timesMs.get(address) ?? [];
    return firstFrom(own, toMs) - firstFrom(own, fromMs);
  };
  return {
    name: "clairvoyant",
    changesByItself: true,
    score: () => 0,
    choose: (candidates, holders, slots, nowMs) =>
      strongest(candidates, slots, ({ address }) => {
        const ahead = attemptsFrom(address, nowMs, nowMs + foresightMs);
        return holders.has(address) ? ahead + 0.5 : ahead;
      }),
  };
}

/** @param margin by how much a challenger must beat a holder */
function ranked(name: string, rankOf: (block: Wanted) => number, margin = 0): Policy {
  return {
    name,
    score: () => 0,
    choose: (candidates, holders, slots) =>
      strongest(candidates, slots, (block) =>
        holders.has(block.address) ? rankOf(block) + margin : rankOf(block),
      ),
  };
}

/** The index of the first attempt at this time or later. */
function firstFrom(attempts: readonly Attempt[], fromMs: number): number {
  let low = 0;
  let high = attempts.length;
  if ((attempts.at(-1)?.atMs ?? 0) < fromMs) return high;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((attempts[middle]?.atMs ?? 0) < fromMs) low = middle + 1;
    else high = middle;
  }
  return low;
}
