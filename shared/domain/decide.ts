import {
  applyReport,
  type Block,
  type BlockPolicy,
  type OwnReport,
  type Report,
  withdrawn,
  withoutReports,
} from "./block.ts";
import type { Cidr } from "./cidr.ts";
import { type Corroboration, corroborate, type Suspect, withoutEvidence } from "./corroboration.ts";
import { type NeverBlock, protectedBy } from "./neverBlock.ts";
import { type Hold, holdOver, isUndone, type Orders } from "./orders.ts";
import type { Score } from "./score.ts";
import {
  type EpochMillis,
  type EpochSeconds,
  isExpired,
  type Seconds,
  toEpochSeconds,
} from "./time.ts";

// decide: applies the messages of a batch to one address, in order.
//
//   message    the address is                     → what happens
//   ────────────────────────────────────────────────────────────────────────────────
//   block      never to be blocked                  refused
//              reported for a time that is over,
//              unblocked or withdrawn since         stale
//              reported by an undone detector       undone
//              held, and no operator reports it     held
//              blocked                              extended
//              reported by nothing that counts      stale
//              reported by too few detectors        suspected
//              none of these                        blocked
//   unblock    unblocked since,
//              or only reported since               stale
//              anything else                        unblocked
//   withdraw   not reported by that detector,
//              or only reported since               stale
//              anything else                        withdrawn
//
// Operators' messages travel in a lane of their own and overtake detectors'. Between lanes, what counts is
// therefore not the order of delivery but when the endpoint accepted a message: the older one loses.

/** An operator's order to unblock an address. */
export type UnblockOrder = {
  readonly cidr: Cidr;
  readonly requestedAt: EpochMillis;
  readonly operator: string;
  /** When the hold ends, until which the address must not be blocked again; 0 for no hold. */
  readonly holdUntil: EpochSeconds;
  readonly requestId: string;
};

/** A detector withdraws its own reports of an address. */
export type Withdrawal = {
  readonly cidr: Cidr;
  readonly detector: string;
  readonly withdrawnAt: EpochMillis;
  readonly requestId: string;
};

/** A message about one address. */
export type Message =
  | ({ readonly kind: "block" } & Report)
  | ({ readonly kind: "unblock" } & UnblockOrder)
  | ({ readonly kind: "withdraw" } & Withdrawal);

/** The latest unblock of an address. */
export type Unblock = {
  /** When the endpoint accepted it. */
  readonly requestedAt: EpochMillis;
};

/** When detectors last withdrew their reports of an address. */
export type Withdrawals = {
  readonly at: Readonly<Record<string, EpochMillis>>;
  /** How often the item has been written; 0 if it is not in the table yet. */
  readonly version: number;
};

/** What is known about an address. */
export type Known = {
  /** Expired ones included: TTL deletes late. */
  readonly block: Block | undefined;
  /** How many of its blocks have ended, and the score of the last of them. */
  readonly strikes: number;
  readonly score?: Score | undefined;
  readonly suspect: Suspect | undefined;
  readonly unblock: Unblock | undefined;
  readonly withdrawals?: Withdrawals | undefined;
};

export const NOTHING_KNOWN: Known = {
  block: undefined,
  strikes: 0,
  suspect: undefined,
  unblock: undefined,
};

export type Policy = Omit<BlockPolicy, "threshold"> & {
  readonly corroboration: Corroboration;
  /** Undefined if the list cannot be read: then nothing is refused, and nothing newly enforced. */
  readonly neverBlock: NeverBlock | undefined;
  readonly orders: Pick<Orders, "holds" | "undos">;
  /** How long a block stays after nobody wants it any more: a detector that restarts reports again. */
  readonly withdrawalGrace: Seconds;
};

/** What became of a message. */
export type Event = { readonly cidr: Cidr; readonly requestId: string } & (
  | { readonly kind: "blocked"; readonly block: Block; readonly detector: string }
  | { readonly kind: "extended"; readonly block: Block; readonly detector: string }
  | { readonly kind: "suspected"; readonly detector: string }
  | { readonly kind: "held"; readonly detector: string; readonly holdUntil: EpochSeconds }
  | { readonly kind: "undone"; readonly detector: string }
  | { readonly kind: "stale"; readonly by: string }
  | { readonly kind: "refused"; readonly detector: string; readonly why: string }
  | { readonly kind: "unblocked"; readonly operator: string; readonly holdUntil: EpochSeconds }
  | { readonly kind: "withdrawn"; readonly detector: string; readonly block?: Block }
);

export type Decided = {
  readonly next: Known;
  readonly events: readonly Event[];
  /** Holds on this very address: new ones, and those that an operator's report has lifted. */
  readonly held: readonly Hold[];
  readonly lifted: readonly Hold[];
};

