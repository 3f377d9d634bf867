import type { Logger } from "../../shared/aws/log.ts";
import type { Blocks } from "../../shared/aws/table/blocks.ts";
import type { EpochMillis, Millis } from "../../shared/domain/time.ts";

/** Removes expired blocks that TTL has not deleted yet and that stand before live ones. */
export type Sweeper = {
  /** Begins at once, from these ranks downwards, concurrently with everything else. Never throws. */
  begin(expiredFrom: readonly string[]): void;
  /** Call once all else is done: goes on for the rest of its time, and says how far it got. */
  end(): Promise<Swept>;
};

export type Swept = {
  readonly removed: number;
  /** Its time was up before all were gone: the sweep should be resumed at once. */
  readonly isMore: boolean;
};

/**
 * How long a sweep may last, from its beginning, once all other work is done: only one enforcer runs at a
 * time, and blocks that begin or end meanwhile wait for it. The next invocation sweeps the rest.
 */
const ALONE: Millis = 1_000;

/** One sweeper per instance: what several targets meet is swept once. */
export function createSweeper(
  blocks: Pick<Blocks, "removeExpired">,
  {
    log,
    clock,
  }: { readonly log: Pick<Logger, "info" | "warn">; readonly clock: () => EpochMillis },
): Sweeper {
  let sweep = newSweep();

  async function run(own: Sweep): Promise<void> {
    for (let from = own.open.shift(); from !== undefined; from = own.open.shift()) {
      let next: string | undefined = from;
      while (next !== undefined) {
        if (clock() >= own.stopAt) {
          own.isMore = true;
          return;
        }
        const page: Page = await blocks.removeExpired(next, clock());
        own.removed += page.removed;
        next = page.next;
      }
    }
  }

  return {
    begin(expiredFrom) {
      const own = sweep;
      const isNew = (from: string) => !own.known.has(from);
      own.open.push(...expiredFrom.filter(isNew));
      for (const from of expiredFrom) own.known.add(from);
      if (own.running || own.open.length === 0) return;
      own.begunAt ??= clock();
      own.running = run(own)
        // The next converge that meets them tries again.
        .catch((error: Error) => log.warn("Expired blocks could not be removed", error))
        .finally(() => {
          own.running = undefined;
        });
    },

    async end() {
      const own = sweep;
      sweep = newSweep();
      own.stopAt = (own.begunAt ?? clock()) + ALONE;
      await own.running;
      const { removed, isMore } = own;
      if (removed > 0 || isMore) log.info("Removed expired blocks", { removed, isMore });
      return { removed, isMore };
    },
  };
}

type Page = Awaited<ReturnType<Blocks["removeExpired"]>>;

/** The sweep of one invocation. */
type Sweep = {
  /** The ranks still to begin from, and all ranks ever given. */
  readonly open: string[];
  readonly known: Set<string>;
  begunAt?: EpochMillis;
  stopAt: EpochMillis;
  running: Promise<void> | undefined;
  removed: number;
  isMore: boolean;
};

const newSweep = (): Sweep => ({
  open: [],
  known: new Set(),
  stopAt: Number.POSITIVE_INFINITY,
  running: undefined,
  removed: 0,
  isMore: false,
});
