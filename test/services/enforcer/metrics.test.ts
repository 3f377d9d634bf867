import { expect, test } from "@jest/globals";
import type { Converged } from "../../../services/enforcer/converge.ts";
import { publishMetrics } from "../../../services/enforcer/metrics.ts";
import type { Metrics } from "../../../shared/aws/log.ts";

const nothing: Converged = {
  ...{ applied: 0, left: 0, refused: 0, drifted: 0, foreign: 0, enforced: 0, waiting: 0 },
  ...{ shadowed: 0, problem: null, isNeverBlockReadable: true, nextEnd: undefined },
  timesToEntry: [],
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
};

/** What is published: the dimensions of each line besides the default ones, and its metrics. */
function published(
  targets: Record<string, Partial<Converged>>,
  failed: string[] = [],
  forgotten = 0,
) {
  const lines: Record<string, string | number | number[]>[] = [];
  let line: (typeof lines)[number] = {};
  const metrics = {
    addDimension(name: string, value: string) {
      line[name] = value;
    },
    addMetric(name: string, unit: string, count: number) {
      expect(unit).toBe(name === "TimeToEntry" ? "Milliseconds" : "Count");
      const before = line[name];
      if (before === undefined) line[name] = count;
      else line[name] = [before, count].flat() as number[];
    },
    publishStoredMetrics() {
      lines.push(line);
      line = {};
    },
  };
  publishMetrics(
    metrics as unknown as Metrics,
    {
      converged: new Map(
        Object.entries(targets).map(([id, converged]) => [id, { ...nothing, ...converged }]),
      ),
      failed: new Map(failed.map((id) => [id, new Error("No.")])),
    },
    forgotten,
  );
  return lines;
}

test("each is there even where nothing happened: an alarm needs its zeros", () => {
  expect(published({ one: {} })).toEqual([
    { target: "one", ...ALL_ZERO },
    { Converges: 1, OffendersForgotten: 0 },
  ]);
});

test("each target is counted apart", () => {
  const one = { enforced: 1, waiting: 2, shadowed: 3, foreign: 4, applied: 5 };
  const two = { enforced: 10, left: 20, refused: 30, drifted: 40, isNeverBlockReadable: false };
  expect(published({ one, two })).toEqual([
    {
      ...{ target: "one", ...ALL_ZERO, Enforced: 1, Waiting: 2, Shadowed: 3, Foreign: 4 },
      ChangesApplied: 5,
    },
    {
      ...{ target: "two", ...ALL_ZERO, Enforced: 10, ChangesLeft: 20, ChangesRefused: 30 },
      ...{ DriftRepaired: 40, NeverBlockUnreadable: 1 },
    },
    { Converges: 2, OffendersForgotten: 0 },
  ]);
});

test("one that failed says so, whether a round before had converged it or not", () => {
  expect(published({ one: {} }, ["one", "two"])).toEqual([
    { target: "one", ...ALL_ZERO, TargetFailed: 1 },
    { target: "two", TargetFailed: 1 },
    { Converges: 1, OffendersForgotten: 0 },
  ]);
});

test("where none converged there is silence, which the alarm for it waits for", () => {
  expect(published({}, ["one"], 7)).toEqual([
    { target: "one", TargetFailed: 1 },
    { OffendersForgotten: 7 },
  ]);
});

test.each([
  ["missing", { TargetMissing: 1 }],
  ["not ours", { TargetMissing: 1 }],
  ["unassociated", { Unassociated: 1 }],
  ["refused", {}],
] as const)("a target counts by its problem: %s", (problem, counted) => {
  expect(published({ one: { problem } })[0]).toEqual({ target: "one", ...ALL_ZERO, ...counted });
});

test("times to the entry keep their target, however many there are", () => {
  const timesToEntry = Array.from({ length: 250 }, (_, index) => index);
  const lines = published({ one: { timesToEntry } });
  expect(lines.map(({ target }) => target)).toEqual(["one", "one", "one", "one", undefined]);
  expect(lines.flatMap(({ TimeToEntry = [] }) => TimeToEntry)).toEqual(timesToEntry);
});
