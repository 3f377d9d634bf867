import { setTimeout as pause } from "node:timers/promises";
import type { EpochMillis, EpochSeconds, Millis } from "../../shared/domain/time.ts";
import type { Target, TargetChange } from "../../shared/targets/target.ts";
import { type Converged, convergeOnce, type Enforcer, type Round } from "./converge.ts";

/** A target that is ready to be converged. */
export type Convergence = {
  readonly id: string;
  readonly interval: Millis;
  once(deadline: EpochMillis): Promise<Round>;
};

/** Binds a target of any kind to the enforcer. */
export const convergenceOf = <Record, Actual, Change extends TargetChange>(
  enforcer: Enforcer,
  target: Target<Record, Actual, Change>,
): Convergence => ({
  id: target.id,
  interval: target.interval,
  once: (deadline) => convergeOnce(enforcer, target, deadline),
});

/** What became of each target: what its last round reported, or why there was none. */
export type Results = {
  readonly converged: ReadonlyMap<string, Converged>;
  readonly failed: ReadonlyMap<string, Error>;
  /** When to look again; undefined if there is no need. */
  readonly wakeUpAt: EpochSeconds | undefined;
};

/** While one target is busy, the others look again this often, so that each converges as if alone. */
const LOOK_AGAIN: Millis = 500;

/** At most this many plans per target in one converge; the deadline usually comes first. */
const MAX_ROUNDS = 100;

/** A converge that meets a quota plans again with what it learnt; people may take slots too. */
const MAX_QUOTA_ROUNDS = 3;

/**
 * A failed round is repeated at once, until this many have failed in a row: a lost answer from DynamoDB ends
 * in a conflict with our own write, and must not keep a block beyond its end.
 */
const MAX_FAILURES = 3;

/** After this time, a target whose changes were left or whose converge failed is tried again. */
const RETRY: Millis = 10_000;

/** What one converge knows about a target while it runs. */
type Progress = {
  applied: number;
  timesToEntry: Millis[];
  last?: Converged;
  error?: Error;
  /** Rounds that failed in a row. */
  failures: number;
  isBusy: boolean;
  retryAt?: EpochMillis;
};

/**
 * Converges all targets concurrently, each as if alone. A target that throttles goes on, with a new plan
 * every two seconds, until everything is done or the time is up; one that keeps failing or is missing is
 * left for later. Meanwhile the others keep up with the list, and all of them do while the function has
 * other work (`beside`): blocks that begin or end must not wait for that. `wakeUpAt` is when the first block
 * that holds a place ends, or when what was left is to be tried again.
 */
export function createConvergeAll(
  targets: readonly Convergence[],
  clock: () => EpochMillis,
  wait: (ms: Millis, signal: AbortSignal) => Promise<unknown> = pauseUnlessAborted,
) {
  const lastReadAt = new Map<string, EpochMillis>();

  return async function convergeAll(
    deadline: EpochMillis,
    beside?: Promise<unknown>,
  ): Promise<Results> {
    const progress = new Map(
      targets.map(({ id }): [string, Progress] => [
        id,
        { applied: 0, timesToEntry: [], failures: 0, isBusy: true },
      ]),
    );
    /** Aborted once no work is left: then nobody need look again. */
    const over = new AbortController();
    let isBeside = beside !== undefined;
    const endIfIdle = () => {
      if (!isBeside && ![...progress.values()].some(({ isBusy }) => isBusy)) over.abort();
    };
    const endBeside = () => {
      isBeside = false;
      endIfIdle();
    };
    beside?.then(endBeside, endBeside);

    async function keepUp(target: Convergence): Promise<void> {
      const own = progress.get(target.id) as Progress;
      for (let round = 1; round <= MAX_ROUNDS; round++) {
        const dueAt = (lastReadAt.get(target.id) ?? Number.NEGATIVE_INFINITY) + target.interval;
        if (dueAt <= clock()) {
          lastReadAt.set(target.id, clock());
          own.isBusy = await tryOnce(target, own, round, deadline, clock);
        } else {
          own.isBusy = false;
          own.retryAt = dueAt;
        }
        endIfIdle();
        if (over.signal.aborted || clock() >= deadline) break;
        if (!own.isBusy) await wait(LOOK_AGAIN, over.signal);
        if (over.signal.aborted) break;
      }
      own.isBusy = false;
      endIfIdle();
    }
    await Promise.all(targets.map(keepUp));

    const entries = [...progress];
    const next = entries.flatMap(([, { last, retryAt }]) => [
      ...(last?.nextEnd === undefined ? [] : [last.nextEnd]),
      ...(retryAt === undefined ? [] : [Math.ceil(retryAt / 1000)]),
    ]);
    return {
      converged: new Map(
        entries.flatMap(([id, { last, applied, timesToEntry }]) =>
          last ? [[id, { ...last, applied, timesToEntry }]] : [],
        ),
      ),
      failed: new Map(entries.flatMap(([id, { error }]) => (error ? [[id, error]] : []))),
      wakeUpAt: next.length > 0 ? Math.min(...next) : undefined,
    };
  };
}

async function pauseUnlessAborted(ms: Millis, signal: AbortSignal): Promise<void> {
  await pause(ms, undefined, { signal }).catch(() => {});
}

/** @returns whether another round must follow at once */
async function tryOnce(
  target: Convergence,
  own: Progress,
  round: number,
  deadline: EpochMillis,
  clock: () => EpochMillis,
): Promise<boolean> {
  delete own.retryAt;
  delete own.error;
  try {
    const { converged, isInterrupted, hasLearnt } = await target.once(deadline);
    own.applied += converged.applied;
    own.timesToEntry.push(...converged.timesToEntry);
    own.last = converged;
    own.failures = 0;
    if (isInterrupted || (hasLearnt && round < MAX_QUOTA_ROUNDS)) {
      own.retryAt = clock() + 1_000;
      return true;
    }
    // Only a person can fix refused calls: the job that runs every minute tries them again.
    if (converged.left > converged.refused) own.retryAt = clock() + RETRY;
    return false;
  } catch (error) {
    own.error = error as Error;
    own.failures++;
    own.retryAt = clock() + RETRY;
    return own.failures < MAX_FAILURES;
  }
}
