import { type Cidr, contains, isBlockable, overlaps, size, WIDEST_PREFIX, widen } from "./cidr.ts";
import type { Wanted } from "./rank.ts";

/** Merging considers at most this many of the strongest blocks: five for each of 40 slots. */
const MOST_CONSIDERED = 200;

/** The room that a target has for ranges of one family. */
export type Room = {
  /** Maximum number of ranges. */
  readonly ranges: number;
  /** Whether these ranges all find a place there; absent if any `ranges` of them do. */
  readonly fits?: (ranges: readonly Cidr[]) => boolean;
};

/** A wanted range, and how wide a merged range that covers it may be. */
export type Candidate = Pick<Wanted, "cidr" | "leastPrefix">;

/** How far ranges may be merged. */
export type Merging = {
  /** Addresses that may be blocked if wanted, but are never covered as innocents. */
  readonly spared: readonly Cidr[];
  /** How many addresses that nobody wants blocked all merged ranges together may cover. */
  readonly maxInnocents: number;
};

/**
 * Chooses the ranges of one family that take a target's room: `wanted` is ranked, strongest first. It knows
 * nothing about the target but its room; the target's own plan places the ranges.
 *
 *     fits one by one                        → every block is a range of its own
 *     more wanted than room                  → siblings merge without loss (two /32 are one /31)
 *     still more, and innocents are allowed  → the two nearest ranges merge, as long as all merged
 *                                              ranges together cover at most `maxInnocents` addresses
 *                                              that nobody wants blocked, and none that is spared
 *     still more                             → the longest prefix of the ranking that fits, and then,
 *                                              repeatedly, the strongest remaining block that also fits
 *     as many as a large target holds        → the strongest, unmerged
 *
 * No merged range is wider than any caller may ask for, nor wider than the widest that the callers who
 * reported its blocks may report. The result is ordered by the strongest block in each range.
 */
export function choose(
  wanted: readonly Candidate[],
  room: Room,
  { spared, maxInnocents }: Merging = { spared: [], maxInnocents: 0 },
): Cidr[] {
  if (room.ranges <= 0) return [];
  const fits = (ranges: readonly Cidr[]) =>
    ranges.length <= room.ranges && (room.fits?.(ranges) ?? true);
  const distinct = [...new Map(wanted.map((one) => [one.cidr.text, one])).values()];
  // A range that finds no place even alone must not make the others merge.
  const all = room.fits ? distinct.filter(({ cidr }) => fits([cidr])) : distinct;
  const cidrs = all.map(({ cidr }) => cidr);
  if (fits(cidrs)) return cidrs;
  if (room.ranges >= MOST_CONSIDERED && !room.fits) return cidrs.slice(0, room.ranges);
  const considered = all.slice(0, MOST_CONSIDERED);
  const near = maxInnocents > 0 ? within(spared, considered) : [];

  const isFitting = (ranges: readonly Range[]) => fits(ranges.map(({ cidr }) => cidr));
  let { ranges, waiting } = longestPrefix(considered, isFitting);
  while (maxInnocents > 0 && waiting[0]) {
    const wider = add(ranges, waiting[0]);
    const fitting = isFitting(wider) ? wider : mergeNearest(wider, near, BigInt(maxInnocents));
    if (!fitting || !isFitting(fitting)) break;
    ranges = fitting;
    waiting = waiting.slice(1);
  }
  for (let index = 0; index < waiting.length; ) {
    const wider = add(ranges, waiting[index] as Candidate);
    const isTaken = wider !== ranges && isFitting(wider);
    if (isTaken) ranges = wider;
    index = isTaken ? 0 : index + 1;
  }
  const placeOf = ({ cidr }: Range) => considered.findIndex((one) => contains(cidr, one.cidr));
  return ranges.toSorted((a, b) => placeOf(a) - placeOf(b)).map((range) => range.cidr);
}

/** The spared ranges near the wanted ones: within the widest range that a merge can reach. */
function within(spared: readonly Cidr[], wanted: readonly Candidate[]): readonly Cidr[] {
  const widest = (cidr: Cidr) => widen(cidr, Math.min(cidr.prefix, WIDEST_PREFIX[cidr.family]));
  const places = new Map(
    wanted.map(({ cidr }): [string, Cidr] => [widest(cidr).text, widest(cidr)]),
  );
  return spared.filter((cidr) => [...places.values()].some((place) => overlaps(place, cidr)));
}

/** Ranges share no address. */
type Range = {
  readonly cidr: Cidr;
  /** The wanted ranges inside; the rest of `cidr` is innocent. They share no address. */
  readonly members: readonly Cidr[];
  /** The least of all wanted ranges inside, including those within a member. */
  readonly leastPrefix: number;
};

