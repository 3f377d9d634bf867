import { applyReport, type Block, type BlockPolicy } from "../../shared/domain/block.ts";
import { type ReportChange, reportOf } from "./reports.ts";

/** No escalation, and a half-life of ten minutes. */
export const PLAIN_POLICY: BlockPolicy = {
  escalation: { factor: 1, max: 1 },
  halfLife: 600_000,
  threshold: 0,
};

/** The block that a report of the address begins. */
export function blockOf(cidr: string, change: ReportChange = {}): Block {
  const report = reportOf(cidr, change);
  const block = applyReport(undefined, report, 0, PLAIN_POLICY, report.reportedAt);
  if (!block) throw new Error("A report whose time is over begins no block.");
  return block;
}
