import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { choose } from "../../../shared/domain/choose.ts";
import {
  type Cidr,
  contains,
  isBlockable,
  overlaps,
  parseCidr,
  size,
  WIDEST_PREFIX,
  widen,
} from "../../../shared/domain/cidr.ts";
import { protect } from "../../../shared/domain/neverBlock.ts";
import { cidrOf, RANGES, strongestThatFit, UNIVERSES, union } from "../../support/ranges.ts";

const texts = (ranges: readonly Cidr[]) => ranges.map(({ text }) => text);
const fit = (
  wanted: readonly string[],
  ranges: number,
  neverBlock: string[] = [],
  maxInnocents = 0,
) =>
  texts(
    choose(
      wanted.map(parseCidr),
      { ranges },
      { neverBlock: protect(neverBlock.map((cidr) => [cidr, "test"])), maxInnocents },
    ),
  );

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
          const neverBlock = protect(
            [...all, ...union(UNIVERSES)]
              .filter((_, index) => pick.includes(index))
              .map((cidr) => [cidr, "test"]),
          );
          const allowed = wanted.filter(
            (one) => !neverBlock.some(({ cidr }) => overlaps(cidr, one)),
          );
          const chosen = choose(allowed, { ranges: room }, { neverBlock, maxInnocents });
          const covered = union(chosen);
          const wantedAddresses = union(allowed);

          expect(chosen.length).toBeLessThanOrEqual(Math.max(room, 0));
          expect(
            neverBlock.filter(({ cidr }) => chosen.some((one) => overlaps(one, cidr))),
          ).toEqual([]);
          const innocents = [...covered].filter((address) => !wantedAddresses.has(address));
          expect(innocents.length).toBeLessThanOrEqual(maxInnocents);
          // Loss never costs the prefix of the ranking that goes without.
          const lossless = choose(allowed, { ranges: room }, { neverBlock, maxInnocents: 0 });
          expect(prefixIn(allowed, chosen)).toBeGreaterThanOrEqual(prefixIn(allowed, lossless));
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test("a range wider than allowed is made only of allowed ones that are each wanted", () => {
    fc.assert(
      fc.property(wideRanking, anyRoom, fc.nat(200_000), (wanted, room, maxInnocents) => {
        for (const range of choose(wanted, { ranges: room }, { neverBlock: [], maxInnocents })) {
          if (isBlockable(range)) continue;
          const parts = wanted
            .filter((one) => contains(range, one))
            .map((one) => widen(one, WIDEST_PREFIX[4]));
          const distinct = [...new Map(parts.map((part) => [part.text, part])).values()];
          expect(distinct.reduce((sum, part) => sum + size(part), 0n)).toBe(size(range));
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("where the target has a say in what fits", () => {
  const NO_MERGING = { neverBlock: [], maxInnocents: 0 };
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
    const merging = { neverBlock: [], maxInnocents: 1_000 };
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
        const chosen = choose(wanted, { ranges: room }, { neverBlock: [], maxInnocents });
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
        const once = choose(wanted, { ranges: room }, { neverBlock: [], maxInnocents });
        expect(wanted).toEqual(given);
        expect(choose(given, { ranges: room }, { neverBlock: [], maxInnocents })).toEqual(once);
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
