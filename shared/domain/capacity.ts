import { type Cidr, contains, isBlockable, size, widen } from "./cidr.ts";
import { type NeverBlock, protectedBy } from "./neverBlock.ts";

/** However many wait, merging looks at so many of the strongest: five for each of 40 slots. */
const MOST_CONSIDERED = 200;

/**
 * Chooses the ranges that take the slots of one family: `wanted` is ranked, strongest first.
 *
 *     fits one by one                        → every block is a range of its own
 *     more wanted than slots                 → siblings merge without loss (two /32 are one /31)
 *     still more, and innocents are allowed  → the two nearest ranges merge, as long as all merged
 *                                              ranges together cover at most `maxInnocents` addresses
 *                                              that nobody wants blocked, none that is protected, and
 *                                              no range is wider than a caller may ask for
 *     still more                             → the longest prefix of the ranking that fits, and then,
 *                                              again and again, the strongest block of the rest that
 *                                              takes no slot too many
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
  const all = [...new Map(wanted.map((cidr) => [cidr.text, cidr])).values()];
  if (all.length <= slots) return all;
  const distinct = all.slice(0, MOST_CONSIDERED);

  let { ranges, waiting } = longestPrefix(distinct, slots);
  while (maxInnocents > 0 && waiting[0]) {
    const wider = add(ranges, waiting[0]);
    const fitting =
      wider.length <= slots ? wider : mergeNearest(wider, neverBlock, BigInt(maxInnocents));
    if (!fitting) break;
    ranges = fitting;
    waiting = waiting.slice(1);
  }
  for (let index = 0; index < waiting.length; ) {
    const wider = add(ranges, waiting[index] as Cidr);
    const isTaken = wider !== ranges && wider.length <= slots;
    if (isTaken) ranges = wider;
    index = isTaken ? 0 : index + 1;
  }
  const rankOf = ({ cidr }: Range) => distinct.findIndex((one) => contains(cidr, one));
  return ranges.toSorted((a, b) => rankOf(a) - rankOf(b)).map((range) => range.cidr);
}

/** Ranges share no address, and where they are merged none is another's sibling. */
type Range = {
  readonly cidr: Cidr;
  /** The wanted ranges inside; the rest of `cidr` is innocent. They share no address. */
  readonly members: readonly Cidr[];
};

/** The longest prefix that fits without loss. One that does not fit may be part of one that does. */
function longestPrefix(ranked: readonly Cidr[], slots: number) {
  let ranges: readonly Range[] = [];
  let fitting = ranges;
  let waiting = ranked;
  for (const [index, cidr] of ranked.entries()) {
    ranges = add(ranges, cidr);
    if (ranges.length > slots) continue;
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