/**
 * Applies the messages, all about one address and in the queue's order, to what is known about it.
 * Pure and idempotent: messages that are delivered again change nothing.
 */
export function decide(
  known: Known,
  messages: readonly Message[],
  policy: Policy,
  now: EpochMillis,
): Decided {
  const events: Event[] = [];
  const held: Hold[] = [];
  const lifted: Hold[] = [];
  let { holds } = policy.orders;
  const { block } = known;
  let next = withEnded({ ...known, block: block && { ...block, wake: false } }, now);
  const replace = (own: Cidr, before: EpochMillis, hold?: Hold) => {
    const isOver = (one: Hold) => one.cidr.text === own.text && one.requestedAt < before;
    lifted.push(...holds.filter(isOver));
    holds = holds.filter((one) => !isOver(one));
    if (!hold || holds.some((one) => isSameHold(one, hold))) return;
    held.push(hold);
    holds = [...holds, hold];
  };
  for (const message of messages) {
    // The operator's latest order wins: an unblock, with or without a hold, or a block.
    if (message.kind === "unblock") {
      const { cidr, requestedAt } = message;
      const isLatest = requestedAt >= (next.unblock?.requestedAt ?? 0);
      if (isLatest) replace(cidr, requestedAt, holdOf(message));
    } else if (message.kind === "block" && message.byOperator && !isExpired(message, now)) {
      replace(message.cidr, message.reportedAt);
    }
    const current = { ...policy, orders: { ...policy.orders, holds } };
    const decided = stepOf(next, message, current, now);
    next = withEnded(decided.next, now);
    events.push(decided.event);
  }
  return { next, events, held, lifted };
}

/** Remembers a block that has ended, even if an unblock comes before DynamoDB deletes it. */
function withEnded(known: Known, now: EpochMillis): Known {
  const { block } = known;
  if (!block || !isExpired(block, now)) return known;
  return { ...known, strikes: Math.max(known.strikes, block.strikes), score: block.score };
}

/**
 * What is known once all standing orders have been obeyed. The lanes write concurrently: after a write,
 * each checks whether the other's came in between. Returns the same object if nothing changes.
 */
export function obey(
  known: Known,
  {
    orders,
    corroboration,
  }: Pick<Policy, "orders"> & { readonly corroboration: Pick<Corroboration, "threshold"> },
): Known {
  const { block, suspect, unblock } = known;
  const isKept = ({ reportedAt }: Pick<OwnReport, "reportedAt">, caller: string) =>
    !(unblock && reportedAt <= unblock.requestedAt) && !isUndone(orders.undos, caller, reportedAt);
  const isHeld = (cidr: Cidr, { reportedAt, byOperator }: OwnReport) =>
    !byOperator && orders.holds.some((hold) => isAgainst(hold, cidr, reportedAt));
  const keptBlock =
    block &&
    withoutReports(
      block,
      (own, caller) => isKept(own, caller) && !isHeld(block.cidr, own),
      corroboration,
    );
  const keptSuspect = suspect && withoutEvidence(suspect, isKept);
  if (keptBlock === block && keptSuspect === suspect) return known;
  return { ...known, block: keptBlock, suspect: keptSuspect };
}

/** A hold covers one address; wider reports are ignored while it lasts, but a wider block stays. */
const isAgainst = (hold: Hold, cidr: Cidr, reportedAt: EpochMillis) =>
  hold.cidr.text === cidr.text && reportedAt < hold.until * 1000;

const holdOf = ({ cidr, requestedAt, holdUntil }: UnblockOrder): Hold | undefined =>
  holdUntil > 0 ? { cidr, requestedAt, until: holdUntil } : undefined;

const isSameHold = (a: Hold, b: Hold) =>
  a.cidr.text === b.cidr.text && a.requestedAt === b.requestedAt;

type Step = { readonly next: Known; readonly event: Event };

function stepOf(known: Known, message: Message, policy: Policy, now: EpochMillis): Step {
  switch (message.kind) {
    case "block":
      return onReport(known, message, policy, now);
    case "unblock":
      return onUnblock(known, message, policy, now);
    case "withdraw":
      return onWithdraw(known, message, policy, now);
  }
}

function onUnblock(known: Known, order: UnblockOrder, policy: Policy, now: EpochMillis): Step {
  const { cidr, requestId, operator, requestedAt, holdUntil } = order;
  const stale: Event = { kind: "stale", cidr, requestId, by: operator };
  if (known.unblock && requestedAt < known.unblock.requestedAt)
    return { next: known, event: stale };
  const next = obey({ ...known, unblock: { requestedAt } }, policy);
  const isBlocked = known.block !== undefined && !isExpired(known.block, now);
  if (isBlocked && next.block === known.block) return { next, event: stale };
  return { next, event: { kind: "unblocked", cidr, requestId, operator, holdUntil } };
}

