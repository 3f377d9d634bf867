import { type Cidr, contains, isBlockable, size, widen } from "./cidr.ts";
import { type NeverBlock, protectedBy } from "./neverBlock.ts";

/**
 * Chooses the ranges that take the slots of one family: `wanted` is ranked, strongest first.
 *
 *     fits one by one                        → every block is a range of its own
 *     more wanted than slots                 → siblings merge without loss (two /32 are one /31)
 *     still more, and innocents are allowed  → the two nearest ranges merge, as long as all merged
 *                                              ranges together cover at most `maxInnocents` addresses
 *                                              that nobody wants blocked, none that is protected, and
 *                                              no range is wider than a caller may ask for
 *     still more                             → the longest prefix of the ranking that fits, and then
 *                                              any weaker block that costs no further slot
 *
 * The answer is ordered by the strongest block in each range.
 */
export function fitIntoSlots(
  wanted: readonly Cidr[],
  slots: number,
  neverBlock: NeverBlock = [],
  maxInnocents = 0,
): Cidr[] {
  if (slots <= 0) return [];
  const distinct = [...new Map(wanted.map((cidr) => [cidr.text, cidr])).values()];
  if (distinct.length <= slots) return distinct;

  let ranges: readonly Range[] = [];
  let full = false;
  for (const [rank, cidr] of distinct.entries()) {
    const wider = add(ranges, cidr, rank);
    const fitting =
      wider.length <= slots
        ? wider
        : !full && maxInnocents > 0 && mergeNearest(wider, neverBlock, BigInt(maxInnocents));
    if (fitting) ranges = fitting;
    else full = true;
  }
  return ranges.toSorted((a, b) => a.rank - b.rank).map((range) => range.cidr);
}

/** Ranges share no address and are no siblings of each other; there are at most `slots` of them. */
type Range = {
  readonly cidr: Cidr;
  /** The wanted ranges inside; the rest of `cidr` is innocent. They share no address. */
  readonly members: readonly Cidr[];
  /** The place in the ranking of the strongest member. */
  readonly rank: number;
};

/** Adds a wanted range and merges siblings as far up as they go, without covering anyone else. */
function add(ranges: readonly Range[], cidr: Cidr, rank: number): readonly Range[] {
  const holder = ranges.find((range) => contains(range.cidr, cidr));
  if (holder) {
    if (holder.members.some((member) => contains(member, cidr))) return ranges;
    const members = [...holder.members.filter((member) => !contains(cidr, member)), cidr];
    return ranges.map((range) => (range === holder ? { ...holder, members } : range));
  }
  const inside = ranges.filter((range) => contains(cidr, range.cidr));
  let rest = ranges.filter((range) => !inside.includes(range));
  let added: Range = { cidr, members: [cidr], rank: strongest(inside, rank) };
  for (;;) {
    const parent = widen(added.cidr, added.cidr.prefix - 1);
    const twin = rest.find(
      (range) => range.cidr.prefix === added.cidr.prefix && contains(parent, range.cidr),
    );
    if (!twin) return [...rest, added];
    rest = rest.filter((range) => range !== twin);
    added = merge(parent, [added, twin]);
  }
}

/**
 * Merges the two neighbours whose common range covers the fewest innocents; undefined where every
 * merge would cover a protected address, or more innocents than allowed in all.
 */
function mergeNearest(
  ranges: readonly Range[],
  neverBlock: NeverBlock,
  maxInnocents: bigint,
): readonly Range[] | undefined {
  const sorted = ranges.toSorted((a, b) => (a.cidr.first < b.cidr.first ? -1 : 1));
  const candidates = sorted.slice(1).flatMap((range, index) => {
    let parent = range.cidr;
    const neighbour = sorted[index];
    while (neighbour && !contains(parent, neighbour.cidr))
      parent = widen(parent, parent.prefix - 1);
    if (!isBlockable(parent) || protectedBy(neverBlock, parent)) return [];
    const inside = ranges.filter((one) => contains(parent, one.cidr));
    const merged = [...ranges.filter((one) => !inside.includes(one)), merge(parent, inside)];
    return [{ merged, innocents: merged.reduce((sum, one) => sum + innocentsIn(one), 0n) }];
  });
  const best = candidates
    .filter(({ innocents }) => innocents <= maxInnocents)
    .toSorted((a, b) => Number(a.innocents - b.innocents))[0];
  return best?.merged;
}

function merge(parent: Cidr, parts: readonly Range[]): Range {
  return {
    cidr: parent,
    members: parts.flatMap((part) => part.members),
    rank: strongest(parts, Number.POSITIVE_INFINITY),
  };
}

function innocentsIn(range: Range): bigint {
  return range.members.reduce((rest, member) => rest - size(member), size(range.cidr));
}

function strongest(ranges: readonly Range[], rank: number): number {
  return Math.min(rank, ...ranges.map((range) => range.rank));
}
