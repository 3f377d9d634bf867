import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import {
  applyReport,
  type Block,
  type BlockPolicy,
  type Report,
  withoutReports,
} from "../../../shared/domain/block.ts";
import { parseCidr } from "../../../shared/domain/cidr.ts";
import { rankOf } from "../../../shared/domain/rank.ts";
import { type EpochMillis, isExpired } from "../../../shared/domain/time.ts";
import { NOW, type ReportChange, reportOf } from "../../support/reports.ts";

const HALF_LIFE = 10_000;
const NO_ESCALATION: BlockPolicy = {
  escalation: { factor: 1, max: 1 },
  halfLife: HALF_LIFE,
  threshold: 0,
};
const DOUBLING: BlockPolicy = { ...NO_ESCALATION, escalation: { factor: 2, max: 3_600 } };
const CIDR = "203.0.113.9/32";

const begin = (change: ReportChange = {}, strikes = 0): Block =>
  given(applyReport(undefined, reportOf(CIDR, change), strikes, NO_ESCALATION, NOW));

describe("a new block", () => {
  test("is what the report says, with its first strike", () => {
    expect(begin()).toEqual({
      cidr: parseCidr(CIDR),
      expiresAt: NOW / 1000 + 60,
      severity: 5,
      score: NOW,
      strikes: 1,
      reason: "port scan",
      byOperator: false,
      leastPrefix: 24,
      reports: {
        suricata: {
          expiresAt: NOW / 1000 + 60,
          reportedAt: NOW,
          severity: 5,
          reason: "port scan",
          weight: 1,
          byOperator: false,
          leastPrefix: 24,
          requestId: "request-0",
        },
      },
      begunBy: "suricata",
      firstSeenAt: NOW,
      lastSeenAt: NOW,
      hits: 1,
      requestId: "request-0",
      wake: false,
      version: 0,
    });
  });

  test("counts all the reports that its own stands for, but scores at most four of them", () => {
    expect(begin({ count: 2 })).toMatchObject({ hits: 2, score: NOW + HALF_LIFE });
    for (const count of [4, 5, 1_000]) {
      expect(begin({ count })).toMatchObject({ hits: count, score: NOW + 2 * HALF_LIFE });
    }
  });

  test("goes on from the score of the address's past, which has faded like any other", () => {
    const score = (past: number) =>
      applyReport(undefined, reportOf(CIDR), 1, NO_ESCALATION, NOW, past)?.score;
    expect(score(NOW)).toBe(NOW + HALF_LIFE);
    expect(score(NOW - 100 * HALF_LIFE)).toBe(NOW);
  });

  test("lasts longer for an address with a past", () => {
    const block = applyReport(undefined, reportOf(CIDR), 2, DOUBLING, NOW);
    expect(block).toMatchObject({ strikes: 3, expiresAt: NOW / 1000 + 240 });
  });
});

