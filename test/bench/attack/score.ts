/**
 * Reports counted with exponential decay, kept as a time that never needs rewriting as time passes
 * (forward decay: Cormode, Shkapenyuk, Srivastava, Xu, ICDE 2009):
 *
 *     score = halfLife · log2(Σ 2^(t / halfLife))
 *
 * One report at t scores t, and n reports at once score t + halfLife · log2 n.
 */
export function scoreAfter(
  before: number | undefined,
  { atMs, count }: { readonly atMs: number; readonly count: number },
  halfLifeMs: number,
): number {
  const added = atMs + halfLifeMs * Math.log2(count);
  if (before === undefined) return added;
  const apart = Math.abs(before - added) / halfLifeMs;
  return Math.max(before, added) + halfLifeMs * Math.log2(1 + 2 ** -apart);
}
