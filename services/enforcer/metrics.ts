import type { Metrics } from "../../shared/aws/log.ts";
import type { Converged } from "./converge.ts";
import type { Results } from "./convergeAll.ts";

/** Counts over all targets, and of offenders, as the alarms watch them (infra/alarms.yml). */
export function addMetrics(
  metrics: Pick<Metrics, "addMetric">,
  { converged, failed }: Pick<Results, "converged" | "failed">,
  offendersForgotten: number,
): void {
  const all = [...converged.values()];
  const sum = (count: (one: Converged) => number) =>
    all.reduce((total, one) => total + count(one), 0);
  const withProblem = (problem: Converged["problem"]) =>
    sum((one) => (one.problem === problem ? 1 : 0));
  const counts = {
    Enforced: sum(({ enforced }) => enforced),
    Waiting: sum(({ waiting }) => waiting),
    Shadowed: sum(({ shadowed }) => shadowed),
    Foreign: sum(({ foreign }) => foreign),
    ChangesApplied: sum(({ applied }) => applied),
    ChangesLeft: sum(({ left }) => left),
    ChangesRefused: sum(({ refused }) => refused),
    DriftRepaired: sum(({ drifted }) => drifted),
    NeverBlockUnreadable: sum(({ isNeverBlockReadable }) => (isNeverBlockReadable ? 0 : 1)),
    TargetMissing: withProblem("missing") + withProblem("not ours"),
    Unassociated: withProblem("unassociated"),
    TargetFailed: failed.size,
    OffendersForgotten: offendersForgotten,
  };
  for (const [name, count] of Object.entries(counts)) metrics.addMetric(name, "Count", count);
}
