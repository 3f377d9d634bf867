import { describe, expect, test } from "@jest/globals";
import { parseCidr } from "../../../shared/domain/cidr.ts";
import { protect, protectedBy, SPECIAL_RANGES } from "../../../shared/domain/neverBlock.ts";

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
