import { expect, test } from "@jest/globals";
import type { Converged } from "../../../services/enforcer/converge.ts";
import { addMetrics } from "../../../services/enforcer/metrics.ts";
import type { Metrics } from "../../../shared/aws/log.ts";

const nothing: Converged = {
  ...{ applied: 0, left: 0, refused: 0, drifted: 0, foreign: 0, enforced: 0, waiting: 0 },
  ...{ shadowed: 0, problem: null, isNeverBlockReadable: true, nextEnd: undefined },
};
const ALL_ZERO = {
  Enforced: 0,
  Waiting: 0,
  Shadowed: 0,
  Foreign: 0,
  ChangesApplied: 0,
  ChangesLeft: 0,
  ChangesRefused: 0,
  DriftRepaired: 0,
  NeverBlockUnreadable: 0,
  TargetMissing: 0,
  Unassociated: 0,
  TargetFailed: 0,
  OffendersForgotten: 0,
};

function metricsOf(
  targets: Record<string, Partial<Converged>>,
  failed: string[] = [],
  forgotten = 0,
) {
  const counts: Record<string, number> = {};
  const addMetric = (name: string, unit: string, count: number) => {
    expect(unit).toBe("Count");
    expect(counts).not.toHaveProperty(name);
    counts[name] = count;
  };
  addMetrics(
    { addMetric: addMetric as unknown as Metrics["addMetric"] },
    {
      converged: new Map(
        Object.entries(targets).map(([id, converged]) => [id, { ...nothing, ...converged }]),
      ),
      failed: new Map(failed.map((id) => [id, new Error("No.")])),
    },
    forgotten,
  );
  return counts;
}

test("each is there even where nothing happened: an alarm needs its zeros", () => {
  expect(metricsOf({ one: {} })).toEqual(ALL_ZERO);
  expect(metricsOf({})).toEqual(ALL_ZERO);
});

test("the counts of all targets are added up", () => {
  const one = { enforced: 1, waiting: 2, shadowed: 3, foreign: 4, applied: 5 };
  const two = { enforced: 10, left: 20, refused: 30, drifted: 40, isNeverBlockReadable: false };
  expect(metricsOf({ one, two }, ["three", "four"])).toEqual({
    ...ALL_ZERO,
    Enforced: 11,
    Waiting: 2,
    Shadowed: 3,
    Foreign: 4,
    ChangesApplied: 5,
    ChangesLeft: 20,
    ChangesRefused: 30,
    DriftRepaired: 40,
    NeverBlockUnreadable: 1,
    TargetFailed: 2,
  });
});

test("offenders that are forgotten are counted", () => {
  expect(metricsOf({}, [], 7)).toEqual({ ...ALL_ZERO, OffendersForgotten: 7 });
});

test("targets count by the problem that they have", () => {
  const targets: Record<string, Partial<Converged>> = {
    ...{ one: { problem: "missing" }, two: { problem: "not ours" } },
    ...{ three: { problem: "unassociated" }, four: { problem: "refused" } },
  };
  expect(metricsOf(targets)).toEqual({ ...ALL_ZERO, TargetMissing: 2, Unassociated: 1 });
});
