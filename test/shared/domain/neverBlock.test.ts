import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { type Cidr, contains, overlaps, parseCidr } from "../../../shared/domain/cidr.ts";
import {
  type NeverBlock,
  protect,
  protectedBy,
  SPECIAL_RANGES,
} from "../../../shared/domain/neverBlock.ts";

const whyNot = (cidr: string) => protectedBy(SPECIAL_RANGES, parseCidr(cidr))?.why;

describe("the special ranges", () => {
  test.each([
    ["0.0.0.0", "this network"],
    ["10.1.2.3", "private range"],
    ["100.64.0.1", "shared range of carriers"],
    ["127.0.0.1", "loopback"],
    ["169.254.169.254", "link-local"],
    ["172.16.0.1", "private range"],
    ["172.31.255.255", "private range"],
    ["192.0.0.8", "protocol assignments"],
    ["192.168.1.1", "private range"],
    ["198.19.255.255", "benchmarking range"],
    ["224.0.0.1", "multicast"],
    ["239.255.255.255", "multicast"],
    ["240.0.0.1", "reserved range"],
    ["255.255.255.255", "reserved range"],
    ["::", "unspecified address"],
    ["::1", "loopback"],
    ["64:ff9b::203.0.113.9", "NAT64 range"],
    ["fc00::1", "private range"],
    ["fdff::1", "private range"],
    ["fe80::1", "link-local"],
    ["fec0::1", "not global unicast"],
    ["ff02::1", "multicast"],
    ["100::1", "not global unicast"],
    ["1fff::1", "not global unicast"],
    ["4000::1", "not global unicast"],
    ["8000::1", "not global unicast"],
  ])("%s is protected: %s", (address, why) => {
    expect(whyNot(address)).toBe(why);
  });

  test.each([
    "1.0.0.0",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2000::",
    "3fff:ffff::",
  ])("%s, a neighbour of a special range, is not", (address) => {
    expect(whyNot(address)).toBeUndefined();
  });

  test.each(["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1"])(
    "%s, of the documentation ranges, is not",
    (address) => {
      expect(whyNot(address)).toBeUndefined();
    },
  );
});

/** Ranges that are likely to meet: few networks, all prefixes. */
const range = fc
  .tuple(
    fc.boolean(),
    fc.integer({ min: 0, max: 3 }),
    fc.integer({ min: 0, max: 15 }),
    fc.integer({ min: 0, max: 32 }),
  )
  .map(([isIpv6, a, b, prefix]) =>
    isIpv6 ? `2001:db8:${a}::${b}/${prefix * 4}` : `203.0.${a}.${b}/${prefix}`,
  );

describe("protectedBy", () => {
  const owners = protect([
    ["203.0.113.9", "office"],
    ["2001:db8:1::/48", "home"],
  ]);
  const why = (cidr: string) => protectedBy(owners, parseCidr(cidr))?.why;

  test("refuses a protected address, whatever its form", () => {
    expect(why("203.0.113.9")).toBe("office");
    expect(why("::ffff:203.0.113.9")).toBe("office");
  });

  test("refuses what lies inside a protected range", () => {
    expect(why("2001:db8:1:2::/64")).toBe("home");
  });

  test("refuses a range that merely contains a protected address", () => {
    expect(why("203.0.113.0/24")).toBe("office");
    expect(why("2001:db8::/32")).toBe("home");
  });

  test("lets go what shares no address with the list", () => {
    expect(why("203.0.113.8")).toBeUndefined();
    expect(why("203.0.113.10/31")).toBeUndefined();
    expect(why("2001:db8:2::/48")).toBeUndefined();
  });

  test("names of ranges that lie in each other the one that is listed first", () => {
    const nested = protect([
      ["203.0.113.8/29", "rack"],
      ["203.0.113.0/24", "office"],
      ["203.0.113.0/24", "once more"],
    ]);
    const whyIn = (cidr: string) => protectedBy(nested, parseCidr(cidr))?.why;
    expect([whyIn("203.0.113.9"), whyIn("203.0.113.99")]).toEqual(["rack", "office"]);
  });

  // The documented meaning, one range after the other.
  const isProtected = (list: NeverBlock, cidr: Cidr) =>
    list.some((range) => overlaps(range.cidr, cidr));

  test("says of any list and range what a look at each of its ranges says", () => {
    fc.assert(
      fc.property(fc.array(range, { maxLength: 40 }), range, (texts, text) => {
        const list = protect(texts.map((one) => [one, one]));
        const cidr = parseCidr(text);
        const found = protectedBy(list, cidr);
        expect(found !== undefined).toBe(isProtected(list, cidr));
        if (!found) return;
        expect(list).toContain(found);
        expect(overlaps(found.cidr, cidr)).toBe(true);
        const nested = list.filter(
          (one) => contains(one.cidr, found.cidr) || contains(found.cidr, one.cidr),
        );
        expect(nested.find((one) => overlaps(one.cidr, cidr))?.why).toBe(found.why);
      }),
      { numRuns: 2_000 },
    );
  });

  test("of 10,000 ranges takes a handful of comparisons", () => {
    const texts = Array.from({ length: 10_000 }, (_, n) => `45.${n >> 8}.${n & 255}.7`);
    const list = protect(texts.map((text) => [text, text]));
    let looks = 0;
    const watched = list.map((one) => ({
      why: one.why,
      get cidr() {
        looks++;
        return one.cidr;
      },
    }));
    protectedBy(watched, parseCidr("45.3.3.8")); // makes the index
    looks = 0;
    expect(protectedBy(watched, parseCidr("45.3.3.7"))?.why).toBe("45.3.3.7");
    expect(looks).toBeLessThan(20);
  });

  test("protects nothing with an empty list", () => {
    expect(protectedBy([], parseCidr("10.0.0.1"))).toBeUndefined();
  });
});

test("protect refuses what is no address: a list that cannot be read must not be a shorter one", () => {
  expect(() =>
    protect([
      ["203.0.113.9", "office"],
      ["office.example", "office"],
    ]),
  ).toThrow('"office.example" is not');
});
