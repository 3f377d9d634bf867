import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { addReports, type Score } from "../../../shared/domain/score.ts";
import { NOW } from "../../support/reports.ts";

const HALF_LIFE = 60_000;

type Made = { readonly at: number; readonly count: number };

/** Reports over an hour: some at once, some many half-lives apart. */
const reports = fc.array(
  fc.record({
    at: fc.oneof(fc.nat(3_600_000), fc.nat(10)),
    count: fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 1_000 })),
  }),
  { minLength: 1, maxLength: 20 },
);

const scoreOf = (made: readonly Made[], halfLife = HALF_LIFE): Score => {
  const score = made.reduce<Score | undefined>(
    (so, { at, count }) => addReports(so, NOW + at, count, halfLife),
    undefined,
  );
  if (score === undefined) throw new Error("There is no report.");
  return score;
};

/** What the score stands for: the reports, each worth half as much after every half-life. */
const sumAt = (moment: number, made: readonly Made[], halfLife = HALF_LIFE) =>
  made.reduce((sum, { at, count }) => sum + count * 2 ** ((at - moment) / halfLife), 0);

/** Numbers this large are exact to a quarter of a microsecond; a few additions lose a little. */
const near = (score: Score) => expect.closeTo(score, 1);

describe("the score", () => {
  test("of one report is its moment", () => {
    expect(addReports(undefined, NOW, 1, HALF_LIFE)).toBe(NOW);
  });

  test("of n reports at once is log2(n) half-lives more", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1_000 }), (count) => {
        const expected = near(NOW + HALF_LIFE * Math.log2(count));
        expect(addReports(undefined, NOW, count, HALF_LIFE)).toEqual(expected);
        expect(scoreOf(Array.from({ length: count }, () => ({ at: 0, count: 1 })))).toEqual(
          expected,
        );
      }),
    );
  });

  test("of a report and an equal one a half-life ago is that of one and a half", () => {
    const made = [
      { at: -HALF_LIFE, count: 1 },
      { at: 0, count: 1 },
    ];
    expect(scoreOf(made)).toEqual(near(NOW + HALF_LIFE * Math.log2(1.5)));
  });

  test("is the moment at which one report would weigh as much as all of them", () => {
    fc.assert(
      fc.property(reports, (made) => {
        const last = Math.max(...made.map(({ at }) => at));
        expect(scoreOf(made)).toEqual(near(NOW + last + HALF_LIFE * Math.log2(sumAt(last, made))));
      }),
    );
  });

  test("does not depend on the order of the reports", () => {
    const shuffled = reports.chain((made) =>
      fc.tuple(
        fc.constant(made),
        fc.shuffledSubarray(made, { minLength: made.length, maxLength: made.length }),
      ),
    );
    fc.assert(
      fc.property(shuffled, ([made, other]) => {
        expect(scoreOf(other)).toEqual(near(scoreOf(made)));
      }),
    );
  });

  test("never falls by a report, nor rises by more than the report weighs", () => {
    fc.assert(
      fc.property(reports, reports, (made, [more]) => {
        fc.pre(more !== undefined);
        const [before, after] = [scoreOf(made), scoreOf([...made, more])];
        const alone = addReports(undefined, NOW + more.at, more.count, HALF_LIFE);
        expect(after).toBeGreaterThanOrEqual(Math.max(before, alone));
        expect(after).toBeLessThanOrEqual(Math.max(before, alone) + HALF_LIFE + 1);
      }),
    );
  });

  test("is the greater, the more reports and the later", () => {
    const counts = fc.integer({ min: 1, max: 999 });
    fc.assert(
      fc.property(reports, fc.nat(3_600_000), counts, fc.nat(60_000), (made, at, count, later) => {
        const score = scoreOf(made);
        const added = addReports(score, NOW + at, count, HALF_LIFE);
        expect(addReports(score, NOW + at, count + 1, HALF_LIFE)).toBeGreaterThanOrEqual(added);
        expect(addReports(score, NOW + at + later, count, HALF_LIFE)).toBeGreaterThanOrEqual(added);
      }),
    );
  });

  test("stays a number, however far apart the reports are", () => {
    expect(addReports(0, NOW, 1, 1)).toBe(NOW);
    expect(addReports(NOW, 0, 1, 1)).toBe(NOW);
  });
});

describe("two scores", () => {
  test("compare as the decayed sums do, at any later time", () => {
    fc.assert(
      fc.property(reports, reports, fc.nat(600_000), (one, other, later) => {
        const [a, b] = [scoreOf(one), scoreOf(other)];
        fc.pre(Math.abs(a - b) > 1);
        const now = 3_600_000 + later;
        expect(a > b).toBe(sumAt(now, one) > sumAt(now, other));
      }),
    );
  });

  test("differ by as many half-lives as the sums differ by powers of two", () => {
    fc.assert(
      fc.property(reports, reports, (one, other) => {
        const ratio = sumAt(3_600_000, one) / sumAt(3_600_000, other);
        expect((scoreOf(one) - scoreOf(other)) / HALF_LIFE).toBeCloseTo(Math.log2(ratio), 3);
      }),
    );
  });

  test("from before and after a change of the half-life are comparable: both lie near the clock", () => {
    fc.assert(
      fc.property(reports, fc.integer({ min: 1_000, max: 86_400_000 }), (made, halfLife) => {
        const last = NOW + Math.max(...made.map(({ at }) => at));
        const total = made.reduce((sum, { count }) => sum + count, 0);
        const score = scoreOf(made, halfLife);
        expect(score).toBeGreaterThanOrEqual(last);
        expect(score).toBeLessThanOrEqual(last + halfLife * Math.log2(total) + 1);
      }),
    );
  });
});
