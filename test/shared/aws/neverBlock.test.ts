import { setTimeout as pause } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { createNeverBlock, readNeverBlock } from "../../../shared/aws/neverBlock.ts";
import { InvalidAddressError, parseCidr } from "../../../shared/domain/cidr.ts";
import { type NeverBlock, protectedBy, SPECIAL_RANGES } from "../../../shared/domain/neverBlock.ts";

const NAME = "/portcullis/dev/never-block";

/** A parameter store that holds the list alone. */
const storing = (value: string | Error) => ({
  async get(name: string) {
    if (value instanceof Error) throw value;
    if (name !== NAME) throw new Error(`The parameter ${name} does not exist.`);
    return value;
  },
});
const whyNot = (list: NeverBlock, cidr: string) => protectedBy(list, parseCidr(cidr))?.why;

describe("readNeverBlock", () => {
  test("is the special ranges, the owner's list and the VPC's own ranges", async () => {
    const list = await readNeverBlock(storing("203.0.113.9, 2001:db8:1::/48"), NAME, [
      "11.0.0.0/16",
      "2600:1f18::/56",
    ]);
    expect(whyNot(list, "10.0.0.1")).toBe("private range");
    expect(whyNot(list, "203.0.113.9")).toBe("on the never-block list");
    expect(whyNot(list, "2001:db8:1:2::/64")).toBe("on the never-block list");
    expect(whyNot(list, "11.0.3.4")).toBe("the VPC's own range");
    expect(whyNot(list, "2600:1f18::1")).toBe("the VPC's own range");
    expect(whyNot(list, "203.0.113.10")).toBeUndefined();
  });

  test.each([
    "203.0.113.9,203.0.113.10",
    "203.0.113.9 203.0.113.10",
    " 203.0.113.9 ,\n\t203.0.113.10,, ",
    "none,203.0.113.9,203.0.113.10",
  ])("takes commas and white space between addresses: %j", async (value) => {
    const list = await readNeverBlock(storing(value), NAME, []);
    expect(list.slice(SPECIAL_RANGES.length).map(({ cidr }) => cidr.text)).toEqual([
      "203.0.113.9/32",
      "203.0.113.10/32",
    ]);
  });

  test.each(["none", "", " , "])("%j is an empty list", async (value) => {
    expect(await readNeverBlock(storing(value), NAME, [])).toEqual(SPECIAL_RANGES);
  });

  test.each(["office", "203.0.113.9,203.0.113", "203.0.113.9;203.0.113.10", "203.0.113.09"])(
    "a list that cannot be trusted, %j, is not taken for a shorter one",
    async (value) => {
      await expect(readNeverBlock(storing(value), NAME, [])).rejects.toThrow(InvalidAddressError);
    },
  );

  test("a store that fails is no empty list either", async () => {
    const failing = storing(new Error("The parameter store is down."));
    await expect(readNeverBlock(failing, NAME, [])).rejects.toThrow("The parameter store is down.");
  });
});

describe("createNeverBlock", () => {
  let reads: number;
  let vpcCidrs: string[] | Error;
  beforeEach(() => {
    reads = 0;
    vpcCidrs = ["11.0.0.0/16"];
  });
  const states = {
    async readNetworks() {
      reads++;
      if (vpcCidrs instanceof Error) throw vpcCidrs;
      return [...vpcCidrs];
    },
  };

  test("has the ranges of all recorded networks, which it does not read each time", async () => {
    const neverBlock = createNeverBlock(storing("none"), NAME, states);
    vpcCidrs = ["11.0.0.0/16", "2600:1f18::/56"];
    for (const own of ["11.0.0.1", "2600:1f18::1"]) {
      expect(whyNot(await neverBlock(), own)).toBe("the VPC's own range");
    }
    expect(reads).toBe(1);
  });

  describe("while the networks cannot be read", () => {
    let pass: (ms: number) => Promise<void>;
    beforeEach(() => {
      let now = 1_000;
      jest.spyOn(performance, "now").mockImplementation(() => now);
      pass = async (ms) => {
        now += ms;
        await pause(5); // the memory looks at its clock once a millisecond
      };
    });
    afterEach(() => {
      jest.restoreAllMocks();
    });

    test("is the owner's list, and reads the networks again two seconds later", async () => {
      const neverBlock = createNeverBlock(storing("203.0.113.9"), NAME, states);
      vpcCidrs = new Error("The table is down.");
      const list = await neverBlock();
      expect(whyNot(list, "203.0.113.9")).toBe("on the never-block list");
      expect(whyNot(list, "11.0.0.1")).toBeUndefined();
      vpcCidrs = ["11.0.0.0/16"];
      await pass(2_000);
      await neverBlock();
      expect(reads).toBe(1);
      await pass(1);
      expect(whyNot(await neverBlock(), "11.0.0.1")).toBe("the VPC's own range");
    });

    test("has the VPC's ranges that it knew before", async () => {
      const neverBlock = createNeverBlock(storing("none"), NAME, states);
      await neverBlock();
      vpcCidrs = new Error("The table is down.");
      for (const age of [60_001, 2_001, 2_001]) {
        await pass(age);
        expect(whyNot(await neverBlock(), "11.0.0.1")).toBe("the VPC's own range");
      }
      expect(reads).toBe(4);
    });
  });

  test("fails while the owner's list cannot be read, whatever the networks are", async () => {
    const neverBlock = createNeverBlock(storing(new Error("The store is down.")), NAME, states);
    await expect(neverBlock()).rejects.toThrow("The store is down.");
  });

  test("is the special ranges and the owner's list before the first converge", async () => {
    vpcCidrs = [];
    const neverBlock = createNeverBlock(storing("203.0.113.9"), NAME, states);
    expect((await neverBlock()).length).toBe(SPECIAL_RANGES.length + 1);
  });
});
