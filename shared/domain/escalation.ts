/** How much longer each further block of the same address lasts. */
export type Escalation = {
  /** Each strike multiplies the duration by this; 1 turns escalation off. */
  readonly factor: number;
  /** No escalated block lasts longer than this, in seconds. */
  readonly maxSeconds: number;
};

/**
 * Until when, in epoch seconds, the block lasts that begins as the `strikes`-th of its address. The
 * asked-for duration is the minimum, even above the cap.
 */
export function escalate(
  report: { readonly reportedAt: number; readonly expiresAt: number },
  strikes: number,
  { factor, maxSeconds }: Escalation,
): number {
  const begin = Math.floor(report.reportedAt / 1000);
  const asked = report.expiresAt - begin;
  // Finite, as nothing times infinity is no number.
  const longer = Math.min(factor ** (strikes - 1), Number.MAX_VALUE);
  return begin + Math.max(asked, Math.floor(Math.min(asked * longer, maxSeconds)));
}
