import { applyReport, type Block, type BlockPolicy, type Report } from "./block.ts";
import type { Cidr } from "./cidr.ts";
import { type Corroboration, corroborate, type Suspect } from "./corroboration.ts";
import { type NeverBlock, protectedBy } from "./neverBlock.ts";
import type { Score } from "./score.ts";
import { type EpochMillis, type EpochSeconds, isExpired } from "./time.ts";
import { isHeld, isStale, type Unblock } from "./unblock.ts";

// decide: what the messages of a batch make of one address, in their order.
//
//   message    the address is                     → what happens
//   ────────────────────────────────────────────────────────────────────────────────
//   block      never to be blocked                  refused
//              reported for a time that is over,
//              or unblocked since                   stale
//              held, and no operator reports it     held
//              blocked                              extended
//              reported by too few detectors        suspected
//              none of these                        blocked
//   unblock    reported or unblocked since          stale
//              anything else                        unblocked

/** An operator's order that an address is to be let alone. */
export type UnblockOrder = {
  readonly cidr: Cidr;
  readonly requestedAt: EpochMillis;
  readonly operator: string;
  /** Until when the address is not to be blocked again; 0 for no hold. */
  readonly holdUntil: EpochSeconds;
  readonly requestId: string;
};

/** What travels through the queue. */
export type Message =
  | ({ readonly kind: "block" } & Report)
  | ({ readonly kind: "unblock" } & UnblockOrder);

/** What is known of an address. */
export type Known = {
  /** Expired ones included: TTL deletes late. */
  readonly block: Block | undefined;
  /** How many of its blocks have ended, and the score of the last of them. */
  readonly strikes: number;
  readonly score?: Score | undefined;
  readonly suspect: Suspect | undefined;
  readonly unblock: Unblock | undefined;
};

export const NOTHING_KNOWN: Known = {
  block: undefined,
  strikes: 0,
  suspect: undefined,
  unblock: undefined,
};

export type Policy = BlockPolicy & {
  readonly corroboration: Corroboration;
  /** Undefined where the list cannot be read: nothing is refused then, nor newly enforced. */
  readonly neverBlock: NeverBlock | undefined;
};

/** What became of a message. */
export type Event = { readonly cidr: Cidr; readonly requestId: string } & (
  | { readonly kind: "blocked"; readonly block: Block; readonly detector: string }
  | { readonly kind: "extended"; readonly block: Block; readonly detector: string }
  | { readonly kind: "suspected"; readonly detector: string }
  | { readonly kind: "held"; readonly detector: string; readonly holdUntil: EpochSeconds }
  | { readonly kind: "stale"; readonly by: string }
  | { readonly kind: "refused"; readonly detector: string; readonly why: string }
  | { readonly kind: "unblocked"; readonly operator: string; readonly holdUntil: EpochSeconds }
);

/**
 * Decides what the messages, all of one address and in the queue's order, make of what is known of it.
 * Pure. Messages that are redelivered count once more, and otherwise change nothing while they are
 * younger than what makes a message stale.
 */
export function decide(
  known: Known,
  messages: readonly Message[],
  policy: Policy,
  now: EpochMillis,
): { readonly next: Known; readonly events: readonly Event[] } {
  const events: Event[] = [];
  const { block } = known;
  // A block that has ended is remembered, even where an unblock comes before DynamoDB deletes it.
  const ended = block && isExpired(block, now) ? block : undefined;
  let next: Known = {
    ...known,
    strikes: Math.max(known.strikes, ended?.strikes ?? 0),
    score: ended?.score ?? known.score,
    block: block && { ...block, wake: false },
  };
  for (const message of messages) {
    const decided =
      message.kind === "unblock" ? onUnblock(next, message) : onReport(next, message, policy, now);
    next = decided.next;
    events.push(decided.event);
  }
  return { next, events };
}

type Decided = { readonly next: Known; readonly event: Event };

function onUnblock(known: Known, order: UnblockOrder): Decided {
  const { cidr, requestId, operator, requestedAt, holdUntil } = order;
  if (isStale(requestedAt, known.block?.lastSeenAt ?? known.unblock?.requestedAt)) {
    return { next: known, event: { kind: "stale", cidr, requestId, by: operator } };
  }
  // Else unblocks within a minute of each other would let older and older reports block again.
  const latest = Math.max(requestedAt, known.unblock?.requestedAt ?? requestedAt);
  return {
    next: {
      ...known,
      block: undefined,
      suspect: undefined,
      unblock: { requestedAt: latest, holdUntil },
    },
    event: { kind: "unblocked", cidr, requestId, operator, holdUntil },
  };
}

function onReport(known: Known, report: Report, policy: Policy, now: EpochMillis): Decided {
  const { cidr, requestId, detector } = report;
  const ignored = (event: Event): Decided => ({ next: known, event });
  const refused = policy.neverBlock && protectedBy(policy.neverBlock, cidr);
  if (refused) return ignored({ kind: "refused", cidr, requestId, detector, why: refused.why });
  if (isExpired(report, now) || isStale(report.reportedAt, known.unblock?.requestedAt)) {
    return ignored({ kind: "stale", cidr, requestId, by: detector });
  }
  let { unblock } = known;
  if (unblock && isHeld(unblock, now)) {
    const { holdUntil } = unblock;
    if (!report.byOperator) return ignored({ kind: "held", cidr, requestId, detector, holdUntil });
    unblock = { ...unblock, holdUntil: 0 };
  }
  const isLive = known.block !== undefined && !isExpired(known.block, now);
  const judged =
    isLive || report.byOperator
      ? { reports: [report] }
      : corroborate(known.suspect, report, policy.corroboration);
  if ("suspect" in judged) {
    const next = { ...known, unblock, suspect: judged.suspect };
    return { next, event: { kind: "suspected", cidr, requestId, detector } };
  }
  const block = judged.reports.reduce(
    (existing, one) => applyReport(existing, one, known.strikes, policy, now, known.score),
    known.block,
  );
  if (!block) return ignored({ kind: "stale", cidr, requestId, by: detector });
  const next = { ...known, unblock, suspect: undefined, block };
  return {
    next,
    event: { kind: isLive ? "extended" : "blocked", cidr, requestId, detector, block },
  };
}
