import { setTimeout as pause } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import {
  createLastKnown,
  createNeverBlock,
  createNeverBlockParser,
} from "../../../shared/aws/neverBlock.ts";
import type { KnownPrefixLists, PrefixRanges } from "../../../shared/aws/prefixLists.ts";
import type { Addition } from "../../../shared/aws/table/additions.ts";
import { InvalidAddressError, parseCidr } from "../../../shared/domain/cidr.ts";
import { type NeverBlock, protectedBy, SPECIAL_RANGES } from "../../../shared/domain/neverBlock.ts";

const NAME = "/portcullis/local/never-block";

/** A parameter store that holds the list alone. */
const storing = (value: string | Error) => ({
  async get(name: string) {
    if (value instanceof Error) throw value;
    if (name !== NAME) throw new Error(`The parameter ${name} does not exist.`);
    return value;
  },
});
const log = { error: () => {} };
const added = async () => NOTHING_ADDED;
const NOTHING_ADDED: Addition[] = [];
const parseNeverBlock = (
  value: string,
  ownRanges: string[],
  additions = NOTHING_ADDED,
  prefixRanges: PrefixRanges = new Map(),
) => createNeverBlockParser()(value, additions, ownRanges, prefixRanges);
const whyNot = (list: NeverBlock, cidr: string) => protectedBy(list, parseCidr(cidr))?.why;

describe("parseNeverBlock", () => {
  test("is the special ranges, the owner's list and the VPC's own ranges", async () => {
    const list = parseNeverBlock("203.0.113.9, 2001:db8:1::/48", ["11.0.0.0/16", "2600:1f18::/56"]);
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
    const list = parseNeverBlock(value, []);
    expect(list.slice(SPECIAL_RANGES.length).map(({ cidr }) => cidr.text)).toEqual([
      "203.0.113.9/32",
      "203.0.113.10/32",
    ]);
  });

  test("names a single address of our own as the account's: a VPC has more than one", () => {
    const list = parseNeverBlock("none", ["198.51.100.7/32", "11.0.0.0/16"]);
    expect(whyNot(list, "198.51.100.7")).toBe("the account's own address");
    expect(whyNot(list, "11.0.0.1")).toBe("the VPC's own range");
  });

  test("has what operators have added beside the parameter's, and nothing else of theirs", () => {
    const additions = [{ sk: "never-block#198.51.100.7/32" }, { sk: "caller#zeek" }];
    const list = parseNeverBlock("203.0.113.9", [], additions);
    expect(list.length).toBe(SPECIAL_RANGES.length + 2);
    expect(whyNot(list, "198.51.100.7")).toBe("on the never-block list");
    const broken = [{ sk: "never-block#office" }];
    expect(() => parseNeverBlock("none", [], broken)).toThrow(InvalidAddressError);
  });

  test("a prefix list's id, from either place, stands for its ranges; those of no other list", () => {
    const ranges = new Map([
      ["pl-0123456789abcdef0", ["198.51.100.0/28", "2001:db8:1::/48"]],
      ["pl-12345678", ["192.0.2.0/28"]],
      ["pl-23456789", ["203.0.113.0/24"]],
    ]);
    const additions = [{ sk: "never-block#pl-12345678" }];
    const list = parseNeverBlock("pl-0123456789abcdef0 203.0.113.9", [], additions, ranges);
    const why = "on the never-block list";
    expect(whyNot(list, "198.51.100.7")).toBe(`${why}: in pl-0123456789abcdef0`);
    expect(whyNot(list, "2001:db8:1::7")).toBe(`${why}: in pl-0123456789abcdef0`);
    expect(whyNot(list, "192.0.2.7")).toBe(`${why}: in pl-12345678`);
    expect(whyNot(list, "203.0.113.9")).toBe(why);
    expect(whyNot(list, "203.0.113.10")).toBeUndefined();
    for (const none of ["pl-", "pl-123", "pl-0123456789ABCDEF0", "pl-office"])
      expect(() => parseNeverBlock(none, [])).toThrow(InvalidAddressError);
  });

  test("is the same list as long as nothing changes: it is parsed once", () => {
    const parse = createNeverBlockParser();
    const once = parse("203.0.113.9", NOTHING_ADDED, ["11.0.0.0/16"]);
    const other = parse("203.0.113.9", NOTHING_ADDED, ["12.0.0.0/16"]);
    expect(parse("203.0.113.9", NOTHING_ADDED, ["11.0.0.0/16"])).toBe(once);
    expect(parse("203.0.113.9", NOTHING_ADDED, ["12.0.0.0/16"])).toBe(other);
    expect(parse("203.0.113.9", [], ["11.0.0.0/16"])).not.toBe(once);
    const ranges = new Map([["pl-12345678", ["192.0.2.0/28"]]]);
    const named = parse("pl-12345678", NOTHING_ADDED, [], ranges);
    expect(parse("pl-12345678", NOTHING_ADDED, [], ranges)).toBe(named);
    expect(parse("pl-12345678", NOTHING_ADDED, [], new Map())).not.toBe(named);
  });

  test.each(["none", "", " , "])("%j is an empty list", async (value) => {
    expect(parseNeverBlock(value, [])).toEqual(SPECIAL_RANGES);
  });

  test.each(["office", "203.0.113.9,203.0.113", "203.0.113.9;203.0.113.10", "203.0.113.09"])(
    "a list that cannot be trusted, %j, is not taken for a shorter one",
    async (value) => {
      expect(() => parseNeverBlock(value, [])).toThrow(InvalidAddressError);
    },
  );
});

