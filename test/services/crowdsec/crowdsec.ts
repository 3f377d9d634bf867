import { CALLER, type Crowdsec } from "../../../services/crowdsec/pull.ts";
import type { Outgoing } from "../../../shared/aws/queue.ts";
import { ConflictError } from "../../../shared/aws/table/items.ts";
import type { Progress, Pulls, Reported } from "../../../shared/aws/table/pulls.ts";
import { type Caller, DEFAULT_LIMITS, type Limits } from "../../../shared/domain/caller.ts";
import type { EpochMillis } from "../../../shared/domain/time.ts";

// A pull's surroundings in memory, which can fail at any moment.

export const callerOf = (limits: Partial<Limits> = {}, change: Partial<Caller> = {}): Caller => ({
  ...{ name: CALLER, role: "detector", weight: 1, from: [] },
  limits: { ...DEFAULT_LIMITS.detector, ...limits },
  ...change,
});

/** Remembers as the table does (test/contract/table/pulls.test.ts). */
export function createMemoryPulls(): Pulls {
  let progress: (Progress & { aloneUntil?: EpochMillis }) | undefined;
  const items = new Map<string, Reported>();
  const isAlone = (until: EpochMillis) => progress?.aloneUntil === until;
  return {
    async begin(now, until) {
      if ((progress?.aloneUntil ?? 0) > now) throw new ConflictError("Another pull runs.");
      const { wholeAt = 0, unfinishedSince } = progress ?? {};
      progress = { wholeAt, unfinishedSince: unfinishedSince ?? now, aloneUntil: until };
      return { wholeAt, unfinishedSince };
    },
    async finish(until, wholeAt) {
      if (!isAlone(until)) throw new ConflictError("Another pull runs.");
      progress = { wholeAt };
    },
    async giveUp(until) {
      if (isAlone(until)) progress = { wholeAt: 0, ...progress, aloneUntil: 0 };
    },
    reported: async (now) =>
      new Map([...items].filter(([, { expiresAt }]) => expiresAt * 1000 > now)),
    async remember(reported) {
      for (const one of reported) items.set(one.cidr.text, one);
    },
    async forget(cidrs) {
      for (const { text } of cidrs) items.delete(text);
    },
  };
}

export type Surroundings = Crowdsec & {
  /** What the queue has taken, in its order. */
  readonly sent: Outgoing[];
  readonly logged: [string, unknown][];
};

/** @param change what else than what a test's pulls have by default */
export function createSurroundings(
  change: Partial<Crowdsec> & Pick<Crowdsec, "lapi">,
): Surroundings {
  const sent: Outgoing[] = [];
  const logged: [string, unknown][] = [];
  const log = (...line: [string, unknown]) => void logged.push(line);
  return {
    pulls: createMemoryPulls(),
    callers: async () => new Map([[CALLER, callerOf()]]),
    budgets: { take: async (_caller, _minute, count) => count },
    outstanding: { read: async () => ({ own: 0, all: 0 }) },
    queue: {
      async sendAll(entries) {
        sent.push(...entries);
        return entries.map(() => true);
      },
    },
    origins: ["crowdsec", "cscli"],
    blockLimit: 200_000,
    log: { info: log, warn: log } as never,
    clock: Date.now,
    ...change,
    sent,
    logged,
  };
}