describe("a block reported again", () => {
  const again = (block: Block, change: ReportChange) =>
    given(
      applyReport(block, reportOf(CIDR, { requestId: "again", ...change }), 0, NO_ESCALATION, NOW),
    );

  test("counts the report and remembers when it came, and keeps its first request and beginning", () => {
    const extended = again(begin(), { reportedAt: NOW + 5_000, requestId: "request-2" });
    expect(extended).toMatchObject({
      hits: 2,
      firstSeenAt: NOW,
      lastSeenAt: NOW + 5_000,
      requestId: "request-0",
      strikes: 1,
    });
  });

  test("keeps its last moment when an older report comes after it", () => {
    expect(again(begin(), { reportedAt: NOW - 5_000 }).lastSeenAt).toBe(NOW);
  });

  test("names each detector once, and at most sixteen", () => {
    const twice = again(again(begin(), { detector: "elastalert" }), { detector: "suricata" });
    expect(Object.keys(twice.reports)).toEqual(["suricata", "elastalert"]);
    const many = Array.from({ length: 40 }, (_, i) => `detector-${i}`);
    const { reports } = many.reduce((block, detector) => again(block, { detector }), begin());
    expect(Object.keys(reports)).toHaveLength(16);
  });

  test("keeps an operator's report, however many detectors report for longer", () => {
    const held = again(begin(), { detector: "night-shift", byOperator: true, seconds: 30 });
    const many = Array.from({ length: 40 }, (_, i) => `detector-${i}`);
    const block = many.reduce((one, detector) => again(one, { detector, seconds: 900 }), held);
    expect(Object.keys(block.reports)).toContain("night-shift");
    expect(block.byOperator).toBe(true);
  });

  test("takes the reason of a report that is as severe, not of a weaker one or an empty one", () => {
    expect(again(begin(), { reason: "brute force" }).reason).toBe("brute force");
    expect(again(begin(), { reason: "weak", severity: 4 }).reason).toBe("port scan");
    expect(again(begin(), { reason: "", severity: 9 }).reason).toBe("port scan");
  });

  test("scores what all its reports weigh, up to four that one stands for", () => {
    expect(again(begin(), {}).score).toBe(NOW + HALF_LIFE);
    expect(again(begin(), { count: 1_000 }).score).toBe(again(begin(), { count: 4 }).score);
    expect(again(begin(), { count: 3 })).toMatchObject({ hits: 4, score: NOW + 2 * HALF_LIFE });
  });

  test("wakes the enforcer when its rank rises, by its severity or its score, and only then", () => {
    const old = { reportedAt: NOW - 100 * HALF_LIFE, seconds: 10_000 };
    expect(again(begin(), { severity: 6 })).toMatchObject({ severity: 6, wake: true });
    expect(again(begin(), { severity: 4 }).wake).toBe(true);
    expect(again(begin(), old).wake).toBe(false);
    expect(again(begin(), { ...old, severity: 6 }).wake).toBe(true);
  });

  test("keeps the mark that an earlier report of its batch has set", () => {
    const old = { reportedAt: NOW - 100 * HALF_LIFE, seconds: 10_000 };
    expect(again(again(begin(), { severity: 6 }), old).wake).toBe(true);
  });

  test("wakes the enforcer in its last moments, when another clock may already have ended it", () => {
    const block = begin({ seconds: 60 });
    const old = reportOf(CIDR, { reportedAt: NOW - 100 * HALF_LIFE, seconds: 10_000 });
    const extendedAt = (now: EpochMillis) => applyReport(block, old, 0, NO_ESCALATION, now)?.wake;
    expect(extendedAt(NOW + 55_000)).toBe(false);
    expect(extendedAt(NOW + 55_001)).toBe(true);
    expect(extendedAt(NOW + 59_999)).toBe(true);
  });
});

describe("the end of a block", () => {
  test("is the very millisecond that it names", () => {
    expect(isExpired({ expiresAt: NOW / 1000 }, NOW - 1)).toBe(false);
    expect(isExpired({ expiresAt: NOW / 1000 }, NOW)).toBe(true);
  });

  test("a report after it begins a new block, whatever the table still holds", () => {
    const ended = begin({ seconds: 60, severity: 9, reason: "old", detector: "old" });
    const later = NOW + 60_000;
    const report = reportOf(CIDR, { reportedAt: later, requestId: "request-2" });
    expect(applyReport(ended, report, 0, NO_ESCALATION, later)).toMatchObject({
      expiresAt: later / 1000 + 60,
      firstSeenAt: later,
      severity: 5,
      reason: "port scan",
      reports: { suricata: expect.anything() },
      hits: 1,
      strikes: 2,
      requestId: "request-2",
    });
  });

  test("leaves its score to the next one, before the score that is remembered", () => {
    const later = NOW + 60_000;
    const report = reportOf(CIDR, { reportedAt: later });
    const ended = { ...begin(), score: later };
    const next = (existing: Block | undefined) =>
      applyReport(existing, report, 1, NO_ESCALATION, later, NOW - 100 * HALF_LIFE)?.score;
    expect(next(ended)).toBe(later + HALF_LIFE);
    expect(next(undefined)).toBe(later);
  });

  test("counts the strikes that are remembered or those of the ended block, whichever are more", () => {
    const later = NOW + 60_000;
    const report = reportOf(CIDR, { reportedAt: later });
    const strikes = (ofBlock: number, remembered: number) =>
      applyReport(begin({}, ofBlock - 1), report, remembered, NO_ESCALATION, later)?.strikes;
    expect(strikes(3, 3)).toBe(4);
    expect(strikes(3, 2)).toBe(4);
    expect(strikes(1, 5)).toBe(6);
  });
});

