import { isIP } from "node:net";
import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import {
  contains,
  type Family,
  InvalidAddressError,
  overlaps,
  parseCidr,
  size,
  widen,
} from "../../../shared/domain/cidr.ts";

describe("parseCidr", () => {
  test.each([
    ["203.0.113.9", "203.0.113.9/32"],
    ["203.0.113.9/32", "203.0.113.9/32"],
    ["203.0.113.9/24", "203.0.113.0/24"],
    ["255.255.255.255/1", "128.0.0.0/1"],
    ["0.0.0.0/0", "0.0.0.0/0"],
    ["2001:db8::9", "2001:db8::9/128"],
    ["2001:DB8:0:0:0:0:0:9", "2001:db8::9/128"],
    ["2001:0db8::0009", "2001:db8::9/128"],
    ["2001:db8:1:2:3:4:5:6/48", "2001:db8:1::/48"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1/128"],
    ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1/128"],
    ["::", "::/128"],
    ["::/0", "::/0"],
    ["64:ff9b::192.0.2.1", "64:ff9b::c000:201/128"],
  ])("%s becomes %s", (given, canonical) => {
    expect(parseCidr(given).text).toBe(canonical);
  });

  test.each([
    ["::ffff:203.0.113.9", "203.0.113.9/32"],
    ["::ffff:cb00:7109", "203.0.113.9/32"],
    ["0:0:0:0:0:FFFF:203.0.113.9", "203.0.113.9/32"],
    ["::ffff:203.0.113.9/120", "203.0.113.0/24"],
    ["::ffff:0:0/96", "0.0.0.0/0"],
  ])("%s, an IPv4-mapped address, is the IPv4 address %s", (given, canonical) => {
    expect(parseCidr(given)).toEqual(parseCidr(canonical));
  });

  test("a range that reaches beyond the IPv4-mapped ones stays IPv6", () => {
    expect(parseCidr("::ffff:0:0/95")).toMatchObject({ text: "::fffe:0:0/95", family: 6 });
  });

  test.each([
    ["nothing", ""],
    ["a name", "localhost"],
    ["a zero-padded octet", "203.0.113.09"],
    ["octets that look octal", "0313.0.0161.011"],
    ["a hexadecimal octet", "0xcb.0.113.9"],
    ["a hexadecimal number", "0xcb007109"],
    ["one number", "3405803785"],
    ["three octets", "203.0.113"],
    ["five octets", "203.0.113.9.1"],
    ["an octet above 255", "203.0.113.256"],
    ["a negative octet", "203.0.113.-9"],
    ["a sign", "+203.0.113.9"],
    ["a trailing dot", "203.0.113.9."],
    ["a port", "203.0.113.9:443"],
    ["brackets", "[2001:db8::9]"],
    ["a zone id", "fe80::1%eth0"],
    ["an empty zone id", "fe80::1%"],
    ["an escaped zone id", "fe80::1%25eth0"],
    ["two runs of zeros", "2001::db8::9"],
    ["three colons", "2001:db8:::9"],
    ["seven groups", "2001:db8:1:2:3:4:5"],
    ["nine groups", "2001:db8:1:2:3:4:5:6:7"],
    ["a trailing colon", "2001:db8:1:2:3:4:5:6:"],
    ["five hexadecimal digits", "2001:db8::00009"],
    ["a mapped address with a zero-padded octet", "::ffff:203.0.113.09"],
    ["a mapped address with a hexadecimal octet", "::ffff:0xcb.0.113.9"],
    ["a mapped address of three octets", "::ffff:203.0.113"],
    ["a prefix above 32", "203.0.113.9/33"],
    ["a prefix above 128", "2001:db8::/129"],
    ["a mapped prefix above 128", "::ffff:203.0.113.9/129"],
    ["a negative prefix", "203.0.113.9/-1"],
    ["a zero-padded prefix", "203.0.113.9/024"],
    ["a fractional prefix", "203.0.113.9/24.0"],
    ["a hexadecimal prefix", "203.0.113.9/0x18"],
    ["an empty prefix", "203.0.113.9/"],
    ["two prefixes", "203.0.113.9/24/24"],
    ["a netmask", "203.0.113.0/255.255.255.0"],
    ["an IPv4 range", "203.0.113.1-203.0.113.9"],
    ["a leading space", " 203.0.113.9"],
    ["a trailing newline", "203.0.113.9\n"],
    ["a space before the prefix", "203.0.113.9 /24"],
    ["a space in the prefix", "203.0.113.9/ 24"],
    ["a trailing space after IPv6", "2001:db8::9 "],
    ["a zero byte", "203.0.113.9\0"],
    ["Arabic digits", "٢٠٣.0.113.9"],
    ["full-width digits", "2０3.0.113.9"],
    ["an Arabic prefix", "203.0.113.9/٢٤"],
    ["a full-width dot", "203．0.113.9"],
  ])("refuses %s", (_what, text) => {
    expect(() => parseCidr(text)).toThrow(InvalidAddressError);
  });

  test("names the text in its error, in one line and cut at 64 characters", () => {
    expect(() => parseCidr("nonsense")).toThrow(/"nonsense" is not/);
    expect(() => parseCidr("1.2.3.4\n")).toThrow(String.raw`"1.2.3.4\n" is not`);
    const { message } = errorOf(() => parseCidr("x".repeat(1000)));
    expect(message).toContain(`"${"x".repeat(64)}"`);
    expect(message).not.toContain("x".repeat(65));
  });

  test("accepts exactly what Node takes for an address, zone ids apart, with a plain prefix", () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const [address = "", prefix, ...more] = text.split("/");
        const family = address.includes("%") ? 0 : isIP(address);
        const isPrefix =
          prefix === undefined ||
          (/^(0|[1-9][0-9]{0,2})$/.test(prefix) && Number(prefix) <= (family === 4 ? 32 : 128));
        const isValid = family !== 0 && isPrefix && more.length === 0;
        if (isValid) parseCidr(text);
        else expect(() => parseCidr(text)).toThrow(InvalidAddressError);
      }),
      { numRuns: 5_000 },
    );
  });

  test("the canonical form is a fixed point", () => {
    fc.assert(
      fc.property(anyRange, (range) => {
        const parsed = parseCidr(textOf(range));
        expect(parseCidr(parsed.text)).toEqual(parsed);
      }),
    );
  });

  test("the canonical form is the network's address with its host bits cleared", () => {
    fc.assert(
      fc.property(anyRange, (range) => {
        const { prefix, bits } = range;
        const network = bits.slice(0, prefix).padEnd(bits.length, "0");
        expect(parseCidr(textOf(range))).toMatchObject({
          text: `${canonicalAddress(network)}/${prefix}`,
          family: range.family,
          prefix,
        });
      }),
    );
  });

  test("first and last are the ends of the range, and size counts from one to the other", () => {
    fc.assert(
      fc.property(anyRange, (range) => {
        const { prefix, bits } = range;
        const cidr = parseCidr(textOf(range));
        const fixed = bits.slice(0, prefix);
        expect(cidr.first.toString(2).padStart(bits.length, "0")).toBe(
          fixed.padEnd(bits.length, "0"),
        );
        expect(cidr.last.toString(2).padStart(bits.length, "0")).toBe(
          fixed.padEnd(bits.length, "1"),
        );
        expect(size(cidr)).toBe(2n ** BigInt(bits.length - prefix));
      }),
    );
  });
});

