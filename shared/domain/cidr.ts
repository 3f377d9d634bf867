import ip from "ipaddr.js";

export type Family = 4 | 6;

/** An address or range, parsed. `text` is the canonical form, which EC2 stores and shows. */
export type Cidr = {
  readonly text: string;
  readonly family: Family;
  readonly prefix: number;
  /** First and last address of the range, as numbers. */
  readonly first: bigint;
  readonly last: bigint;
};

/** The text is neither an IPv4 or IPv6 address nor a range of them in CIDR notation. */
export class InvalidAddressError extends Error {
  override readonly name = "InvalidAddressError";
}

export const BITS: Readonly<Record<Family, number>> = { 4: 32, 6: 128 };

/** `::ffff:0:0/96`, where IPv6 carries IPv4 addresses. */
const MAPPED_PREFIX = 96;

/** Half an IPv6 address, in bits and in bytes. */
const HALF = 64n;
const HALF_BYTES = 8;

/**
 * Parses an address (`203.0.113.9`) or a range (`203.0.113.0/24`, `2001:db8::/48`) strictly: four
 * plain decimal octets without leading zeros (which some resolvers read as octal), no zone id, no
 * white space. Host bits are cleared, as EC2 does; an IPv4-mapped IPv6 address is its IPv4 address.
 *
 * @throws InvalidAddressError with one sentence that names the text (cut at 64 characters)
 * @see https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateNetworkAclEntry.html
 */
export function parseCidr(text: string): Cidr {
  const [address = "", prefixText, ...more] = text.split("/");
  const parsed = addressIn(address);
  if (more.length > 0 || parsed === undefined) throw invalid(text);
  const family = parsed instanceof ip.IPv6 ? 6 : 4;
  const prefix = prefixText === undefined ? BITS[family] : parsePrefix(prefixText);
  if (prefix === undefined || prefix > BITS[family]) throw invalid(text);

  if (parsed instanceof ip.IPv6 && parsed.isIPv4MappedAddress() && prefix >= MAPPED_PREFIX) {
    return rangeOf(toNumber(parsed.toIPv4Address().toByteArray()), prefix - MAPPED_PREFIX, 4);
  }
  return rangeOf(toNumber(parsed.toByteArray()), prefix, family);
}

/** Whether every address of `inner` is in `outer`. */
export function contains(outer: Cidr, inner: Cidr): boolean {
  return outer.family === inner.family && outer.first <= inner.first && inner.last <= outer.last;
}

/** Whether the two share an address. */
export function overlaps(a: Cidr, b: Cidr): boolean {
  return a.family === b.family && a.first <= b.last && b.first <= a.last;
}

/** The range of `prefix` bits that contains `cidr`. `widen(cidr, cidr.prefix - 1)` is its parent. */
export function widen(cidr: Cidr, prefix: number): Cidr {
  return rangeOf(cidr.first, prefix, cidr.family);
}

/** The widest range that may be blocked at once. */
export const WIDEST_PREFIX: Readonly<Record<Family, number>> = { 4: 16, 6: 32 };

export function isBlockable({ prefix, family }: Cidr): boolean {
  return prefix >= WIDEST_PREFIX[family];
}

/** How many addresses the range has. */
export function size(cidr: Cidr): bigint {
  return cidr.last - cidr.first + 1n;
}

function rangeOf(address: bigint, prefix: number, family: Family): Cidr {
  const hostMask = (1n << BigInt(BITS[family] - prefix)) - 1n;
  const first = address & ~hostMask;
  return {
    text: `${format(first, family)}/${prefix}`,
    family,
    prefix,
    first,
    last: first | hostMask,
  };
}

/** Undefined if it is not an address, or is one that can be read in two ways. */
function addressIn(text: string): ip.IPv4 | ip.IPv6 | undefined {
  if (!text.includes(":")) {
    return ip.IPv4.isValidFourPartDecimal(text) ? ip.IPv4.parse(text) : undefined;
  }
  const embedded = text.slice(text.lastIndexOf(":") + 1);
  const isStrict = !embedded.includes(".") || ip.IPv4.isValidFourPartDecimal(embedded);
  return isStrict && !text.includes("%") && ip.IPv6.isValid(text) ? ip.IPv6.parse(text) : undefined;
}

function parsePrefix(text: string): number | undefined {
  return /^(0|[1-9]\d{0,2})$/.test(text) ? Number(text) : undefined;
}

function toNumber(bytes: readonly number[]): bigint {
  const buffer = Buffer.from(bytes);
  return buffer.length === 4
    ? BigInt(buffer.readUInt32BE())
    : (buffer.readBigUInt64BE() << HALF) | buffer.readBigUInt64BE(HALF_BYTES);
}

function format(address: bigint, family: Family): string {
  const buffer = Buffer.alloc(BITS[family] / 8);
  if (family === 4) {
    buffer.writeUInt32BE(Number(address));
    return buffer.join(".");
  }
  buffer.writeBigUInt64BE(address >> HALF);
  buffer.writeBigUInt64BE(BigInt.asUintN(64, address), HALF_BYTES);
  return new ip.IPv6([...buffer]).toRFC5952String();
}

function invalid(text: string): InvalidAddressError {
  return new InvalidAddressError(
    `${JSON.stringify(text.slice(0, 64))} is not an IPv4 or IPv6 address or a range in CIDR notation.`,
  );
}