describe("callers", () => {
  const two = (change: Partial<BlockPolicy> = {}) => ({
    ...NO_ESCALATION,
    threshold: 2,
    ...change,
  });
  const report = (detector: string, change: ReportChange = {}) =>
    reportOf(CIDR, { detector, requestId: detector, ...change });
  const blockBy = (reports: readonly Report[], policy: BlockPolicy = NO_ESCALATION) =>
    given(
      reports.reduce<Block | undefined>(
        (block, one) => applyReport(block, one, 0, policy, NOW),
        undefined,
      ),
    );

  test.each<[string, Report[], number, number]>([
    ["of less weight than the threshold", [report("a", { weight: 0, severity: 9 })], 9, 60],
    [
      "one without weight beside two with enough",
      [
        report("a", { severity: 3, seconds: 100 }),
        report("b", { severity: 4, seconds: 90 }),
        report("c", { weight: 0, severity: 10, seconds: 9_000 }),
      ],
      3,
      90,
    ],
    [
      "an operator beside whom none has weight",
      [
        report("op", { byOperator: true, severity: 2, seconds: 60 }),
        report("c", { weight: 0, severity: 10, seconds: 9_000 }),
      ],
      2,
      60,
    ],
    [
      "an operator who asks for more than the others",
      [
        report("a", { severity: 3, seconds: 100 }),
        report("op", { byOperator: true, severity: 8, seconds: 600 }),
      ],
      8,
      600,
    ],
  ])(
    "%s: severity and end are what reports of enough weight ask for",
    (_what, reports, severity, seconds) => {
      expect(blockBy(reports, two())).toMatchObject({ severity, expiresAt: NOW / 1000 + seconds });
    },
  );

  test("a block covers no more than the widest of those who want it may report", () => {
    const block = blockBy([report("a", { leastPrefix: 32 }), report("b", { leastPrefix: 24 })]);
    expect(block.leastPrefix).toBe(24);
  });

  test("without one's report a block is what the others want, and wakes the enforcer", () => {
    const block = blockBy([
      report("a", { severity: 9, seconds: 600, byOperator: true }),
      report("b", { severity: 3, seconds: 60, reason: "noise" }),
    ]);
    expect(withoutReports(block, (_own, name) => name !== "a", NO_ESCALATION)).toMatchObject({
      ...{ severity: 3, expiresAt: NOW / 1000 + 60, reason: "noise", byOperator: false },
      ...{ begunBy: "b", hits: 2, strikes: 1, wake: true },
    });
    expect(withoutReports(block, () => true, NO_ESCALATION)).toBe(block);
    expect(withoutReports(block, () => false, NO_ESCALATION)).toBeUndefined();
  });

  test("a report that is delivered again counts once", () => {
    const once = blockBy([report("a", { count: 3 })]);
    const twice = applyReport(once, report("a", { count: 3 }), 0, NO_ESCALATION, NOW);
    expect(twice).toMatchObject({ hits: 3, score: once.score });
  });
});

