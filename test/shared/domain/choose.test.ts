import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { type Candidate, choose as chooseOf } from "../../../shared/domain/choose.ts";
import {
  type Cidr,
  contains,
  isBlockable,
  overlaps,
  parseCidr,
  size,
  widen,
} from "../../../shared/domain/cidr.ts";
import { cidrOf, RANGES, strongestThatFit, UNIVERSES, union } from "../../support/ranges.ts";

const texts = (ranges: readonly Cidr[]) => ranges.map(({ text }) => text);
/** Wanted by callers who may report as wide a range as any. */
const byAnyone = (cidr: Cidr): Candidate => ({ cidr, leastPrefix: 0 });
const choose = (wanted: readonly Cidr[], ...rest: Tail<Parameters<typeof chooseOf>>) =>
  chooseOf(wanted.map(byAnyone), ...rest);
type Tail<T> = T extends [unknown, ...infer Rest] ? Rest : never;
const fit = (wanted: readonly string[], ranges: number, spared: string[] = [], maxInnocents = 0) =>
  texts(choose(wanted.map(parseCidr), { ranges }, { spared: spared.map(parseCidr), maxInnocents }));

describe("one by one", () => {
  test.each([
    ["what fits stays as it is, in its order", ["203.0.113.1/32", "203.0.113.0/32"], 2],
    ["a range and a part of it too", ["203.0.113.0/31", "203.0.113.0/32"], 2],
    ["nothing wanted is nothing", [], 5],
  ])("%s", (_what, wanted, room) => {
    expect(fit(wanted, room)).toEqual(wanted);
  });

  test("what is named twice takes one place", () => {
    expect(fit(["203.0.113.1/32", "203.0.113.9/32", "203.0.113.1/32"], 2)).toEqual([
      "203.0.113.1/32",
      "203.0.113.9/32",
    ]);
  });

  test.each([0, -1])("room for %d takes nothing", (room) => {
    expect(fit(["203.0.113.1/32"], room, [], 256)).toEqual([]);
  });
});