describe("contains, overlaps and widen agree with comparing prefixes of bits", () => {
  test("contains", () => {
    fc.assert(
      fc.property(twoRanges, ([outer, inner]) => {
        const expected =
          outer.family === inner.family &&
          outer.prefix <= inner.prefix &&
          inner.bits.startsWith(outer.bits.slice(0, outer.prefix));
        expect(contains(parseCidr(textOf(outer)), parseCidr(textOf(inner)))).toBe(expected);
      }),
      { numRuns: 2_000 },
    );
  });

  test("overlaps, in either order", () => {
    fc.assert(
      fc.property(twoRanges, ([a, b]) => {
        const shorter = Math.min(a.prefix, b.prefix);
        const expected =
          a.family === b.family && a.bits.slice(0, shorter) === b.bits.slice(0, shorter);
        const [first, second] = [parseCidr(textOf(a)), parseCidr(textOf(b))];
        expect(overlaps(first, second)).toBe(expected);
        expect(overlaps(second, first)).toBe(expected);
      }),
      { numRuns: 2_000 },
    );
  });

  test("widen", () => {
    fc.assert(
      fc.property(anyRange, fc.nat(128), (range, less) => {
        const prefix = Math.max(0, range.prefix - less);
        expect(widen(parseCidr(textOf(range)), prefix)).toEqual(
          parseCidr(textOf({ ...range, prefix })),
        );
      }),
    );
  });
});

