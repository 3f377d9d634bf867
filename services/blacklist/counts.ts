import type { Metrics } from "../../shared/aws/log.ts";
import type { EpochMillis, Millis } from "../../shared/domain/time.ts";
import type { Measure, Metric } from "./blacklist.ts";

/** What is counted within this time is published together. */
const TOGETHER: Millis = 1_000;

/** The metrics of the endpoint, counted until they are published. */
export type Counts = {
  readonly measure: Measure;
  /** Call after each request. */
  publish(): void;
};

/**
 * Publishing a metric writes a log line, which in a flood costs more than what it counts. So whatever is
 * counted within a second of a publication goes out together, with the first request after that second. If
 * no further request reaches the instance, its last second's count is lost.
 */
export function createCounts(
  metrics: Pick<Metrics, "addMetric" | "publishStoredMetrics">,
  clock: () => EpochMillis,
): Counts {
  const counts = new Map<Metric, number>();
  let publishedAt = Number.NEGATIVE_INFINITY;
  return {
    measure(metric) {
      counts.set(metric, (counts.get(metric) ?? 0) + 1);
    },
    publish() {
      if (counts.size === 0) return;
      const now = clock();
      if (now - publishedAt < TOGETHER) return;
      for (const [metric, count] of counts) metrics.addMetric(metric, "Count", count);
      metrics.publishStoredMetrics();
      counts.clear();
      publishedAt = now;
    },
  };
}

/**
 * Counts some detectors' reports separately. Each costs a metric of its own, so only detectors that an alarm
 * watches are counted.
 */
export function countReports(
  metrics: Pick<Metrics, "singleMetric">,
  watched: readonly string[],
): (detector: string, reports: number) => void {
  return (detector, reports) => {
    if (!watched.includes(detector)) return;
    const single = metrics.singleMetric();
    single.addDimension("detector", detector);
    single.addMetric("Reports", "Count", reports);
  };
}
