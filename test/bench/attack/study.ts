import Table from "cli-table3";
import type { Block } from "../../../shared/domain/block.ts";
import { MARGIN } from "../../../shared/domain/rank.ts";
import { addReports } from "../../../shared/domain/score.ts";
import {
  acceptWith,
  clairvoyant,
  decayedReports,
  firstComeStays,
  HALF_LIFE,
  lastReportFirst,
  newestFirst,
} from "./policies.ts";
import { acl, blind, PRESSURES, seeing, sixHours } from "./scenario.ts";
import { type Defence, type Policy, simulate } from "./simulate.ts";
import { type Attempt, attemptsOf } from "./traffic.ts";

// node test/bench/attack/study.ts [seed …]: where the settings of the ranking come from. Each cell is
// the share of attempts stopped and the changes of the ACL, means over the seeds.

const MINUTE_MS = 60_000;
/** Farther than any score of six hours; the order takes 14 digits. */
const FAR = 1e8;

type Variant = { readonly name: string; policyFor(attempts: readonly Attempt[]): Policy };

const given = process.argv.slice(2).map(Number);
const seeds = given.length > 0 ? given : [1, 2];
const traffic = PRESSURES.map((perMinute) =>
  seeds.map((seed) => attemptsOf(sixHours(perMinute), seed)),
);

const ours = (name: string, settings: Parameters<typeof decayedReports>[0] = {}): Variant => ({
  name,
  policyFor: () => decayedReports(settings),
});
const fixed = (policy: Policy): Variant => ({ name: policy.name, policyFor: () => policy });

print("orders", [
  ...[newestFirst, lastReportFirst, firstComeStays].map(fixed),
  ours("ours"),
  { name: "clairvoyant", policyFor: (attempts) => clairvoyant(attempts) },
]);
print(
  "half-life in minutes, no margin",
  [1, 2, 5, 10, 30, 60].map((minutes) =>
    ours(`${minutes}`, { halfLife: minutes * MINUTE_MS, margin: 0 }),
  ),
);
print(
  "margin in half-lives",
  [0, 0.1, 0.15, 0.2, 0.25, 0.5, 1, 1.5, 2].map((margin) => ours(`${margin}`, { margin })),
);
print(
  "no margin, but ranks rounded down to so many half-lives, the older block first",
  [0.1, 0.25, 0.5, 1, 1.5, 2].map((step) =>
    ours(`${step}`, {
      margin: 0,
      scoreOf: ({ score, firstSeenAt }) =>
        FAR * Math.floor(score / (step * HALF_LIFE)) - firstSeenAt,
    }),
  ),
);
for (const blockMs of [acl.blockMs, 10 * MINUTE_MS]) {
  print(`strikes, blocks of ${blockMs / MINUTE_MS} minutes`, strikes(), { ...acl, blockMs });
}
print(
  "folded repeats, counted up to",
  [1, 4, 10, 60, 100, 1000].map((maxCount) =>
    ours(`${maxCount}`, { accept: countingUpTo(maxCount) }),
  ),
);

function strikes(): Variant[] {
  const forgets = (scoreOf: (block: Block) => number = ({ score }) => score) => ({
    accept: forgettingScores,
    scoreOf,
  });
  return [
    ours("ignored", forgets()),
    ours("the score goes on"),
    ours(
      "strikes before score",
      forgets(({ strikes, score }) => strikes * FAR + score),
    ),
    ...[0.5, 1, 2].map((weight) =>
      ours(
        `score + ${weight} half-lives · log2(strikes)`,
        forgets(({ strikes, score }) => score + weight * HALF_LIFE * Math.log2(strikes)),
      ),
    ),
  ];
}

/** Each block begins with a score of its own. */
function forgettingScores(...[existing, report, strikes]: Parameters<Policy["accept"]>) {
  return acceptWith(HALF_LIFE)(existing, report, strikes, undefined);
}

/** Folded repeats count, but no more of a report than so many. */
function countingUpTo(maxCount: number): Policy["accept"] {
  const accept = acceptWith(HALF_LIFE);
  return (existing, report, strikes, score) => {
    const block = accept(existing, report, strikes, score);
    const counted = Math.min(report.count, maxCount);
    const before = existing?.score ?? score;
    return block && { ...block, score: addReports(before, report.reportedAt, counted, HALF_LIFE) };
  };
}

function print(title: string, variants: readonly Variant[], defence: Defence = acl): void {
  const detectors = [blind, seeing];
  const columns = detectors.flatMap(({ isBlind }) =>
    PRESSURES.map((perMinute) => `${isBlind ? "blind" : "seeing"} ${perMinute}/min`),
  );
  const table = new Table({ head: ["", ...columns], style: { head: [], border: ["dim"] } });
  for (const { name, policyFor } of variants) {
    const cells = detectors.flatMap((detector) =>
      traffic.map((runs) => {
        const outcomes = runs.map((attempts) =>
          simulate(attempts, detector, defence, policyFor(attempts)),
        );
        const stopped = outcomes.reduce((sum, { attemptsStopped }) => sum + attemptsStopped, 0);
        const changes = outcomes.reduce((sum, outcome) => sum + outcome.changes, 0);
        return `${(stopped / runs.length).toFixed(3)} ${Math.round(changes / runs.length)}`;
      }),
    );
    table.push([name, ...cells]);
  }
  console.log(`\n${title} (margin ${MARGIN}, unless said)\n${table.toString()}`);
}
