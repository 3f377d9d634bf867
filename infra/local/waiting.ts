import { setTimeout as sleep } from "node:timers/promises";

/** Waits, but no longer than until the signal. Never throws. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  await sleep(ms, undefined, signal ? { signal } : {}).catch(() => undefined);
}

/** The promise's value, or `undefined` if it takes longer. */
export async function within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  const done = new AbortController();
  return Promise.race([promise, pause(ms, done.signal).then(() => undefined)]).finally(() =>
    done.abort(),
  );
}

/** Asks repeatedly until the answer is not `undefined`; `undefined` when time is up. */
export async function poll<T>(
  ask: () => Promise<T | undefined> | T | undefined,
  timeoutMs: number,
  everyMs = 50,
): Promise<T | undefined> {
  const untilMs = performance.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() >= untilMs) return undefined;
    await pause(everyMs);
  }
}

/** 100 ms, 200 ms, 400 ms … never more than the limit. */
export const backoffMs = (attempt: number, limitMs = 10_000): number =>
  Math.min(limitMs, 100 * 2 ** attempt);
