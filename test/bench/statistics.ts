/** The value below which the share `p` (0 to 1) of the values lies; NaN where there are none. */
export function percentile(values: readonly number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const index = Math.max(0, Math.ceil(p * sorted.length) - 1);
  return sorted[index] ?? Number.NaN;
}

export const median = (values: readonly number[]): number => percentile(values, 0.5);

/** How long the work takes, in milliseconds. */
export async function timeOf(work: () => unknown): Promise<number> {
  const begin = performance.now();
  await work();
  return performance.now() - begin;
}

/**
 * Times several kinds of work in turn, `rounds` times each, so that a noisy moment of the machine
 * meets all of them; each round begins with another kind.
 *
 * @param prepare before each timing, itself not timed
 */
export async function interleave<K extends string>(
  works: Readonly<Record<K, (round: number) => unknown>>,
  rounds: number,
  prepare: (kind: K, round: number) => unknown = () => undefined,
): Promise<Record<K, number[]>> {
  const kinds = Object.keys(works) as K[];
  const times = Object.fromEntries(kinds.map((kind) => [kind, [] as number[]])) as Record<
    K,
    number[]
  >;
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < kinds.length; turn++) {
      const kind = kinds[(round + turn) % kinds.length] as K;
      await prepare(kind, round);
      times[kind].push(await timeOf(() => works[kind](round)));
    }
  }
  return times;
}

/** Does the jobs 0 … count-1, so many at a time. */
export async function inParallel(
  count: number,
  concurrency: number,
  job: (index: number) => Promise<unknown>,
): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < count) await job(next++);
  };
  await Promise.all(Array.from({ length: concurrency }, lane));
}
