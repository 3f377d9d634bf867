import type { EpochMillis, Millis } from "../domain/time.ts";
import type { Logger } from "./log.ts";
import { MAX_LAST_KNOWN } from "./parameters.ts";
import type { Addition, Additions } from "./table/additions.ts";

/**
 * How long an instance trusts its last look: what an operator adds or revokes takes effect everywhere
 * within this time. A look is one small read, whatever the number of items.
 */
export const LOOK_EVERY: Millis = 5_000;

/** How long a failing table is left alone, so that not every request waits for it to fail. */
const FAILURE_AGE: Millis = 2_000;

/**
 * What operators have added to a partition: the same array as long as nothing changes.
 *
 * @param notBefore a look from before this moment does not count
 * @throws Error if it cannot be read and the last read is more than an hour old
 */
export type Added = (notBefore?: EpochMillis) => Promise<readonly Addition[]>;

/** @param maxAge how long the last read is trusted without a look at its version */
export function createAdded(
  additions: Additions,
  log: Pick<Logger, "error">,
  clock: () => EpochMillis,
  maxAge: Millis = LOOK_EVERY,
): Added {
  let known: { version: number; items: readonly Addition[]; readAt: EpochMillis } | undefined;
  let failure: { error: unknown; at: EpochMillis } | undefined;
  let looking: Promise<void> | undefined;

  async function look(): Promise<void> {
    const startedAt = clock();
    try {
      const version = await additions.version();
      const items = version === known?.version ? known.items : await additions.items();
      known = { version, items, readAt: startedAt };
      failure = undefined;
    } catch (error) {
      log.error("What operators have added cannot be read", error as Error);
      failure = { error, at: clock() };
    }
  }

  return async (notBefore = 0) => {
    const now = clock();
    const isFresh = known !== undefined && now - known.readAt < maxAge && known.readAt >= notBefore;
    const hasJustFailed = failure !== undefined && now - failure.at < FAILURE_AGE;
    if (!isFresh && !hasJustFailed) {
      looking ??= look().finally(() => {
        looking = undefined;
      });
      await looking;
    }
    if (known && clock() - known.readAt <= MAX_LAST_KNOWN) return known.items;
    throw failure?.error;
  };
}
