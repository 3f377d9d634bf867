import { expect, test } from "@jest/globals";
import fc from "fast-check";
import type { Family } from "../../../shared/domain/cidr.ts";
import { type Ranked, rankOf } from "../../../shared/domain/rank.ts";

/** Few values of each criterion, so that ties are usual. */
const ranked = (family: Family): fc.Arbitrary<Ranked> =>
  fc.record({
    family: fc.constant(family),
    cidr: fc.constantFrom("1.0.0.0/8", "1.1.1.1/32", "1.1.1.1/3", "9.9.9.9/32", "10.9.9.9/32"),
    severity: fc.integer({ min: 1, max: 10 }),
    strikes: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 995, max: 1005 })),
    firstSeenAt: fc.constantFrom(0, 999_999_999_999, 1_800_000_000_000, 9_999_999_999_999),
  });

/** The documented order, criterion by criterion. */
function compare(a: Ranked, b: Ranked): number {
  return (
    a.severity - b.severity ||
    Math.min(a.strikes, 999) - Math.min(b.strikes, 999) ||
    a.firstSeenAt - b.firstSeenAt ||
    byText(a.cidr, b.cidr)
  );
}
const byText = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

test("the order of the strings is severity, strikes, recency, address", () => {
  fc.assert(
    fc.property(ranked(4), ranked(4), (a, b) => {
      expect(Math.sign(byText(rankOf(a), rankOf(b)))).toBe(Math.sign(compare(a, b)));
    }),
    { numRuns: 5_000 },
  );
});

test("the ranks of a family share a beginning that no other family's rank has", () => {
  fc.assert(
    fc.property(ranked(4), ranked(6), (v4, v6) => {
      expect(rankOf(v4)).toMatch(/^4#/);
      expect(rankOf(v6)).toMatch(/^6#/);
    }),
  );
});