/** The longest prefix that fits without loss. A prefix that does not fit may be part of one that does. */
function longestPrefix(
  ranked: readonly Candidate[],
  isFitting: (ranges: readonly Range[]) => boolean,
) {
  let ranges: readonly Range[] = [];
  let fitting = ranges;
  let waiting = ranked;
  for (const [index, candidate] of ranked.entries()) {
    ranges = add(ranges, candidate);
    if (!isFitting(ranges)) continue;
    fitting = ranges;
    waiting = ranked.slice(index + 1);
  }
  return { ranges: fitting, waiting };
}

/** Adds a wanted range, without covering anyone else. */
function add(ranges: readonly Range[], { cidr, leastPrefix }: Candidate): readonly Range[] {
  const holder = ranges.find((range) => contains(range.cidr, cidr));
  if (holder) {
    const isMember = holder.members.some((member) => contains(member, cidr));
    // A caller that wants part of it may make it mergeable.
    if (isMember && leastPrefix >= holder.leastPrefix) return ranges;
    const members = isMember
      ? holder.members
      : [...holder.members.filter((member) => !contains(cidr, member)), cidr];
    const rest = ranges.filter((range) => range !== holder);
    const least = Math.min(holder.leastPrefix, leastPrefix);
    return join(rest, { cidr: holder.cidr, members, leastPrefix: least });
  }
  const parts = ranges.filter((range) => contains(cidr, range.cidr));
  const rest = ranges.filter((range) => !parts.includes(range));
  const least = Math.min(leastPrefix, ...parts.map((part) => part.leastPrefix));
  return join(rest, { cidr, members: [cidr], leastPrefix: least });
}

/** Adds a range that shares no address with the others, and merges siblings as far up as allowed. */
function join(ranges: readonly Range[], added: Range): readonly Range[] {
  if (added.cidr.prefix === 0) return [...ranges, added];
  const parent = widen(added.cidr, added.cidr.prefix - 1);
  const twin = ranges.find(
    (range) => range.cidr.prefix === added.cidr.prefix && contains(parent, range.cidr),
  );
  const merged = twin && merge(parent, [added, twin]);
  if (!merged) return [...ranges, added];
  return join(
    ranges.filter((range) => range !== twin),
    merged,
  );
}

/**
 * Merges the two neighbours whose common range covers the fewest innocents; undefined if every merge would
 * cover a spared address, exceed the total of innocents allowed, or be too wide.
 */
function mergeNearest(
  ranges: readonly Range[],
  spared: readonly Cidr[],
  maxInnocents: bigint,
): readonly Range[] | undefined {
  const sorted = ranges.toSorted((a, b) => (a.cidr.first < b.cidr.first ? -1 : 1));
  const candidates = sorted.slice(1).flatMap((range, index) => {
    const neighbour = sorted[index];
    const parent = neighbour && commonRange(range.cidr, neighbour.cidr);
    if (!parent) return [];
    const inside = ranges.filter((one) => contains(parent, one.cidr));
    const wider = merge(parent, inside);
    if (!wider || spared.some((cidr) => coversAsInnocent(wider, cidr))) return [];
    const rest = ranges.filter((one) => !inside.includes(one));
    const merged = join(rest, wider);
    return [{ merged, innocents: merged.reduce((sum, one) => sum + innocentsIn(one), 0n) }];
  });
  const best = candidates
    .filter(({ innocents }) => innocents <= maxInnocents)
    .toSorted((a, b) => Number(a.innocents - b.innocents))[0];
  return best?.merged;
}

/** The narrowest range that contains both; undefined if it is too wide to be blocked. */
function commonRange(a: Cidr, b: Cidr): Cidr | undefined {
  for (let prefix = a.prefix; prefix >= WIDEST_PREFIX[a.family]; prefix--) {
    const parent = widen(a, prefix);
    if (contains(parent, b)) return parent;
  }
  return undefined;
}

/** Undefined if `parent` is wider than any caller may ask for, or than those who want its parts may. */
function merge(parent: Cidr, parts: readonly Range[]): Range | undefined {
  const leastPrefix = Math.min(...parts.map((part) => part.leastPrefix));
  if (!isBlockable(parent) || parent.prefix < leastPrefix) return undefined;
  return { cidr: parent, members: parts.flatMap((part) => part.members), leastPrefix };
}

/** Whether the range covers any address of `cidr` that nobody wants blocked. */
function coversAsInnocent({ cidr: range, members }: Range, cidr: Cidr): boolean {
  if (!overlaps(range, cidr)) return false;
  const shared = contains(range, cidr) ? cidr : range;
  if (members.some((member) => contains(member, shared))) return false;
  const wanted = members.filter((member) => contains(shared, member));
  return wanted.reduce((rest, member) => rest - size(member), size(shared)) > 0n;
}

function innocentsIn(range: Range): bigint {
  return range.members.reduce((rest, member) => rest - size(member), size(range.cidr));
}