/** A range as the bits of some address in it. */
type Range = { readonly family: Family; readonly bits: string; readonly prefix: number };

const bits = (length: number) =>
  fc.array(fc.constantFrom("0", "1"), { minLength: length, maxLength: length });

const rangeOf = (family: Family): fc.Arbitrary<Range> => {
  const length = family === 4 ? 32 : 128;
  return fc.record({
    family: fc.constant(family),
    bits: fc
      .oneof(
        bits(length),
        // Runs of zeros, which the text form of IPv6 shortens.
        fc
          .tuple(bits(length / 8), fc.array(fc.nat(7), { minLength: 8, maxLength: 8 }))
          .map(([few, places]) =>
            few.flatMap((bit, at) =>
              Array.from({ length: 8 }, (_, i) => (places[at % 8] === i ? bit : "0")),
            ),
          ),
      )
      .map((all) => all.join(""))
      // The mapped ones are IPv4 addresses in disguise.
      .filter((text) => !(text.length === 128 && text.startsWith("0".repeat(80)))),
    prefix: fc.nat(length),
  });
};
const anyRange = fc.oneof(rangeOf(4), rangeOf(6));

/** Two ranges that often share the first bits. */
const twoRanges = fc
  .tuple(anyRange, anyRange, fc.nat(128), fc.boolean())
  .map(([a, b, shared, areNear]): [Range, Range] => [
    a,
    areNear && a.family === b.family
      ? { ...b, bits: a.bits.slice(0, shared) + b.bits.slice(Math.min(shared, a.bits.length)) }
      : b,
  ])
  .filter(([, { bits: text }]) => !(text.length === 128 && text.startsWith("0".repeat(80))));

function textOf({ bits: all, prefix }: Range): string {
  return `${addressOf(all)}/${prefix}`;
}

/** Dotted octets, or eight groups in full. */
function addressOf(all: string): string {
  return all.length === 32
    ? inGroups(all, 8).join(".")
    : inGroups(all, 16)
        .map((group) => group.toString(16).padStart(4, "0"))
        .join(":");
}

/** The URL standard writes IPv6 as RFC 5952 does. */
function canonicalAddress(all: string): string {
  const address = addressOf(all);
  return all.length === 32 ? address : new URL(`http://[${address}]`).hostname.slice(1, -1);
}

function inGroups(all: string, width: number): number[] {
  return (all.match(new RegExp(`.{${width}}`, "g")) ?? []).map((group) =>
    Number.parseInt(group, 2),
  );
}

/** Addresses, nearly addresses, and anything at all. */
const address = fc.oneof(
  fc.ipV4(),
  fc.ipV4Extended(),
  fc.ipV6(),
  fc.ipV4().map((text) => `::ffff:${text}`),
  fc.ipV4Extended().map((text) => `::ffff:${text}`),
);
const prefix = fc.oneof(
  fc.nat(140).map(String),
  fc.string({ unit: fc.constantFrom(..."0123456789-+.x ") }),
);
const damaged = fc
  .tuple(address, fc.nat(40), fc.nat(1), fc.string({ unit: "binary", maxLength: 2 }))
  .map(([text, at, cut, insert]) => text.slice(0, at) + insert + text.slice(at + cut));
const anyText = fc.oneof(
  address,
  fc.tuple(address, prefix).map(([a, p]) => `${a}/${p}`),
  damaged,
  fc.string({ unit: fc.constantFrom(..."01259abfF.:/%x ٣") }),
  fc.string({ unit: fc.constantFrom("1:", ":", "::", "ffff:", "0.", "1.2.3.4", "/64") }),
  fc.string({ unit: "binary" }),
);

function errorOf(call: () => unknown): Error {
  try {
    call();
  } catch (error) {
    return error as Error;
  }
  throw new Error("It did not throw.");
}
