import { LRUCache } from "lru-cache";
import type { Logger } from "../../shared/aws/log.ts";
import type { Budgets } from "../../shared/aws/table/budgets.ts";
import type { Outstanding } from "../../shared/aws/table/outstanding.ts";
import type { Caller } from "../../shared/domain/caller.ts";
import type { EpochMillis, Millis } from "../../shared/domain/time.ts";
import { listFull, overBudget, type Refusal, tooManyBlocks } from "./errors.ts";
import { within } from "./within.ts";

/** How much of what a caller asked for was granted, and why no more. */
export type Spent = { readonly granted: number; readonly refusal?: Refusal };

export type Budget = {
  /**
   * Never throws: a failing store must not turn blocks away. Withdrawals are accepted however many blocks
   * are in force.
   */
  spend(
    caller: Caller,
    count: number,
    now: EpochMillis,
    what?: "blocks" | "withdrawals",
  ): Promise<Spent>;
  /** Returns what was spent on messages that could not be queued. */
  giveBack(caller: Caller, count: number, now: EpochMillis): void;
};

/** An instance takes a caller's budget for a minute in this many parts. */
const GRANTS = 20;

/** No report waits longer for the table. */
const ANSWER_MS: Millis = 300;

/** How long a failing table is left alone, so that not every report waits for it to fail. */
const FAILURE_MS: Millis = 2_000;

/** How long a caller with too many blocks is refused before they are counted again. */
const FULL_MS: Millis = 5_000;

const MAX_CALLERS = 1_000;

/** An instance's share of a caller's budget for one minute. */
type Share = {
  readonly minute: number;
  /** Granted but not yet spent. */
  left: number;
  /** Everything granted to this instance. */
  granted: number;
  /** Nothing more is available before the next minute. */
  isSpent: boolean;
  /** Why the caller is refused for a while, however much is left. */
  full?: { readonly refusal: Refusal; readonly until: EpochMillis } | undefined;
};

/**
 * How many addresses a caller may still report in this minute. All instances draw on one counter in the
 * table; each takes a twentieth of the budget at a time and spends it locally, so that a report rarely costs
 * a call, and one past the budget never does.
 *
 * - All instances together grant a caller no more than its budget.
 * - What an instance has taken but does not spend is lost to the others: with n instances a caller gets at
 *   least 1 − n/20 of its budget, and all of it if a single one serves it.
 * - While the table does not answer, each instance grants up to the budget by itself: n instances grant up
 *   to n times as much.
 *
 * With each part the blocks in force are counted too, the caller's own and all together, so a caller may
 * exceed these limits by one part of its budget per instance.
 *
 * @param blockLimit the most blocks that may be in force, of all callers together
 */
export function createBudget(
  budgets: Budgets,
  outstanding: Pick<Outstanding, "read">,
  blockLimit: number,
  log: Pick<Logger, "error">,
): Budget {
  const shares = new LRUCache<string, Share>({ max: MAX_CALLERS });
  let failing: { readonly until: EpochMillis } | undefined;

  function shareOf({ name }: Caller, now: EpochMillis): Share {
    const minute = Math.floor(now / 60_000);
    const known = shares.get(name);
    if (known?.minute === minute) return known;
    const share = { minute, left: 0, granted: 0, isSpent: false };
    shares.set(name, share);
    return share;
  }

  /** The table's answer, if it comes in time; undefined if it fails, which is logged once. */
  async function ask<T>(now: EpochMillis, question: () => Promise<T>): Promise<T | undefined> {
    if (failing && now < failing.until) return undefined;
    try {
      const answer = await within(ANSWER_MS, question());
      failing = undefined;
      return answer;
    } catch (error) {
      if (!failing)
        log.error("The budgets cannot be read, so each instance grants alone", error as Error);
      failing = { until: now + FAILURE_MS };
      return undefined;
    }
  }

  async function grant(caller: Caller, share: Share, missing: number, now: EpochMillis) {
    const { addressesPerMinute: limit, outstanding: mostBlocks } = caller.limits;
    const amount = missing > 0 ? Math.max(missing, Math.ceil(limit / GRANTS)) : 0;
    const [total, blocks] = await Promise.all([
      amount === 0
        ? 0
        : ask(now, () =>
            budgets.take(caller.name, share.minute, amount, AbortSignal.timeout(ANSWER_MS)),
          ),
      ask(now, () => outstanding.read(caller.name, now)),
    ]);
    const takenBefore = total === undefined ? share.granted : total - amount;
    const granted = Math.max(0, Math.min(amount, limit - takenBefore));
    share.granted += granted;
    share.left += granted;
    share.isSpent = granted < amount;
    const refusal =
      blocks === undefined
        ? undefined
        : blocks.own >= mostBlocks
          ? tooManyBlocks(mostBlocks)
          : blocks.all >= blockLimit
            ? listFull()
            : undefined;
    share.full = refusal && { refusal, until: now + FULL_MS };
  }

  return {
    async spend(caller, count, now, what = "blocks") {
      if (count === 0) return { granted: 0 };
      const share = shareOf(caller, now);
      const missing = share.isSpent ? 0 : Math.max(0, count - share.left);
      const isFull = what === "blocks" && share.full !== undefined && now < share.full.until;
      if (!isFull && (missing > 0 || share.full)) await grant(caller, share, missing, now);
      if (what === "blocks" && share.full) return { granted: 0, refusal: share.full.refusal };
      const granted = Math.min(count, share.left);
      share.left -= granted;
      if (granted === count) return { granted };
      return { granted, refusal: overBudget(caller.limits.addressesPerMinute, now) };
    },

    giveBack(caller, count, now) {
      shareOf(caller, now).left += count;
    },
  };
}
