import type { Report } from "../../shared/domain/block.ts";
import { parseCidr } from "../../shared/domain/cidr.ts";
import type { EpochMillis, Seconds } from "../../shared/domain/time.ts";

/** The moment at which tests begin. */
export const NOW: EpochMillis = 1_800_000_000_000;

export type ReportChange = Partial<Omit<Report, "cidr">> & { readonly seconds?: Seconds };

/** A report of the address that lasts a minute from `NOW` on, unless the test says otherwise. */
export function reportOf(cidr: string, { seconds = 60, ...change }: ReportChange = {}): Report {
  const reportedAt = change.reportedAt ?? NOW;
  return {
    cidr: parseCidr(cidr),
    expiresAt: Math.floor(reportedAt / 1000) + seconds,
    reportedAt,
    severity: 5,
    reason: "port scan",
    detector: "suricata",
    weight: 1,
    byOperator: false,
    leastPrefix: 24,
    requestId: `request-${reportedAt - NOW}`,
    count: 1,
    ...change,
  };
}
