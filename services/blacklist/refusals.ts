import { LRUCache } from "lru-cache";
import type { Logger } from "../../shared/aws/log.ts";
import type { EpochMillis, Millis } from "../../shared/domain/time.ts";

/** How many refusals of a kind an instance logs in full per minute. */
const IN_FULL = 5;

/** How many kinds are counted at a time. */
const MAX_KINDS = 1_000;

const MINUTE: Millis = 60_000;

/** Refusals that count as alike: with the same code, to the same caller or to unknown callers. */
type Kind = { readonly code: string; readonly caller: string | undefined; count: number };

/** What the log says about a refusal. */
type Line = { readonly caller?: string | undefined; readonly [key: string]: unknown };

/** The log of refusals. */
export type Refusals = {
  note(code: string, line: Line): void;
  /** Once a minute is over, logs how many of each kind were not logged. */
  endMinute(): void;
};

/**
 * Anybody can be refused as often as the gateway lets them, and a log line costs more than the refusal. So
 * the first few of each kind are logged each minute, and the others counted. The count is logged with the
 * first request after that minute, or when too many other kinds displace it.
 */
export function createRefusals(log: Pick<Logger, "info">, clock: () => EpochMillis): Refusals {
  let minute = 0;
  const kinds = new LRUCache<string, Kind>({
    max: MAX_KINDS,
    dispose: ({ code, caller, count }) => {
      const suppressed = count - IN_FULL;
      if (suppressed > 0) log.info("Refused more", { code, caller, suppressed });
    },
  });
  return {
    note(code, line) {
      const name = `${code} ${line.caller ?? ""}`;
      const kind = kinds.get(name) ?? { code, caller: line.caller, count: 0 };
      if (kind.count === 0) kinds.set(name, kind);
      kind.count++;
      if (kind.count <= IN_FULL) log.info("Refused", line);
    },
    endMinute() {
      const now = Math.floor(clock() / MINUTE);
      if (now === minute) return;
      minute = now;
      kinds.clear();
    },
  };
}
