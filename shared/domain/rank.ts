import type { Cidr } from "./cidr.ts";
import type { Score } from "./score.ts";
import type { EpochSeconds, Millis } from "./time.ts";

/** What decides who gets a place, strongest criterion first. */
export type Ranked = {
  readonly cidr: Cidr;
  /** An operator wants it: it stands above whatever detectors want. */
  readonly byOperator: boolean;
  /** 1 (weak) to 10. */
  readonly severity: number;
  readonly score: Score;
};

/** A wanted block, as far as a target needs to know it. */
export type Wanted = Ranked & {
  readonly expiresAt: EpochSeconds;
  /** The widest range that may cover it: as wide as who reported it may report. */
  readonly leastPrefix: number;
};

const MOST_SEVERE = 10;

/** The levels of a rank, the strongest first: operators' blocks by severity, then detectors'. */
export const LEVELS: readonly string[] = Array.from({ length: 2 * MOST_SEVERE }, (_, index) =>
  digits(2 * MOST_SEVERE - index, 2),
);

/** The weakest level that is for a target of that least severity: an operator's block is for all. */
export const leastLevel = (leastSeverity: number): string => digits(leastSeverity, 2);

/** Whether the block is for a target of that least severity. */
export const isFor = (
  leastSeverity: number,
  { byOperator, severity }: Pick<Ranked, "byOperator" | "severity">,
): boolean => byOperator || severity >= leastSeverity;

/** The level that a rank begins with. */
export const levelOf = (rank: string): string => rank.slice(2, 4);

/**
 * The order of blocks as one string: level (who wants it, and how severe it is), then score, then the
 * address itself, so that no two blocks are ever equal. The greater string is the stronger block. It is
 * the sort key of the table's index `byRank`, so that the strongest blocks of a family are the first
 * ones read, however many wait.
 */
export function rankOf({ cidr, byOperator, severity, score }: Ranked): string {
  const level = digits(severity + (byOperator ? MOST_SEVERE : 0), 2);
  return [cidr.family, level, digits(Math.round(score), 14), cidr.text].join("#");
}

function digits(value: number, width: number): string {
  return String(Math.max(0, value)).padStart(width, "0");
}

/** By how many half-lives a challenger must outscore a block that holds a place, as measured. */
export const MARGIN = 0.15;

/**
 * Strongest first, where those that hold a place keep it until a challenger of the same level
 * scores higher by more than `margin`: two that attack alike would swap for ever.
 */
export function strongestFirst<Block extends Ranked>(
  blocks: readonly Block[],
  holdsPlace: (cidr: Cidr) => boolean,
  margin: Millis,
): Block[] {
  const rankInPlace = (block: Block) =>
    rankOf(holdsPlace(block.cidr) ? { ...block, score: block.score + margin } : block);
  return blocks
    .map((block) => ({ block, rank: rankInPlace(block) }))
    .toSorted((a, b) => (a.rank > b.rank ? -1 : 1))
    .map(({ block }) => block);
}
