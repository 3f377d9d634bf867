import type { Cidr } from "./cidr.ts";
import type { Score } from "./score.ts";
import type { EpochSeconds, Millis } from "./time.ts";

/** What decides who gets a place, strongest criterion first. */
export type Ranked = {
  readonly cidr: Cidr;
  /** 1 (weak) to 10. */
  readonly severity: number;
  readonly score: Score;
};

/** A wanted block, as far as a target needs to know it. */
export type Wanted = Ranked & { readonly expiresAt: EpochSeconds };

/**
 * The order of blocks as one string: severity, then score, then the address itself, so that no two
 * blocks are ever equal. The greater string is the stronger block. It is the sort key of the table's
 * index `byRank`, so that the strongest blocks of a family are the first ones read, however many wait.
 */
export function rankOf({ cidr, severity, score }: Ranked): string {
  return [cidr.family, digits(severity, 2), digits(Math.round(score), 14), cidr.text].join("#");
}

function digits(value: number, width: number): string {
  return String(Math.max(0, value)).padStart(width, "0");
}

/** By how many half-lives a challenger must outscore a block that holds a place, as measured. */
export const MARGIN = 0.15;

/**
 * Strongest first, where those that hold a place keep it until a challenger of the same severity
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