/** How many detectors' withdrawals are remembered per address. */
const MAX_WITHDRAWALS = 16;

function onWithdraw(known: Known, withdrawal: Withdrawal, policy: Policy, now: EpochMillis): Step {
  const { cidr, requestId, detector, withdrawnAt } = withdrawal;
  const { corroboration, withdrawalGrace } = policy;
  const before = known.withdrawals ?? { at: {}, version: 0 };
  // A remembered withdrawal may not have reached the block yet: the items are written one by one.
  const isLatest = withdrawnAt > (before.at[detector] ?? 0);
  const withdrawals = isLatest
    ? { ...before, at: remembering(before.at, detector, withdrawnAt) }
    : known.withdrawals;
  const until = toEpochSeconds(withdrawnAt) + withdrawalGrace;
  const isLive = known.block !== undefined && !isExpired(known.block, now);
  const block =
    known.block && isLive
      ? withdrawn(known.block, detector, { withdrawnAt, until }, corroboration)
      : known.block;
  const isKept = ({ reportedAt }: { reportedAt: EpochMillis }, name: string) =>
    name !== detector || reportedAt > withdrawnAt;
  const suspect = known.suspect && withoutEvidence(known.suspect, isKept);
  const next = { ...known, block, suspect, withdrawals };
  const isNews = block !== known.block || suspect !== known.suspect;
  if (!isNews) return { next, event: { kind: "stale", cidr, requestId, by: detector } };
  return { next, event: { kind: "withdrawn", cidr, requestId, detector, ...(block && { block }) } };
}

function remembering(
  before: Withdrawals["at"],
  detector: string,
  withdrawnAt: EpochMillis,
): Withdrawals["at"] {
  const others = Object.entries(before)
    .filter(([name]) => name !== detector)
    .toSorted(([, a], [, b]) => b - a)
    .slice(0, MAX_WITHDRAWALS - 1);
  return Object.fromEntries([...others, [detector, withdrawnAt]]);
}

/** The same item, so that it can be written over, without the evidence that operators have undone. */
function withoutUndone(suspect: Suspect, { undos }: Pick<Orders, "undos">): Suspect {
  const isStanding = ({ reportedAt }: { reportedAt: EpochMillis }, detector: string) =>
    !isUndone(undos, detector, reportedAt);
  return withoutEvidence(suspect, isStanding) ?? { ...suspect, reports: {} };
}

function onReport(known: Known, report: Report, policy: Policy, now: EpochMillis): Step {
  const { cidr, requestId, detector, reportedAt } = report;
  const { orders, corroboration } = policy;
  const ignored = (event: Event): Step => ({ next: known, event });
  const refused = policy.neverBlock && protectedBy(policy.neverBlock, cidr);
  if (refused) return ignored({ kind: "refused", cidr, requestId, detector, why: refused.why });
  const takenBackAt = Math.max(
    known.unblock?.requestedAt ?? 0,
    known.withdrawals?.at[detector] ?? 0,
  );
  if (isExpired(report, now) || reportedAt <= takenBackAt) {
    return ignored({ kind: "stale", cidr, requestId, by: detector });
  }
  if (isUndone(orders.undos, detector, reportedAt)) {
    return ignored({ kind: "undone", cidr, requestId, detector });
  }
  const hold = report.byOperator ? undefined : holdOver(orders.holds, cidr, reportedAt);
  if (hold) {
    return ignored({ kind: "held", cidr, requestId, detector, holdUntil: hold.until });
  }
  const isLive = known.block !== undefined && !isExpired(known.block, now);
  // A report with count 0 is no attack, only evidence that a blocked address is still active.
  if (!isLive && report.count === 0) {
    return ignored({ kind: "stale", cidr, requestId, by: detector });
  }
  const suspect = known.suspect && withoutUndone(known.suspect, orders);
  const judged =
    isLive || report.byOperator
      ? { reports: [report] }
      : corroborate(suspect, report, corroboration);
  if ("suspect" in judged) {
    const next = { ...known, suspect: judged.suspect };
    return { next, event: { kind: "suspected", cidr, requestId, detector } };
  }
  const blockPolicy = { ...policy, threshold: corroboration.threshold };
  const block = judged.reports.reduce(
    (existing, one) => applyReport(existing, one, known.strikes, blockPolicy, now, known.score),
    known.block,
  );
  if (!block) return ignored({ kind: "stale", cidr, requestId, by: detector });
  const next = { ...known, suspect: undefined, block };
  return {
    next,
    event: { kind: isLive ? "extended" : "blocked", cidr, requestId, detector, block },
  };
}
