import { LRUCache } from "lru-cache";
import type { Logger } from "../../shared/aws/log.ts";
import type { Sources } from "../../shared/aws/table/sources.ts";
import { type Cidr, parseCidr } from "../../shared/domain/cidr.ts";
import type { EpochMillis, Millis } from "../../shared/domain/time.ts";

/** After this time an instance notes an address again, well within the day that the table remembers it. */
const NOTE_MS: Millis = 3_600_000;
const MAX_NOTED = 1_000;

/** How long an instance uses the addresses that it last read. */
const READ_AGE_MS: Millis = 60_000;

/** How long a failing table is left alone. */
const FAILURE_MS: Millis = 2_000;

/** No request waits longer for the table. */
const ANSWER_MS: Millis = 300;

export type CallerSources = ReturnType<typeof createCallerSources>;

/**
 * The addresses that callers call from: blocking a range that contains one would cut that caller off. A
 * failure to note or read them must not keep a request from being answered.
 */
export function createCallerSources(sources: Sources, log: Pick<Logger, "warn">) {
  const addresses = new LRUCache<string, Cidr>({ max: MAX_NOTED });
  const noted = new LRUCache<string, number>({ max: MAX_NOTED });
  let known: { readonly until: EpochMillis; readonly recent: Promise<readonly Cidr[]> } | undefined;

  function addressOf(ip: string): Cidr {
    const address = addresses.get(ip) ?? parseCidr(ip);
    addresses.set(ip, address);
    return address;
  }

  async function read(before: readonly Cidr[], now: EpochMillis): Promise<readonly Cidr[]> {
    try {
      return await sources.recent(now, AbortSignal.timeout(ANSWER_MS));
    } catch (error) {
      log.warn("The callers' addresses cannot be read", error as Error);
      known = { until: now + FAILURE_MS, recent: Promise.resolve(before) };
      return before;
    }
  }

  return {
    /** Cached, as a detector calls again and again from the same address. */
    addressOf,

    /** Never throws. */
    async note(ip: string, now: EpochMillis): Promise<void> {
      const age = now - (noted.get(ip) ?? Number.NEGATIVE_INFINITY);
      if (age >= 0 && age < NOTE_MS) return;
      noted.set(ip, now);
      try {
        await sources.saw(addressOf(ip), now, AbortSignal.timeout(ANSWER_MS));
      } catch (error) {
        noted.set(ip, now - NOTE_MS + FAILURE_MS);
        log.warn("A caller's address cannot be noted", error as Error);
      }
    },

    /** Never throws: if the read fails, what was read before applies. */
    async recent(now: EpochMillis): Promise<readonly Cidr[]> {
      if (known && now < known.until && known.until - now <= READ_AGE_MS) return known.recent;
      const before = known?.recent ?? Promise.resolve([]);
      known = { until: now + READ_AGE_MS, recent: before.then((cidrs) => read(cidrs, now)) };
      return known.recent;
    },
  };
}
