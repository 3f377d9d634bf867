import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { type Family, parseCidr } from "../../../shared/domain/cidr.ts";
import {
  isFor,
  LEVELS,
  leastLevel,
  levelOf,
  type Ranked,
  rankOf,
  strongestFirst,
} from "../../../shared/domain/rank.ts";

const ADDRESSES = {
  4: ["1.0.0.0/8", "1.1.1.1/32", "1.1.1.0/31", "9.9.9.9/32", "10.9.9.9/32"].map(parseCidr),
  6: ["2001:db8::/64", "2001:db8::1/128"].map(parseCidr),
};

/** Few values of each criterion, so that ties are usual. */
const ranked = (family: Family): fc.Arbitrary<Ranked> =>
  fc.record({
    cidr: fc.constantFrom(...ADDRESSES[family]),
    byOperator: fc.boolean(),
    severity: fc.integer({ min: 1, max: 10 }),
    score: fc.constantFrom(0, 999_999_999_999, 1_800_000_000_000, 10_000_000_000_000),
  });

/** The documented order, criterion by criterion. */
function compare(a: Ranked, b: Ranked): number {
  const byOperator = Number(a.byOperator) - Number(b.byOperator);
  return (
    byOperator || a.severity - b.severity || a.score - b.score || byText(a.cidr.text, b.cidr.text)
  );
}
const byText = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

describe("rankOf", () => {
  test("orders operators' blocks first, then by severity, score, then address", () => {
    fc.assert(
      fc.property(ranked(4), ranked(4), (a, b) => {
        expect(Math.sign(byText(rankOf(a), rankOf(b)))).toBe(Math.sign(compare(a, b)));
      }),
      { numRuns: 5_000 },
    );
  });

  test("names every criterion in as many digits as its greatest value has", () => {
    const block = {
      cidr: parseCidr("203.0.113.9"),
      byOperator: false,
      severity: 5,
      score: 1_800_000_000_000.5,
    };
    expect(rankOf(block)).toBe("4#05#01800000000001#203.0.113.9/32");
  });

  test("begins with the family, as no other family's does", () => {
    fc.assert(
      fc.property(ranked(4), ranked(6), (v4, v6) => {
        expect(rankOf(v4)).toMatch(/^4#/);
        expect(rankOf(v6)).toMatch(/^6#/);
      }),
    );
  });
});

describe("levels", () => {
  test("are all there are, the strongest first", () => {
    fc.assert(
      fc.property(ranked(4), (block) => {
        expect(LEVELS).toContain(levelOf(rankOf(block)));
      }),
    );
    expect(LEVELS).toEqual(LEVELS.toSorted().toReversed());
    expect(LEVELS).toHaveLength(20);
  });

  test("from the least on are for a target: those of as severe blocks, and all of operators", () => {
    fc.assert(
      fc.property(ranked(4), fc.integer({ min: 1, max: 10 }), (block, leastSeverity) => {
        const isRead = levelOf(rankOf(block)) >= leastLevel(leastSeverity);
        expect(isRead).toBe(block.byOperator || block.severity >= leastSeverity);
        expect(isFor(leastSeverity, block)).toBe(isRead);
      }),
    );
  });
});

describe("strongestFirst", () => {
  const MARGIN = 1_000;
  const SCORE = 1_800_000_000_000;
  const block = (address: string, score = SCORE, severity = 5): Ranked => ({
    cidr: parseCidr(address),
    byOperator: false,
    severity,
    score,
  });
  /** The addresses in their order, where those with `*` hold a place. */
  const order = (...blocks: Ranked[]) => ({
    with: (...holders: string[]) =>
      strongestFirst(blocks, ({ text }) => holders.includes(text), MARGIN).map(
        ({ cidr }) => cidr.text,
      ),
  });
  const [A, B, C] = ["203.0.113.1/32", "203.0.113.2/32", "203.0.113.3/32"] as const;

  test("where nobody holds a place, is the order of the ranks", () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(ranked(4), { selector: ({ cidr }) => cidr.text }),
        fc.integer({ min: 0, max: 10_000 }),
        (blocks, margin) => {
          const sorted = blocks.toSorted((a, b) => compare(b, a));
          expect(strongestFirst(blocks, () => false, margin)).toEqual(sorted);
        },
      ),
    );
  });

  test("a holder stays first until a challenger scores higher by more than the margin", () => {
    const against = (lead: number) => order(block(A), block(B, SCORE + lead)).with(A);
    expect(against(0)).toEqual([A, B]);
    expect(against(MARGIN - 1)).toEqual([A, B]);
    expect(against(MARGIN + 1)).toEqual([B, A]);
  });

  test("equals do not swap, whichever of them holds the place", () => {
    for (const holder of [A, B, C]) {
      expect(order(block(A), block(B), block(C)).with(holder)[0]).toBe(holder);
    }
  });

  test("who took a place by the margin needs the same lead to lose it", () => {
    const blocks = [block(A), block(B, SCORE + MARGIN + 1)];
    expect(order(...blocks).with(A)).toEqual([B, A]);
    expect(order(...blocks).with(B)).toEqual([B, A]);
    expect(order(block(A, SCORE + 2 * MARGIN), blocks[1] as Ranked).with(B)).toEqual([B, A]);
  });

  test("among holders the margin changes nothing", () => {
    expect(order(block(A), block(B, SCORE + 1)).with(A, B)).toEqual([B, A]);
  });

  test("a greater severity beats any margin", () => {
    expect(order(block(A, SCORE + 1_000_000, 5), block(B, SCORE, 6)).with(A)).toEqual([B, A]);
  });

  test("answers the blocks as they are, with their own scores", () => {
    const blocks = [block(A), block(B)];
    expect(strongestFirst(blocks, () => true, MARGIN)).toEqual(blocks.toReversed());
  });

  test("two at most as far apart as the margin never take turns, however the place was won", () => {
    const near = fc.integer({ min: 0, max: MARGIN - 1 });
    fc.assert(
      fc.property(near, near, fc.constantFrom(A, B), (leadOfA, leadOfB, first) => {
        const blocks = order(block(A, SCORE + leadOfA), block(B, SCORE + leadOfB));
        expect(blocks.with(first)[0]).toBe(first);
      }),
    );
  });
});
