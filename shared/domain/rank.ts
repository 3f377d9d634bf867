import type { Cidr } from "./cidr.ts";
import type { Score } from "./score.ts";
import type { EpochSeconds, Millis } from "./time.ts";

/** What decides which block gets a place, strongest criterion first. */
export type Ranked = {
  readonly cidr: Cidr;
  /** An operator wants it: it ranks above whatever detectors want. */
  readonly byOperator: boolean;
  /** 1 (weak) to 10. */
  readonly severity: number;
  readonly score: Score;
};

/** What a target needs to know about a wanted block. */
export type Wanted = Ranked & {
  readonly expiresAt: EpochSeconds;
  /** The widest range that may cover it: as wide as its reporters may report. */
  readonly leastPrefix: number;
};

const MOST_SEVERE = 10;

/** The levels of a rank, strongest first: operators' blocks by severity, then detectors'. */
export const LEVELS: readonly string[] = Array.from({ length: 2 * MOST_SEVERE }, (_, index) =>
  digits(2 * MOST_SEVERE - index, 2),
);

/** The weakest level that a target of that least severity takes: an operator's block is for all. */
export const leastLevel = (leastSeverity: number): string => digits(leastSeverity, 2);

/** Whether a target of that least severity takes the block. */
export const isFor = (
  leastSeverity: number,
  { byOperator, severity }: Pick<Ranked, "byOperator" | "severity">,
): boolean => byOperator || severity >= leastSeverity;

/** The level contained in a rank. */
export const levelOf = (rank: string): string => rank.slice(2, 4);

/**
 * The order of blocks as one string: level (who wants it, and how severe it is), then score, then the
 * address itself, so that no two blocks are ever equal. The greater string is the stronger block. It is the
 * sort key of the table's index `byRank`, so that a family's strongest blocks are read first, however many
 * wait.
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
 * Strongest first, except that a block that holds a place keeps it until a challenger of the same level
 * scores higher by more than `margin`: otherwise two that attack alike would swap for ever.
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
