import { type Cidr, contains, isBlockable, size, widen } from "./cidr.ts";
import { type NeverBlock, protectedBy } from "./neverBlock.ts";

/** Where more wait, merging looks at this many of the strongest: five for each of 40 slots. */
const MOST_CONSIDERED = 200;

/** How many ranges of one family a target has room for. */
export type Room = {
  /** Ranges at most. */
  readonly ranges: number;
  /** Whether these ranges all find a place there; absent where any `ranges` of them do. */
  readonly fits?: (ranges: readonly Cidr[]) => boolean;
};

/** How far ranges may be merged. */
export type Merging = {
  /** No merged range covers any of it. */
  readonly neverBlock: NeverBlock;
  /** Addresses that nobody wants blocked and that all merged ranges together may cover. */
  readonly maxInnocents: number;
};

/**
 * Chooses the ranges of one family that take the room of a target: `wanted` is ranked, strongest
 * first. It knows nothing of the target but its room; placing the ranges is the target's own plan.
 *
 *     fits one by one                        → every block is a range of its own
 *     more wanted than room                  → siblings merge without loss (two /32 are one /31)
 *     still more, and innocents are allowed  → the two nearest ranges merge, as long as all merged
 *                                              ranges together cover at most `maxInnocents` addresses
 *                                              that nobody wants blocked, none that is protected, and
 *                                              no range is wider than a caller may ask for
 *     still more                             → the longest prefix of the ranking that fits, and then,
 *                                              again and again, the strongest block of the rest that
 *                                              fits as well
 *     as many as a large target holds        → the strongest, unmerged
 *
 * The answer is ordered by the strongest block in each range.
 */
export function choose(
  wanted: readonly Cidr[],
  room: Room,
  { neverBlock, maxInnocents }: Merging = { neverBlock: [], maxInnocents: 0 },
): Cidr[] {
  if (room.ranges <= 0) return [];
  const fits = (ranges: readonly Cidr[]) =>
    ranges.length <= room.ranges && (room.fits?.(ranges) ?? true);
  const distinct = [...new Map(wanted.map((cidr) => [cidr.text, cidr])).values()];
  // What finds no place even alone must not make the others merge.
  const all = room.fits ? distinct.filter((cidr) => fits([cidr])) : distinct;
  if (fits(all)) return all;
  if (room.ranges >= MOST_CONSIDERED && !room.fits) return all.slice(0, room.ranges);
  const considered = all.slice(0, MOST_CONSIDERED);

  const isFitting = (ranges: readonly Range[]) => fits(ranges.map(({ cidr }) => cidr));
  let { ranges, waiting } = longestPrefix(considered, isFitting);
  while (maxInnocents > 0 && waiting[0]) {
    const wider = add(ranges, waiting[0]);
    const fitting = isFitting(wider)
      ? wider
      : mergeNearest(wider, neverBlock, BigInt(maxInnocents));
    if (!fitting || !isFitting(fitting)) break;
    ranges = fitting;
    waiting = waiting.slice(1);
  }
  for (let index = 0; index < waiting.length; ) {
    const wider = add(ranges, waiting[index] as Cidr);
    const isTaken = wider !== ranges && isFitting(wider);
    if (isTaken) ranges = wider;
    index = isTaken ? 0 : index + 1;
  }
  const placeOf = ({ cidr }: Range) => considered.findIndex((one) => contains(cidr, one));
  return ranges.toSorted((a, b) => placeOf(a) - placeOf(b)).map((range) => range.cidr);
}

/** Ranges share no address, and where they are merged none is another's sibling. */
type Range = {
  readonly cidr: Cidr;
  /** The wanted ranges inside; the rest of `cidr` is innocent. They share no address. */
  readonly members: readonly Cidr[];
};

/** The longest prefix that fits without loss. One that does not fit may be part of one that does. */
function longestPrefix(ranked: readonly Cidr[], isFitting: (ranges: readonly Range[]) => boolean) {
  let ranges: readonly Range[] = [];
  let fitting = ranges;
  let waiting = ranked;
  for (const [index, cidr] of ranked.entries()) {
    ranges = add(ranges, cidr);
    if (!isFitting(ranges)) continue;
    fitting = ranges;
    waiting = ranked.slice(index + 1);
  }
  return { ranges: fitting, waiting };
}

/** Adds a wanted range, without covering anyone else. */
function add(ranges: readonly Range[], cidr: Cidr): readonly Range[] {
  const holder = ranges.find((range) => contains(range.cidr, cidr));
  if (holder) {
    if (holder.members.some((member) => contains(member, cidr))) return ranges;
    const members = [...holder.members.filter((member) => !contains(cidr, member)), cidr];
    return ranges.map((range) => (range === holder ? { ...holder, members } : range));
  }
  const rest = ranges.filter((range) => !contains(cidr, range.cidr));
  return join(rest, { cidr, members: [cidr] });
}

/** Adds a range that shares no address with the others, and merges siblings as far up as they go. */
function join(ranges: readonly Range[], added: Range): readonly Range[] {
  const parent = widen(added.cidr, added.cidr.prefix - 1);
  const twin = ranges.find(
    (range) => range.cidr.prefix === added.cidr.prefix && contains(parent, range.cidr),
  );
  if (!twin) return [...ranges, added];
  const rest = ranges.filter((range) => range !== twin);
  return join(rest, merge(parent, [added, twin]));
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
    const rest = ranges.filter((one) => !inside.includes(one));
    const merged = join(rest, merge(parent, inside));
    return [{ merged, innocents: merged.reduce((sum, one) => sum + innocentsIn(one), 0n) }];
  });
  const best = candidates
    .filter(({ innocents }) => innocents <= maxInnocents)
    .toSorted((a, b) => Number(a.innocents - b.innocents))[0];
  return best?.merged;
}

function merge(parent: Cidr, parts: readonly Range[]): Range {
  return { cidr: parent, members: parts.flatMap((part) => part.members) };
}

function innocentsIn(range: Range): bigint {
  return range.members.reduce((rest, member) => rest - size(member), size(range.cidr));
}
