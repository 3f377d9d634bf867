import { type Cidr, contains, parseCidr, widen } from "../../shared/domain/cidr.ts";

// Ranges by brute force over their single addresses: what the clever code is measured by.

/** Few addresses of both families, so that what histories draw from them meets. */
export const UNIVERSES = [parseCidr("203.0.113.0/28"), parseCidr("2001:db8::/125")] as const;
export const ADDRESSES: readonly Cidr[] = UNIVERSES.flatMap((universe) => addressesOf(universe));

/** Each address, and the ranges of two and of four around some of them. */
export const RANGES: readonly string[] = UNIVERSES.flatMap((universe) =>
  addressesOf(universe).flatMap((address, index) => [
    address.text,
    ...(index % 2 === 0 ? [widen(address, address.prefix - 1).text] : []),
    ...(index % 4 === 0 ? [widen(address, address.prefix - 2).text] : []),
  ]),
);

export function addressesOf(cidr: Cidr): Cidr[] {
  const bits = cidr.family === 4 ? 32 : 128;
  const halves = (range: Cidr): Cidr[] => {
    if (range.prefix === bits) return [range];
    const left = parseCidr(`${range.text.split("/")[0]}/${range.prefix + 1}`);
    const right = rangeAt(left.last + 1n, range.prefix + 1, cidr.family);
    return [...halves(left), ...halves(right)];
  };
  return halves(cidr);
}

function rangeAt(address: bigint, prefix: number, family: 4 | 6): Cidr {
  if (family === 4) {
    const octets = [24n, 16n, 8n, 0n].map((shift) => (address >> shift) & 255n);
    return parseCidr(`${octets.join(".")}/${prefix}`);
  }
  const groups = Array.from({ length: 8 }, (_, i) =>
    ((address >> BigInt(112 - 16 * i)) & 0xffffn).toString(16),
  );
  return parseCidr(`${groups.join(":")}/${prefix}`);
}

/**
 * The ranges that deserve the slots without loss, sorted by their texts: one by one where they fit,
 * else the fewest that cover the longest prefix of the ranking and then, again and again, the
 * strongest of the rest that fits as well.
 */
export function strongestThatFit(
  universe: Cidr,
  wanted: readonly Cidr[],
  slots: number,
): readonly string[] {
  if (wanted.length <= slots) return wanted.map(({ text }) => text).toSorted();
  const fits = (addresses: ReadonlySet<string>) =>
    fewestRanges(universe, addresses).length <= slots;
  const prefixes = wanted.map((_, index) => union(wanted.slice(0, index + 1)));
  const longest = prefixes.findLastIndex(fits);
  let chosen = prefixes[longest] ?? new Set<string>();
  let waiting = wanted.slice(longest + 1);
  for (;;) {
    const next = waiting.find((cidr) => fits(new Set([...chosen, ...textsOf(cidr)])));
    if (!next) return fewestRanges(universe, chosen).toSorted();
    chosen = new Set([...chosen, ...textsOf(next)]);
    waiting = waiting.filter((cidr) => cidr !== next);
  }
}

/** The addresses in any of the ranges. */
export function union(ranges: readonly Cidr[]): Set<string> {
  return new Set(ranges.flatMap(textsOf));
}

const cidrs = new Map<string, Cidr>();
/** As parseCidr; histories ask for the same few ranges again and again. */
export function cidrOf(text: string): Cidr {
  const known = cidrs.get(text) ?? parseCidr(text);
  cidrs.set(text, known);
  return known;
}

const addressTexts = new Map<string, readonly string[]>();
function textsOf(cidr: Cidr): readonly string[] {
  const known = addressTexts.get(cidr.text) ?? addressesOf(cidr).map(({ text }) => text);
  addressTexts.set(cidr.text, known);
  return known;
}

/** The fewest ranges that cover exactly these addresses of `range`. */
export function fewestRanges(range: Cidr, addresses: ReadonlySet<string>): string[] {
  const inside = textsOf(range);
  const wanted = inside.filter((text) => addresses.has(text)).length;
  if (wanted === 0) return [];
  if (wanted === inside.length) return [range.text];
  return halvesOf(range).flatMap((half) => fewestRanges(half, addresses));
}

const halves = new Map<string, readonly Cidr[]>();
function halvesOf(range: Cidr): readonly Cidr[] {
  const known = halves.get(range.text);
  if (known) return known;
  const addresses = addressesOf(range);
  const split = [addresses[0], addresses[addresses.length / 2]].flatMap((first) =>
    first && contains(range, first) ? [widen(first, range.prefix + 1)] : [],
  );
  halves.set(range.text, split);
  return split;
}
