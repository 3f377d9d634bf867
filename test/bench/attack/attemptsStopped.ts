import type { Figure } from "../figure.ts";
import type { DetectorShape } from "./detector.ts";
import {
  clairvoyant,
  decayedReports,
  firstComeStays,
  lastReportFirst,
  newestFirst,
} from "./policies.ts";
import { acl, blind, PRESSURES, seeing, sixHours } from "./scenario.ts";
import { type Policy, simulate } from "./simulate.ts";
import { attemptsOf } from "./traffic.ts";

const SEEDS = [1, 2];
const GOAL = 0.9;

/** Which share of attack attempts the ACL stops, beside what other orders would have stopped. */
export async function attemptsStopped(): Promise<Figure[]> {
  return PRESSURES.flatMap((perMinute) => {
    const traffic = SEEDS.map((seed) => attemptsOf(sixHours(perMinute), seed));
    return [blind, seeing].map((detector) => figureOf(perMinute, detector, traffic));
  });
}

function figureOf(
  perMinute: number,
  detector: DetectorShape,
  traffic: readonly ReturnType<typeof attemptsOf>[],
): Figure {
  const play = (policyFor: (attempts: (typeof traffic)[number]) => Policy) => {
    const outcomes = traffic.map((attempts) =>
      simulate(attempts, detector, acl, policyFor(attempts)),
    );
    return {
      share: mean(outcomes.map((outcome) => outcome.attemptsStopped)),
      changes: mean(outcomes.map(({ changes }) => changes)),
    };
  };
  const ours = play(() => decayedReports());
  const best = play((attempts) => clairvoyant(attempts));
  const newest = play(() => newestFirst);
  const lastReport = play(() => lastReportFirst);
  const firstCome = play(() => firstComeStays);
  const ratio = ours.share / best.share;
  const isAhead = [newest, lastReport, firstCome].every(({ share }) => ours.share > share);
  const figure = {
    name: `attemptsStopped${detector.isBlind ? "Blind" : "Seeing"}${perMinute}`,
    what: `share of attack attempts stopped, ${acl.slots} slots, ${perMinute} scanners a minute, a detector that ${detector.isBlind ? "does not see whom the ACL denies" : "sees denied attempts too"}`,
    value: { value: ours.share },
    floor: { what: "next ten minutes known", value: best.share },
    ratio,
    details: {
      changes: ours.changes,
      newestFirst: newest.share,
      newestFirstChanges: newest.changes,
      lastReportFirst: lastReport.share,
      lastReportFirstChanges: lastReport.changes,
      firstComeStays: firstCome.share,
      firstComeStaysChanges: firstCome.changes,
      clairvoyantChanges: best.changes,
    },
  };
  if (!detector.isBlind) return figure;
  const isMet = ratio >= GOAL && isAhead && ours.changes <= lastReport.changes;
  return { ...figure, goal: { text: `≥ ${GOAL}, and ahead`, isMet } };
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;
