import type { Metrics } from "../../shared/aws/log.ts";
import type { Converged } from "./converge.ts";
import type { Results } from "./convergeAll.ts";

/** Values of one metric that fit a log line; more would be published without dimensions. */
const MAX_VALUES = 99;

/**
 * Publishes what a converge did, as the alarms watch it (infra/watch/alarms.cjs): each target's metrics with
 * the dimension `target`, the others without.
 */
export function publishMetrics(
  metrics: Pick<Metrics, "addDimension" | "addMetric" | "publishStoredMetrics">,
  { converged, failed }: Pick<Results, "converged" | "failed">,
  offendersForgotten: number,
): void {
  const publish = (counts: Readonly<Record<string, number>>) => {
    for (const [name, count] of Object.entries(counts)) metrics.addMetric(name, "Count", count);
    metrics.publishStoredMetrics();
  };
  for (const target of new Set([...converged.keys(), ...failed.keys()])) {
    const one = converged.get(target);
    const times = [...(one?.timesToEntry ?? [])];
    while (times.length > 0) {
      metrics.addDimension("target", target);
      for (const time of times.splice(0, MAX_VALUES))
        metrics.addMetric("TimeToEntry", "Milliseconds", time);
      publish({});
    }
    metrics.addDimension("target", target);
    publish({ ...(one && countsOf(one)), TargetFailed: failed.has(target) ? 1 : 0 });
  }
  // The alarm for a stopped enforcer watches for silence, so publish nothing if no target converged.
  const converges = converged.size > 0 ? { Converges: converged.size } : {};
  publish({ ...converges, OffendersForgotten: offendersForgotten });
}

function countsOf(one: Converged): Readonly<Record<string, number>> {
  const { problem } = one;
  return {
    Enforced: one.enforced,
    Waiting: one.waiting,
    Shadowed: one.shadowed,
    Foreign: one.foreign,
    ChangesApplied: one.applied,
    ChangesLeft: one.left,
    ChangesRefused: one.refused,
    DriftRepaired: one.drifted,
    NeverBlockUnreadable: one.isNeverBlockReadable ? 0 : 1,
    TargetMissing: problem === "missing" || problem === "not ours" ? 1 : 0,
    Unassociated: problem === "unassociated" ? 1 : 0,
  };
}
