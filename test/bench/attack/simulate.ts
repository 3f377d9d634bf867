import type { Block, Report } from "../../../shared/domain/block.ts";
import { parseCidr } from "../../../shared/domain/cidr.ts";
import type { Score } from "../../../shared/domain/score.ts";
import { type EpochMillis, isExpired, toEpochSeconds } from "../../../shared/domain/time.ts";
import { createDetector, type DetectorShape, type Sighted } from "./detector.ts";
import type { Attempt } from "./traffic.ts";

/** Who of the wanted ones gets a slot. */
export type Policy = {
  readonly name: string;
  /**
   * What a report makes of an address.
   *
   * @param strikes how many of its blocks have ended
   * @param score of the last of them
   */
  accept(
    existing: Block | undefined,
    report: Report,
    strikes: number,
    score: Score | undefined,
  ): Block | undefined;
  /** Whether the order of two blocks may change without a report of either. */
  readonly changesByItself?: boolean;
  /**
   * Who holds a slot from now on.
   *
   * @param candidates the holders, and whoever may displace them
   * @param holders addresses that hold a slot
   */
  choose(
    candidates: Iterable<Block>,
    holders: ReadonlySet<string>,
    slots: number,
    now: EpochMillis,
  ): ReadonlySet<string>;
};

/** What is attacked. */
export type Defence = {
  readonly slots: number;
  /** From the last report of a block to its end. */
  readonly blockMs: number;
  /** From a report or an end to the time when the ACL denies accordingly; 0 if not given. */
  readonly delayMs?: number;
};

export type Outcome = {
  /** The share of the attempts that were denied, 0 to 1. */
  readonly attemptsStopped: number;
  /** Entries created, deleted and replaced. */
  readonly changes: number;
  readonly reports: number;
};

/**
 * Plays the attempts against a policy. Unless there is a delay, whatever a report or an end changes
 * is in force at once: what is measured is the choice, not the time that it takes.
 */
export function simulate(
  attempts: readonly Attempt[],
  detectorShape: DetectorShape,
  { slots, blockMs, delayMs = 0 }: Defence,
  policy: Policy,
): Outcome {
  const detector = createDetector(detectorShape);
  /** By the addresses' texts, in the order of the last report, and so of the ends. */
  const wanted = new Map<string, Block>();
  const ended = new Map<string, Block>();
  /** What the ACL is to deny, and what it denies: the same but for the delay. */
  let holders: ReadonlySet<string> = new Set();
  let denied = holders;
  const underWay: { readonly fromMs: number; readonly denied: ReadonlySet<string> }[] = [];
  let changes = 0;
  let stopped = 0;
  let reports = 0;

  /** @param reported the only block whose rank has changed, where that is so */
  function chooseAnew(nowMs: number, reported?: Block): void {
    const remaining = new Map<string, Block>();
    for (const address of holders) {
      const block = wanted.get(address);
      if (block) remaining.set(address, block);
    }
    const mayBeAnyone = policy.changesByItself || !reported;
    const candidates = mayBeAnyone
      ? wanted.values()
      : new Map(remaining).set(reported.cidr.text, reported).values();
    const next = policy.choose(candidates, new Set(remaining.keys()), slots, nowMs);
    changes += Math.max(countWithout(next, holders), countWithout(holders, next));
    holders = next;
    underWay.push({ fromMs: nowMs + delayMs, denied: next });
  }

  function endBlocks(nowMs: number): void {
    for (const [address, block] of wanted) {
      if (!isExpired(block, nowMs)) return;
      wanted.delete(address);
      ended.set(address, block);
      if (holders.has(address)) chooseAnew(block.expiresAt * 1000);
    }
  }

  function accept(report: Report): void {
    const address = report.cidr.text;
    const last = ended.get(address);
    const known = wanted.get(address);
    const block = policy.accept(known, report, last?.strikes ?? 0, last?.score);
    if (!block) return;
    wanted.delete(address);
    wanted.set(address, block);
    reports++;
    chooseAnew(report.reportedAt, block);
  }

  function comeIntoForce(nowMs: number): void {
    while ((underWay[0]?.fromMs ?? Number.POSITIVE_INFINITY) <= nowMs) {
      denied = underWay.shift()?.denied ?? denied;
    }
  }

  for (const attempt of attempts) {
    endBlocks(attempt.atMs);
    comeIntoForce(attempt.atMs);
    const isDenied = denied.has(`${attempt.address}/32`);
    if (isDenied) stopped++;
    const sighted = detector.notice(attempt, isDenied);
    if (sighted) accept(reportOf(sighted, blockMs));
  }
  return { attemptsStopped: stopped / attempts.length, changes, reports };
}

/** As the endpoint makes it of a request. */
function reportOf({ address, atMs, count }: Sighted, blockMs: number): Report {
  return {
    cidr: parseCidr(address),
    reportedAt: atMs,
    expiresAt: toEpochSeconds(atMs + blockMs),
    severity: 5,
    reason: "simulated",
    detector: "simulated",
    weight: 1,
    byOperator: false,
    leastPrefix: 24,
    requestId: `${address} ${atMs}`,
    count,
  };
}

/** How many of these are not among the others. */
function countWithout(these: ReadonlySet<string>, others: ReadonlySet<string>): number {
  let count = 0;
  for (const address of these) if (!others.has(address)) count++;
  return count;
}
