import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { escalate } from "../../../shared/domain/escalation.ts";

const BEGIN = 1_800_000_000;
const report = { reportedAt: BEGIN * 1000 + 999, expiresAt: BEGIN + 60 };
const seconds = (strikes: number, factor: number, max = 1_000_000) =>
  escalate(report, strikes, { factor, max }) - BEGIN;

describe("escalate", () => {
  test("the first block lasts as long as asked", () => {
    expect(seconds(1, 2)).toBe(60);
  });

  test("each further block lasts longer by the factor", () => {
    expect([2, 3, 4].map((strikes) => seconds(strikes, 2))).toEqual([120, 240, 480]);
    expect([2, 3].map((strikes) => seconds(strikes, 1.5))).toEqual([90, 135]);
  });

  test("a factor of 1 turns it off", () => {
    expect(seconds(99, 1)).toBe(60);
  });

  test("the cap bounds what escalation adds", () => {
    expect(seconds(4, 2, 300)).toBe(300);
    expect(seconds(5_000, 10, 300)).toBe(300);
  });

  test("what was asked for is the minimum, even above the cap", () => {
    expect(seconds(1, 2, 30)).toBe(60);
    expect(seconds(9, 2, 30)).toBe(60);
  });

  test("is a whole second, at least as asked, at most the cap, and never less for more strikes", () => {
    fc.assert(
      fc.property(
        fc.record({
          asked: fc.integer({ min: 0, max: 31_536_000 }),
          strikes: fc.integer({ min: 1, max: 10_000 }),
          percent: fc.integer({ min: 100, max: 1000 }),
          max: fc.integer({ min: 1, max: 31_536_000 }),
        }),
        ({ asked, strikes, percent, max }) => {
          const escalation = { factor: percent / 100, max };
          const lasts = (count: number) =>
            escalate({ ...report, expiresAt: BEGIN + asked }, count, escalation) - BEGIN;
          expect(Number.isInteger(lasts(strikes))).toBe(true);
          expect(lasts(strikes)).toBeGreaterThanOrEqual(asked);
          expect(lasts(strikes)).toBeLessThanOrEqual(Math.max(asked, max));
          expect(lasts(strikes + 1)).toBeGreaterThanOrEqual(lasts(strikes));
        },
      ),
      { numRuns: 5_000 },
    );
  });
});