describe("laws, over random histories", () => {
  test("an expiry is only ever extended while the block lasts, and severity never falls", () => {
    fc.assert(
      fc.property(history, escalation, (steps, escalating) => {
        play(steps, escalating, (before, after, step) => {
          if (!before || isExpired(before, step.now)) return;
          expect(given(after).expiresAt).toBeGreaterThanOrEqual(before.expiresAt);
          expect(given(after).severity).toBeGreaterThanOrEqual(before.severity);
          expect(given(after).strikes).toBe(before.strikes);
        });
      }),
    );
  });

  test("a block lasts at least as long as every report that it is made of asked for", () => {
    fc.assert(
      fc.property(history, escalation, (steps, escalating) => {
        play(steps, escalating, (_before, after, { report, now }) => {
          if (isExpired(report, now)) return;
          expect(given(after).expiresAt).toBeGreaterThanOrEqual(report.expiresAt);
          expect(given(after).severity).toBeGreaterThanOrEqual(report.severity);
        });
      }),
    );
  });

  test("a report whose own time is over changes nothing", () => {
    fc.assert(
      fc.property(history, escalation, anyReport, fc.nat(100_000), (steps, by, report, late) => {
        const block = play(steps, by);
        const over = report.expiresAt * 1000 + late;
        expect(applyReport(block, report, 0, by, over)).toBe(block);
      }),
    );
  });

  test("a report delivered again changes neither expiry, severity nor strikes", () => {
    fc.assert(
      fc.property(history, escalation, fc.nat(), fc.nat(100_000), (steps, by, which, later) => {
        const block = play(steps, by);
        const { report } = given(steps[which % steps.length]);
        const now = given(steps.at(-1)).now + later;
        fc.pre(block !== undefined && !isExpired(block, now));
        expect(applyReport(block, report, block.strikes - 1, by, now)).toMatchObject({
          expiresAt: block.expiresAt,
          severity: block.severity,
          strikes: block.strikes,
        });
      }),
    );
  });

  test("a new block after the end of the last adds exactly one strike", () => {
    fc.assert(
      fc.property(history, escalation, anyReport, fc.nat(100), (steps, by, report, gap) => {
        const ended = given(play(steps, by));
        const now = (ended.expiresAt + gap) * 1000;
        const seconds = report.expiresAt - Math.floor(report.reportedAt / 1000);
        const next = reportOf(CIDR, { reportedAt: now, seconds });
        expect(applyReport(ended, next, 0, by, now)?.strikes).toBe(ended.strikes + 1);
        expect(applyReport(ended, next, ended.strikes, by, now)?.strikes).toBe(ended.strikes + 1);
        expect(applyReport(undefined, next, ended.strikes, by, now)?.strikes).toBe(
          ended.strikes + 1,
        );
      }),
    );
  });

  test("the order of the reports of a batch matters neither to expiry nor to severity", () => {
    const batch = fc.array(anyReport, { minLength: 1, maxLength: 10 });
    const shuffled = batch.chain((reports) =>
      fc.tuple(
        fc.constant(reports),
        fc.shuffledSubarray(reports, { minLength: reports.length, maxLength: reports.length }),
      ),
    );
    fc.assert(
      fc.property(shuffled, fc.option(anyReport), fc.nat(60_000), ([inOrder, other], past, at) => {
        const now = NOW + 100_000 + at;
        const existing = past && applyReport(undefined, past, 0, NO_ESCALATION, past.reportedAt);
        const outcome = (reports: readonly Report[]) => {
          const block = reports.reduce<Block | undefined>(
            (so, report) => applyReport(so, report, 0, NO_ESCALATION, now),
            existing ?? undefined,
          );
          return block && { expiresAt: block.expiresAt, severity: block.severity };
        };
        expect(outcome(other)).toEqual(outcome(inOrder));
      }),
      { numRuns: 1_000 },
    );
  });

  test("a rank only ever rises while the block lasts, and wakes the enforcer whenever it does", () => {
    fc.assert(
      fc.property(history, escalation, (steps, by) => {
        play(steps, by, (before, after, step) => {
          if (!before || isExpired(before, step.now)) return;
          const [was, is] = [rankOf(before), rankOf(given(after))];
          expect(is >= was).toBe(true);
          if (is > was) expect(after?.wake).toBe(true);
        });
      }),
    );
  });
});

type Step = { readonly report: Report; readonly now: number };

/** Reports within 100 s, that want between 1 s and 200 s. */
const anyReport = fc
  .record({
    at: fc.nat(100_000),
    seconds: fc.integer({ min: 1, max: 200 }),
    count: fc.integer({ min: 1, max: 20 }),
    severity: fc.integer({ min: 1, max: 10 }),
    detector: fc.constantFrom("suricata", "elastalert"),
    reason: fc.constantFrom("", "port scan", "brute force"),
  })
  .map(({ at, ...change }) => reportOf(CIDR, { ...change, reportedAt: NOW + at }));

/** Reports in the order of their moments, each processed after some time; the first at once. */
const history = fc
  .array(fc.tuple(anyReport, fc.nat(20_000)), { minLength: 1, maxLength: 12 })
  .map((delayed) => {
    const inOrder = delayed.toSorted(([a], [b]) => a.reportedAt - b.reportedAt);
    let now = 0;
    return inOrder.map(([report, delay], index): Step => {
      now = Math.max(now, report.reportedAt + (index === 0 ? 0 : delay));
      return { report, now };
    });
  });

const escalation = fc.constantFrom(NO_ESCALATION, DOUBLING);

/** The block in the end; `check` sees every step. */
function play(
  steps: readonly Step[],
  by: BlockPolicy,
  check: (before: Block | undefined, after: Block | undefined, step: Step) => void = () => {},
): Block | undefined {
  return steps.reduce<Block | undefined>((before, step) => {
    const after = applyReport(before, step.report, 0, by, step.now);
    check(before, after, step);
    return after;
  }, undefined);
}

function given<T>(value: T | undefined | null): T {
  if (value === undefined || value === null) throw new Error("There is none.");
  return value;
}
