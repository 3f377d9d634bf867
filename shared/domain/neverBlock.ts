import { type Cidr, type Family, overlaps, parseCidr } from "./cidr.ts";

/** A range that must not be blocked, and why, in the words shown to the caller and in the log. */
export type Protected = { readonly cidr: Cidr; readonly why: string };
export type NeverBlock = readonly Protected[];

/**
 * Ranges that nobody uses on the internet, so that denying them could only hurt the owner. The
 * documentation ranges (192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24, 2001:db8::/32) are left out:
 * denying them hurts nobody, and examples and tests use them.
 *
 * @see https://www.iana.org/assignments/iana-ipv4-special-registry
 * @see https://www.iana.org/assignments/ipv6-address-space (only 2000::/3 is global unicast)
 */
export const SPECIAL_RANGES: NeverBlock = protect([
  ["0.0.0.0/8", "this network"],
  ["10.0.0.0/8", "private range"],
  ["100.64.0.0/10", "shared range of carriers"],
  ["127.0.0.0/8", "loopback"],
  ["169.254.0.0/16", "link-local"],
  ["172.16.0.0/12", "private range"],
  ["192.0.0.0/24", "protocol assignments"],
  ["192.168.0.0/16", "private range"],
  ["198.18.0.0/15", "benchmarking range"],
  ["224.0.0.0/4", "multicast"],
  ["240.0.0.0/4", "reserved range"],
  ["::/128", "unspecified address"],
  ["::1/128", "loopback"],
  ["64:ff9b::/96", "NAT64 range"],
  ["fc00::/7", "private range"],
  ["fe80::/10", "link-local"],
  ["ff00::/8", "multicast"],
  ["::/3", "not global unicast"],
  ["4000::/2", "not global unicast"],
  ["8000::/1", "not global unicast"],
]);

/** Parses `[cidr, why]` pairs. @throws InvalidAddressError */
export function protect(ranges: Iterable<readonly [cidr: string, why: string]>): NeverBlock {
  return Array.from(ranges, ([cidr, why]) => ({ cidr: parseCidr(cidr), why }));
}

/**
 * Why `cidr` must not be blocked, or undefined if it may be. One shared address is enough, so a wanted range
 * that merely contains a protected address is refused too. Of nested ranges, the one listed first is named.
 * The cost is logarithmic in the list's length: an owner may list ten thousand.
 */
export function protectedBy(neverBlock: NeverBlock, cidr: Cidr): Protected | undefined {
  const clusters = indexOf(neverBlock)[cidr.family];
  let low = 0;
  let high = clusters.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((clusters[middle] as Cluster).last < cidr.first) low = middle + 1;
    else high = middle;
  }
  return clusters[low]?.ranges.find((range) => overlaps(range.cidr, cidr));
}

/** A range and all ranges inside it, in the order of the list; CIDR ranges are nested or disjoint. */
type Cluster = { readonly last: bigint; readonly ranges: readonly Protected[] };

/** Sorted by address. */
type Index = Readonly<Record<Family, readonly Cluster[]>>;

/** Each list's index is built once, on first use. */
const indexes = new WeakMap<NeverBlock, Index>();

function indexOf(neverBlock: NeverBlock): Index {
  const known = indexes.get(neverBlock);
  if (known) return known;
  const index = { 4: clustersOf(neverBlock, 4), 6: clustersOf(neverBlock, 6) };
  indexes.set(neverBlock, index);
  return index;
}

function clustersOf(neverBlock: NeverBlock, family: Family): Cluster[] {
  const clusters: { last: bigint; ranges: { range: Protected; listedAt: number }[] }[] = [];
  const sorted = neverBlock
    .map((range, listedAt) => ({ range, listedAt }))
    .filter(({ range }) => range.cidr.family === family)
    .toSorted(
      ({ range: { cidr: a } }, { range: { cidr: b } }) =>
        compare(a.first, b.first) || a.prefix - b.prefix,
    );
  for (const one of sorted) {
    const { first, last } = one.range.cidr;
    const before = clusters.at(-1);
    if (before && first <= before.last) before.ranges.push(one);
    else clusters.push({ last, ranges: [one] });
  }
  return clusters.map(({ last, ranges }) => ({
    last,
    ranges: ranges.toSorted((a, b) => a.listedAt - b.listedAt).map(({ range }) => range),
  }));
}

const compare = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0);