describe("createNeverBlock", () => {
  let reads: number;
  let vpcCidrs: string[] | Error;
  let prefixLists: Record<string, string[]>;
  beforeEach(() => {
    reads = 0;
    vpcCidrs = ["11.0.0.0/16"];
    prefixLists = {};
  });
  const states = {
    async readNetworks() {
      reads++;
      if (vpcCidrs instanceof Error) throw vpcCidrs;
      const acls = vpcCidrs.length > 0 ? { "acl-12345678": vpcCidrs } : {};
      return new Map(Object.entries({ ...acls, ...prefixLists }));
    },
  };

  test("has the ranges of all recorded networks, which it does not read each time", async () => {
    const neverBlock = createNeverBlock(storing("none"), NAME, added, states, log, Date.now);
    vpcCidrs = ["11.0.0.0/16", "2600:1f18::/56"];
    for (const own of ["11.0.0.1", "2600:1f18::1"]) {
      expect(whyNot(await neverBlock(), own)).toBe("the VPC's own range");
    }
    expect(reads).toBe(1);
  });

  test("has of the recorded prefix lists those that the owner names", async () => {
    prefixLists = { "pl-12345678": ["192.0.2.0/28"], "pl-23456789": ["198.51.100.0/28"] };
    const value = "pl-12345678,pl-34567890";
    const neverBlock = createNeverBlock(storing(value), NAME, added, states, log, Date.now);
    const list = await neverBlock();
    expect(whyNot(list, "192.0.2.1")).toBe("on the never-block list: in pl-12345678");
    expect(whyNot(list, "198.51.100.1")).toBeUndefined();
    expect(whyNot(list, "11.0.0.1")).toBe("the VPC's own range");
    expect(await neverBlock()).toBe(list);
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
      const neverBlock = createNeverBlock(
        storing("203.0.113.9"),
        NAME,
        added,
        states,
        log,
        Date.now,
      );
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

    test("has the VPC's ranges a second after the enforcer has seen them, and not a minute", async () => {
      const neverBlock = createNeverBlock(storing("none"), NAME, added, states, log, Date.now);
      const recorded = vpcCidrs;
      vpcCidrs = [];
      prefixLists = { account: ["198.51.100.7/32"], "pl-12345678": ["192.0.2.0/28"] };
      expect(whyNot(await neverBlock(), "11.0.0.1")).toBeUndefined();
      vpcCidrs = recorded;
      await pass(1_001);
      expect(whyNot(await neverBlock(), "11.0.0.1")).toBe("the VPC's own range");
    });

    test("has the VPC's ranges that it knew before", async () => {
      const neverBlock = createNeverBlock(storing("none"), NAME, added, states, log, Date.now);
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
    const neverBlock = createNeverBlock(
      storing(new Error("The store is down.")),
      NAME,
      added,
      states,
      log,
      Date.now,
    );
    await expect(neverBlock()).rejects.toThrow("The store is down.");
  });

  test("is the special ranges and the owner's list before the first converge", async () => {
    vpcCidrs = [];
    const neverBlock = createNeverBlock(storing("203.0.113.9"), NAME, added, states, log, Date.now);
    expect((await neverBlock()).length).toBe(SPECIAL_RANGES.length + 1);
  });
});

describe("createLastKnown", () => {
  const HOUR = 3_600_000;
  let now: number;
  let stored: string | Error;
  let additions: Addition[];
  let inTable: { value: string; readAt: number } | undefined;
  let writes: number;
  let logged: string[];
  let known: KnownPrefixLists | Error;
  let asked: (readonly string[])[];
  beforeEach(() => {
    now = 1_800_000_000_000;
    known = { ranges: new Map(), isCurrent: true };
    asked = [];
    stored = "203.0.113.9";
    inTable = undefined;
    additions = [];
    writes = 0;
    logged = [];
  });
  const down = new Error("Rate exceeded");
  const states = {
    readOwnersList: async () => inTable,
    async writeOwnersList(list: NonNullable<typeof inTable>) {
      writes++;
      inTable = list;
    },
  };
  const line = (message: unknown) => void logged.push(String(message));
  const log = { warn: line, error: line } as never;
  /** An instance that has read nothing yet. */
  const instance = (table = states) =>
    createLastKnown(
      { get: (name) => storing(stored).get(name) },
      NAME,
      async () => additions,
      async (ids) => {
        asked.push(ids);
        if (known instanceof Error) throw known;
        return known;
      },
      table,
      log,
      () => now,
    );
  const isListed = async (neverBlock: ReturnType<typeof instance>, cidr = "203.0.113.9") => {
    const { list, isCurrent } = await neverBlock(["11.0.0.0/16"]);
    expect(whyNot(list, "11.0.0.1")).toBe("the VPC's own range");
    return [whyNot(list, cidr) === "on the never-block list", isCurrent];
  };

  test("is the list as the store has it, and is recorded where it changes, or once an hour", async () => {
    const neverBlock = instance();
    expect(await isListed(neverBlock)).toEqual([true, true]);
    now += HOUR - 1;
    await neverBlock([]);
    expect([writes, inTable]).toEqual([1, { value: "203.0.113.9", readAt: now - HOUR + 1 }]);
    now += 1;
    await neverBlock([]);
    expect(writes).toBe(2);
    stored = "203.0.113.10";
    expect(await isListed(neverBlock)).toEqual([false, true]);
    expect([writes, inTable?.value]).toEqual([3, "203.0.113.10"]);
  });

  test.each([
    ["an instance that has read it", (warm: ReturnType<typeof instance>) => warm],
    ["one that never has", () => instance()],
  ])("while the store cannot be read, is what was read last, for a day: %s", async (_who, of) => {
    const warm = instance();
    await warm([]);
    stored = down;
    const neverBlock = of(warm);
    now += 24 * HOUR;
    expect(await isListed(neverBlock)).toEqual([true, false]);
    expect(logged).toEqual(["The never-block list cannot be read"]);
    now += 1;
    await expect(neverBlock([])).rejects.toThrow(down);
    stored = "none";
    expect(await isListed(neverBlock)).toEqual([false, true]);
  });

  test("has what operators have added, also while the store cannot be read", async () => {
    const neverBlock = instance();
    await neverBlock([]);
    additions = [{ sk: "never-block#198.51.100.7/32" }];
    stored = down;
    expect(await isListed(neverBlock, "198.51.100.7")).toEqual([true, false]);
    additions = [];
    expect(await isListed(neverBlock, "198.51.100.7")).toEqual([false, false]);
  });

  test("has the ranges of the prefix lists on it, each asked for once, also while the store is down", async () => {
    const neverBlock = instance();
    stored = "pl-12345678 203.0.113.9,pl-01234567";
    additions = [{ sk: "never-block#pl-12345678" }, { sk: "never-block#pl-23456789" }];
    known = { ranges: new Map([["pl-23456789", ["192.0.2.0/28"]]]), isCurrent: true };
    const { list, isCurrent } = await neverBlock([]);
    expect(asked).toEqual([["pl-01234567", "pl-12345678", "pl-23456789"]]);
    expect([whyNot(list, "192.0.2.1"), isCurrent]).toEqual([
      "on the never-block list: in pl-23456789",
      true,
    ]);
    stored = down;
    const later = await neverBlock([]);
    expect(asked[1]).toEqual(asked[0]);
    expect([whyNot(later.list, "192.0.2.1"), later.isCurrent]).toEqual([
      "on the never-block list: in pl-23456789",
      false,
    ]);
  });

  test("is not current while a prefix list is not, and fails where one has never been read", async () => {
    const neverBlock = instance();
    known = { ranges: new Map(), isCurrent: false };
    expect(await isListed(neverBlock)).toEqual([true, false]);
    known = new Error("Never read: pl-12345678.");
    await expect(neverBlock([])).rejects.toThrow("Never read: pl-12345678.");
  });

  test("fails where nothing was ever read, or the table fails too: no list is no empty list", async () => {
    stored = down;
    await expect(instance()([])).rejects.toThrow(down);
    const readOwnersList = async () => {
      throw new Error("The table is down.");
    };
    await expect(instance({ ...states, readOwnersList })([])).rejects.toThrow("The table is down.");
  });

  test("a list that cannot be trusted is not recorded, nor does the one before it hold", async () => {
    const neverBlock = instance();
    await neverBlock([]);
    stored = "office";
    await expect(neverBlock([])).rejects.toThrow(InvalidAddressError);
    expect(inTable?.value).toBe("203.0.113.9");
  });

  test("holds though it cannot be recorded, which is tried again", async () => {
    const { writeOwnersList } = states;
    let isDown = true;
    const table = {
      ...states,
      async writeOwnersList(list: NonNullable<typeof inTable>) {
        if (isDown) throw new Error("The table is down.");
        await writeOwnersList(list);
      },
    };
    const neverBlock = instance(table);
    expect(await isListed(neverBlock)).toEqual([true, true]);
    expect(logged).toEqual(["The never-block list could not be recorded"]);
    isDown = false;
    await neverBlock([]);
    expect(writes).toBe(1);
  });
});
