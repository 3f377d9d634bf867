import { LRUCache } from "lru-cache";
import type { Logger } from "../../shared/aws/log.ts";
import type { Activities, Activity, Seen } from "../../shared/aws/table/activity.ts";
import type { EpochMillis, Millis } from "../../shared/domain/time.ts";

/** What an instance sees of a detector within this time is written together. */
const TOGETHER: Millis = 5_000;

/** No request waits longer for the table. */
const ANSWER: Millis = 300;

const MAX_DETECTORS = 1_000;

/** The activity of detectors: an operator must see which one keeps being refused, and which is silent. */
export type DetectorActivity = {
  /**
   * Never throws: a table that is down must not turn reports away. What arrives within five seconds of a
   * write is written with the first request after that; if no further request reaches the instance, it is
   * lost.
   */
  saw(detector: string, seen: Seen, now: EpochMillis): Promise<void>;
  /** All detectors, including what this instance has not written yet. @throws Error */
  all(now: EpochMillis): Promise<readonly Activity[]>;
};

type Pending = { -readonly [Key in keyof Seen]: Seen[Key] } & { readonly writtenAt: EpochMillis };

const NOTHING: Seen = { accepted: 0, refused: 0 };

/** @param count is called with the number of a detector's reports that were seen */
export function createDetectorActivity(
  activities: Activities,
  log: Pick<Logger, "warn">,
  count: (detector: string, reports: number) => void = () => {},
): DetectorActivity {
  const pending = new LRUCache<string, Pending>({ max: MAX_DETECTORS });

  async function write(detector: string, seen: Seen, now: EpochMillis): Promise<void> {
    pending.set(detector, { ...NOTHING, writtenAt: now });
    count(detector, seen.accepted + seen.refused);
    try {
      await activities.add(detector, seen, now, AbortSignal.timeout(ANSWER));
    } catch (error) {
      log.warn("What a detector does cannot be noted", error as Error);
    }
  }

  return {
    async saw(detector, seen, now) {
      const before = pending.get(detector);
      const age = now - (before?.writtenAt ?? Number.NEGATIVE_INFINITY);
      if (before) add(before, seen);
      if (!before || age < 0 || age >= TOGETHER) await write(detector, before ?? seen, now);
    },

    async all(now) {
      const open = [...pending].filter(([, { accepted, refused }]) => accepted + refused > 0);
      await Promise.all(open.map(([detector, seen]) => write(detector, seen, now)));
      return activities.all(AbortSignal.timeout(ANSWER));
    },
  };
}

function add(pending: Pending, { accepted, refused, lastRefusal }: Seen): void {
  pending.accepted += accepted;
  pending.refused += refused;
  if (lastRefusal) pending.lastRefusal = lastRefusal;
}
