import type { Report } from "../../shared/domain/block.ts";
import { parseCidr } from "../../shared/domain/cidr.ts";

/** The moment at which tests begin, in epoch milliseconds. */
export const NOW = 1_800_000_000_000;

/** A report of `cidr` that lasts a minute from `NOW` on, unless the test says otherwise. */
export function reportOf(
  cidr: string,
  { seconds = 60, ...change }: Partial<Report> & { readonly seconds?: number } = {},
): Report {
  const reportedAt = change.reportedAt ?? NOW;
  return {
    cidr,
    family: parseCidr(cidr).family,
    expiresAt: Math.floor(reportedAt / 1000) + seconds,
    reportedAt,
    severity: 5,
    reason: "port scan",
    detector: "suricata",
    weight: 1,
    byOperator: false,
    requestId: `request-${reportedAt - NOW}`,
    ...change,
  };
}
