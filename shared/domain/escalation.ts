import { type EpochMillis, type EpochSeconds, type Seconds, toEpochSeconds } from "./time.ts";

/** How much longer each further block of the same address lasts. */
export type Escalation = {
  /** Each strike multiplies the duration by this; 1 turns escalation off. */
  readonly factor: number;
  /** No escalated block lasts longer than this. */
  readonly max: Seconds;
};

/**
 * When the `strikes`-th block of an address ends. The duration that the report asks for is the minimum,
 * even above the cap.
 */
export function escalate(
  report: { readonly reportedAt: EpochMillis; readonly expiresAt: EpochSeconds },
  strikes: number,
  { factor, max }: Escalation,
): EpochSeconds {
  const begin = toEpochSeconds(report.reportedAt);
  const asked = report.expiresAt - begin;
  // Kept finite, as zero times infinity is NaN.
  const longer = Math.min(factor ** (strikes - 1), Number.MAX_VALUE);
  return begin + Math.max(asked, Math.floor(Math.min(asked * longer, max)));
}