describe("without loss", () => {
  test.each<[string, string[], number, string[]]>([
    ["siblings merge", ["203.0.113.0/32", "203.0.113.1/32"], 1, ["203.0.113.0/31"]],
    [
      "as far up as they go",
      ["203.0.113.3/32", "203.0.113.0/31", "203.0.113.2/32", "203.0.113.9/32"],
      2,
      ["203.0.113.0/30", "203.0.113.9/32"],
    ],
    [
      "neighbours that are no siblings do not",
      ["203.0.113.1/32", "203.0.113.2/32"],
      1,
      ["203.0.113.1/32"],
    ],
    ["a part is in its range", ["203.0.113.1/32", "203.0.113.0/24"], 1, ["203.0.113.0/24"]],
    ["IPv6 alike", ["2001:db8::/64", "2001:db8:0:1::/64"], 1, ["2001:db8::/63"]],
    [
      "what merges only later still fits as a whole",
      ["203.0.113.0/32", "203.0.113.2/32", "203.0.113.1/32", "203.0.113.3/32"],
      1,
      ["203.0.113.0/30"],
    ],
    [
      "the strongest go first, and a weaker one that costs no place goes along",
      ["203.0.113.0/32", "203.0.113.8/32", "203.0.113.1/32"],
      1,
      ["203.0.113.0/31"],
    ],
    [
      "what makes room makes it for the strongest that waits",
      [0, 2, 64, 128]
        .map((last) => `203.0.113.${last}/32`)
        .toSpliced(4, 0, "203.0.113.0/30", "203.0.113.192/32"),
      2,
      ["203.0.113.0/30", "203.0.113.64/32"],
    ],
    [
      "a merge may make room for one that waited",
      ["203.0.113.0/32", "203.0.113.2/32", "203.0.113.8/32", "203.0.113.0/30", "203.0.113.16/32"],
      2,
      ["203.0.113.0/30", "203.0.113.8/32"],
    ],
  ])("%s", (_what, wanted, room, expected) => {
    expect(fit(wanted, room)).toEqual(expected);
  });

  test("is what brute force over single addresses finds", () => {
    fc.assert(
      fc.property(ranking, anyRoom, ({ universe, wanted }, room) => {
        const expected = room > 0 ? strongestThatFit(universe, wanted, room) : [];
        expect(texts(choose(wanted, { ranges: room })).toSorted()).toEqual(expected);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("under pressure, with innocents", () => {
  test("the nearest ranges merge", () => {
    const wanted = ["203.0.113.1/32", "203.0.113.130/32", "203.0.113.128/32"];
    expect(fit(wanted, 2, [], 1_000)).toEqual(["203.0.113.1/32", "203.0.113.128/30"]);
  });

  test.each([
    [254, ["203.0.113.0/24"]],
    [253, ["203.0.113.1/32"]],
    [0, ["203.0.113.1/32"]],
  ])("a cap of %d holds to the address", (maxInnocents, expected) => {
    expect(fit(["203.0.113.1/32", "203.0.113.254/32"], 1, [], maxInnocents)).toEqual(expected);
  });

  test("the cap is one for all ranges together", () => {
    const wanted = ["203.0.113.0/32", "203.0.113.2/32", "203.0.113.8/32", "203.0.113.10/32"];
    expect(fit(wanted, 2, [], 4)).toEqual(["203.0.113.0/30", "203.0.113.8/30"]);
    expect(fit(wanted, 2, [], 3)).toEqual(["203.0.113.0/30", "203.0.113.8/32"]);
  });

  test("no merge covers a protected address, another one is taken instead", () => {
    const wanted = ["203.0.113.0/32", "203.0.113.2/32", "203.0.113.128/32"];
    expect(fit(wanted, 2, [], 1_000)).toEqual(["203.0.113.0/30", "203.0.113.128/32"]);
    expect(fit(wanted, 2, ["203.0.113.3/32"], 1_000)).toEqual(["203.0.113.0/32", "203.0.113.2/32"]);
    expect(fit([...wanted, "203.0.113.192/32"], 3, ["203.0.113.3/32"], 1_000)).toEqual([
      "203.0.113.0/32",
      "203.0.113.2/32",
      "203.0.113.128/25",
    ]);
  });

  test("no merge is wider than a caller may ask for", () => {
    const apart = ["203.0.0.0/17", "203.1.0.0/17"];
    expect(fit(apart, 1, [], 1_000_000)).toEqual(["203.0.0.0/17"]);
    expect(fit(["203.0.0.0/18", "203.0.128.0/17"], 1, [], 1_000_000)).toEqual(["203.0.0.0/16"]);
  });

  test("a merged range merges on with its sibling: that costs nobody", () => {
    const wanted = ["203.0.113.0/32", "203.0.113.2/32", "203.0.113.4/30", "203.0.113.16/32"];
    expect(fit(wanted, 3, [], 2)).toEqual(["203.0.113.0/29", "203.0.113.16/32"]);
  });

  test("laws, over random rankings", () => {
    fc.assert(
      fc.property(
        ranking,
        anyRoom,
        anyInnocents,
        anyProtected,
        ({ wanted }, room, maxInnocents, pick) => {
          const all = union(wanted);
          const spared = [...all, ...union(UNIVERSES)]
            .filter((_, index) => pick.includes(index))
            .map(cidrOf);
          const chosen = choose(wanted, { ranges: room }, { spared, maxInnocents });
          const covered = union(chosen);

          expect(chosen.length).toBeLessThanOrEqual(Math.max(room, 0));
          const innocents = [...covered].filter((address) => !all.has(address));
          expect(innocents.length).toBeLessThanOrEqual(maxInnocents);
          expect(innocents.filter((address) => union(spared).has(address))).toEqual([]);
          // Loss never costs the prefix of the ranking that goes without.
          const lossless = choose(wanted, { ranges: room }, { spared, maxInnocents: 0 });
          expect(prefixIn(wanted, chosen)).toBeGreaterThanOrEqual(prefixIn(wanted, lossless));
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test("no range is made that is wider than a caller may ask for, though all of it is wanted", () => {
    fc.assert(
      fc.property(wideRanking, anyRoom, fc.nat(200_000), (wanted, room, maxInnocents) => {
        const chosen = choose(wanted, { ranges: room }, { spared: [], maxInnocents });
        expect(chosen.filter((range) => !isBlockable(range))).toEqual([]);
      }),
      { numRuns: 2_000 },
    );
  });

  test("an address that is spared may be covered where it is wanted itself", () => {
    const [range, ...alone] = ["203.0.113.0/30", "203.0.113.2/31"];
    const wanted = ["203.0.113.2/31", "203.0.113.0/32"];
    for (const spared of ["203.0.113.2/31", "203.0.113.3/32", "203.0.113.0/32"])
      expect([spared, ...fit(wanted, 1, [spared], 1)]).toEqual([spared, range]);
    for (const spared of ["203.0.113.1/32", "203.0.113.0/31", "203.0.0.0/16"])
      expect([spared, ...fit(wanted, 1, [spared], 1)]).toEqual([spared, ...alone]);
  });
});

describe("how wide a merged range may be", () => {
  const chosenOf = (
    wanted: readonly (readonly [string, number])[],
    ranges: number,
    innocents = 0,
  ) =>
    texts(
      chooseOf(
        wanted.map(([cidr, leastPrefix]) => ({ cidr: parseCidr(cidr), leastPrefix })),
        { ranges },
        { spared: [], maxInnocents: innocents },
      ),
    );

  test("is for the most trusted of those to say who want what is in it", () => {
    const siblings = (left: number, right: number) =>
      chosenOf([["203.0.113.0/24", left], ["203.0.112.0/24", right]], 1); // biome-ignore format: a table
    expect(siblings(24, 24)).toEqual(["203.0.113.0/24"]);
    expect(siblings(24, 23)).toEqual(["203.0.112.0/23"]);
    expect(siblings(16, 24)).toEqual(["203.0.112.0/23"]);
  });

  test("holds with innocents too", () => {
    const apart = (leastPrefix: number) =>
      chosenOf([["203.0.113.0/32", leastPrefix], ["203.0.113.255/32", 32]], 1, 1_000); // biome-ignore format: a table
    expect(apart(25)).toEqual(["203.0.113.0/32"]);
    expect(apart(24)).toEqual(["203.0.113.0/24"]);
  });

  test("is asked at each step up", () => {
    const four = [0, 1, 2, 3].map((i): [string, number] => [`203.0.113.${i}/32`, 31]);
    expect(chosenOf(four, 2)).toEqual(["203.0.113.0/31", "203.0.113.2/31"]);
    expect(chosenOf(four, 1)).toEqual(["203.0.113.0/31"]);
  });

  test("is what whoever wants a part of a range may ask for", () => {
    const ranges: [string, number][] = [
      ["203.0.113.0/31", 31],
      ["203.0.113.2/31", 31],
      ["203.0.113.9/32", 31],
      ["203.0.113.3/32", 24],
    ];
    expect(chosenOf(ranges.slice(0, 3), 2)).toEqual(["203.0.113.0/31", "203.0.113.2/31"]);
    expect(chosenOf(ranges, 2)).toEqual(["203.0.113.0/30", "203.0.113.9/32"]);
  });

  test("law, over random rankings: no range is wider than the least of what is wanted inside", () => {
    fc.assert(
      fc.property(limitedRanking, anyRoom, anyInnocents, (wanted, room, maxInnocents) => {
        const chosen = chooseOf(wanted, { ranges: room }, { spared: [], maxInnocents });
        const tooWide = chosen.filter((range) => {
          const inside = wanted.filter(({ cidr }) => contains(range, cidr));
          const isWanted = inside.some(({ cidr }) => cidr.text === range.text);
          return !isWanted && range.prefix < Math.min(...inside.map((one) => one.leastPrefix));
        });
        expect(texts(tooWide)).toEqual([]);
        expect(chosen.length).toBeLessThanOrEqual(room);
        const strongest = wanted[0]?.cidr;
        if (strongest && room > 0)
          expect(chosen.some((range) => contains(range, strongest))).toBe(true);
      }),
      { numRuns: 3_000 },
    );
  });
});

describe("where the target has a say in what fits", () => {
  const NO_MERGING = { spared: [], maxInnocents: 0 };
  const chosen = (
    wanted: readonly string[],
    ranges: number,
    fits: (ranges: readonly Cidr[]) => boolean,
    maxInnocents = 0,
  ) => texts(choose(wanted.map(parseCidr), { ranges, fits }, { ...NO_MERGING, maxInnocents }));
  const without = (text: string) => (ranges: readonly Cidr[]) => !texts(ranges).includes(text);

  test("what finds no place even alone does not make the others merge", () => {
    const wanted = ["203.0.113.9/32", "203.0.113.0/32", "203.0.113.1/32"];
    expect(chosen(wanted, 2, without("203.0.113.9/32"))).toEqual(wanted.slice(1));
    expect(chosen(wanted, 2, without("203.0.113.9/32"), 1_000)).toEqual(wanted.slice(1));
    expect(chosen(wanted, 2, () => false, 1_000)).toEqual([]);
  });

  test("the strongest that fit together are chosen, and a weaker one that fits as well", () => {
    const wanted = ["203.0.113.0/32", "203.0.113.4/32", "203.0.113.8/32"];
    const notBoth = (ranges: readonly Cidr[]) =>
      !wanted.slice(0, 2).every((text) => texts(ranges).includes(text));
    expect(chosen(wanted, 3, notBoth)).toEqual(["203.0.113.0/32", "203.0.113.8/32"]);
    expect(chosen(wanted.toReversed(), 3, notBoth)).toEqual(["203.0.113.8/32", "203.0.113.4/32"]);
  });

  test("they merge where that makes them fit, though there is room for as many ranges", () => {
    const wanted = ["203.0.113.0/32", "203.0.113.1/32", "203.0.113.8/32"];
    const atMostTwo = (ranges: readonly Cidr[]) => ranges.length <= 2;
    expect(chosen(wanted, 3, atMostTwo)).toEqual(["203.0.113.0/31", "203.0.113.8/32"]);
  });

  test("a merged range that finds no place is not chosen", () => {
    const wanted = ["203.0.113.0/32", "203.0.113.1/32", "203.0.113.8/32"];
    expect(chosen(wanted, 2, without("203.0.113.0/31"))).toEqual([
      "203.0.113.0/32",
      "203.0.113.8/32",
    ]);
    const apart = ["203.0.113.0/32", "203.0.113.2/32"];
    expect(chosen(apart, 1, without("203.0.113.0/30"), 1_000)).toEqual(["203.0.113.0/32"]);
  });

  test("laws, over random rankings: all fits, and the strongest that has a place has one", () => {
    fc.assert(
      fc.property(
        ranking,
        anyRoom,
        anyInnocents,
        fc.nat(7),
        ({ wanted }, room, maxInnocents, n) => {
          // Wider ranges take more of the place, as if each were several entries.
          const fits = (ranges: readonly Cidr[]) =>
            ranges.reduce((sum, one) => sum + Math.log2(Number(size(one))) + 1, 0) <= n;
          const answer = choose(wanted, { ranges: room, fits }, { ...NO_MERGING, maxInnocents });
          expect(answer.length).toBeLessThanOrEqual(room);
          expect(fits(answer)).toBe(true);
          const strongest = wanted.find((one) => fits([one]));
          if (!strongest || room === 0) expect(answer).toEqual([]);
          else expect(answer.some((range) => contains(range, strongest))).toBe(true);
        },
      ),
      { numRuns: 2_000 },
    );
  });
});

describe("a large room", () => {
  const addresses = Array.from({ length: 300 }, (_, index) =>
    parseCidr(`198.51.${100 + (index >> 8)}.${index & 255}`),
  );

  test("of 200 ranges takes the strongest, unmerged", () => {
    const merging = { spared: [], maxInnocents: 1_000 };
    expect(choose(addresses, { ranges: 200 }, merging)).toEqual(addresses.slice(0, 200));
  });

  test("of one fewer merges what is nearest", () => {
    const some = choose(addresses, { ranges: 199 });
    expect(union(some).size).toBe(200);
    expect(some.length).toBeLessThan(200);
  });
});

describe("the answer", () => {
  test("is ordered by the strongest block in each range, shares no address, has no siblings", () => {
    fc.assert(
      fc.property(ranking, anyRoom, anyInnocents, ({ wanted }, room, maxInnocents) => {
        fc.pre(new Set(texts(wanted)).size > room);
        const chosen = choose(wanted, { ranges: room }, { spared: [], maxInnocents });
        const ranks = chosen.map((range) => wanted.findIndex((one) => contains(range, one)));
        expect(ranks).toEqual(ranks.toSorted((a, b) => a - b));
        expect(ranks).not.toContain(-1);
        const related = chosen.flatMap((one, index) =>
          chosen
            .slice(index + 1)
            .filter((other) => overlaps(one, other) || parentOf(one) === parentOf(other)),
        );
        expect(related).toEqual([]);
      }),
      { numRuns: 2_000 },
    );
  });

  test("is the same for the same question", () => {
    fc.assert(
      fc.property(ranking, anyRoom, anyInnocents, ({ wanted }, room, maxInnocents) => {
        const given = structuredClone(wanted);
        const once = choose(wanted, { ranges: room }, { spared: [], maxInnocents });
        expect(wanted).toEqual(given);
        expect(choose(given, { ranges: room }, { spared: [], maxInnocents })).toEqual(once);
      }),
    );
  });
});

/** A ranking of ranges of one universe; they nest and touch. */
const ranking = fc.oneof(
  ...UNIVERSES.map((universe) => {
    const inside = RANGES.map(cidrOf).filter((cidr) => contains(universe, cidr));
    return fc.record({
      universe: fc.constant(universe),
      wanted: fc.shuffledSubarray(inside, { minLength: 1 }),
    });
  }),
);
/** The same, each by a caller with limits of its own. */
const limitedRanking = ranking.chain(({ wanted }) =>
  fc.array(fc.nat(4), { minLength: wanted.length, maxLength: wanted.length }).map((wider) =>
    wanted.map((cidr, index): Candidate => {
      const bits = cidr.family === 4 ? 32 : 128;
      return { cidr, leastPrefix: bits - (wider[index] ?? 0) };
    }),
  ),
);
const anyRoom = fc.integer({ min: 0, max: 7 });
const anyInnocents = fc.integer({ min: 0, max: 16 });
const anyProtected = fc.array(fc.nat(40), { maxLength: 2 });

/** Halves and quarters of four neighbouring /16, and these themselves. */
const wideRanking = fc.shuffledSubarray(
  [0, 1, 2, 3].flatMap((i) =>
    [`.0.0/16`, ".0.0/17", ".128.0/17", ".192.0/18"].map((rest) => parseCidr(`203.${i}${rest}`)),
  ),
  { minLength: 1 },
);

/** How many of the strongest are covered, before the first that is not. */
function prefixIn(ranked: readonly Cidr[], ranges: readonly Cidr[]): number {
  const first = ranked.findIndex((one) => !ranges.some((range) => contains(range, one)));
  return first < 0 ? ranked.length : first;
}
/** Siblings, and only these, have one in common. */
const parentOf = (range: Cidr) => widen(range, range.prefix - 1).text;
