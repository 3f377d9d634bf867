import { LRUCache } from "lru-cache";
import type { Logger } from "../../shared/aws/log.ts";
import type { EpochMillis, Millis } from "../../shared/domain/time.ts";

/** Refusals of a kind that an instance logs in full, each minute. */
const IN_FULL = 5;

/** Kinds that are counted at a time. */
const MAX_KINDS = 1_000;

const MINUTE: Millis = 60_000;

/** What is refused alike: with one code, to one caller, or to anybody who is not known. */
type Kind = { readonly code: string; readonly caller: string | undefined; count: number };

/** What the log says of a refusal. */
type Line = { readonly caller?: string | undefined; readonly [key: string]: unknown };

/** The log of what is refused. */
export type Refusals = {
  note(code: string, line: Line): void;
  /** Once a minute is over, says how many of each kind were not logged. */
  endMinute(): void;
};

/**
 * Anybody can be refused as often as the gateway lets them, and a line of the log costs more than the
 * refusal. So of each kind the first few of a minute are logged, the others counted; the count follows with
 * the first request after that minute, or when so many other kinds come that it is forgotten.
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
