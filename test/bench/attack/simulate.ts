import { createDetector, type DetectorShape, type Report } from "./detector.ts";
import type { Attempt } from "./traffic.ts";

/** A block that is wanted, with what a policy may rank it by. */
export type Wanted = {
  readonly address: string;
  readonly beganAtMs: number;
  readonly reportedAtMs: number;
  /** How many times this address has been blocked, this block included. */
  readonly strikes: number;
  /** What the policy makes of the reports so far. */
  readonly score: number;
};

/** Who of the wanted ones gets a slot. */
export type Policy = {
  readonly name: string;
  /** The score after one more report. @param before undefined where the block begins */
  score(before: number | undefined, report: Report): number;
  /** Whether an address that is blocked again begins with the score of its last block. */
  readonly keepsScore?: boolean;
  /** Whether the order of two blocks may change without a report of either. */
  readonly changesByItself?: boolean;
  /**
   * Who holds a slot from now on.
   *
   * @param candidates the holders, and whoever may displace them
   * @param holders addresses that hold a slot
   */
  choose(
    candidates: Iterable<Wanted>,
    holders: ReadonlySet<string>,
    slots: number,
    nowMs: number,
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
  /** In the order of the last report, and so of the ends. */
  const wanted = new Map<string, Wanted>();
  const ended = new Map<string, Wanted>();
  /** What the ACL is to deny, and what it denies: the same but for the delay. */
  let holders: ReadonlySet<string> = new Set();
  let denied = holders;
  const underWay: { readonly fromMs: number; readonly denied: ReadonlySet<string> }[] = [];
  let changes = 0;
  let stopped = 0;
  let reports = 0;

  /** @param reported the only block whose rank has changed, where that is so */
  function chooseAnew(nowMs: number, reported?: Wanted): void {
    const remaining = new Map<string, Wanted>();
    for (const address of holders) {
      const block = wanted.get(address);
      if (block) remaining.set(address, block);
    }
    const mayBeAnyone = policy.changesByItself || !reported;
    const candidates = mayBeAnyone
      ? wanted.values()
      : new Map(remaining).set(reported.address, reported).values();
    const next = policy.choose(candidates, new Set(remaining.keys()), slots, nowMs);
    changes += Math.max(countWithout(next, holders), countWithout(holders, next));
    holders = next;
    underWay.push({ fromMs: nowMs + delayMs, denied: next });
  }

  function endBlocks(nowMs: number): void {
    for (const block of wanted.values()) {
      const endsAtMs = block.reportedAtMs + blockMs;
      if (endsAtMs > nowMs) return;
      wanted.delete(block.address);
      ended.set(block.address, block);
      if (holders.has(block.address)) chooseAnew(endsAtMs);
    }
  }

  function accept(report: Report): void {
    const { address, atMs } = report;
    const known = wanted.get(address);
    const last = ended.get(address);
    const before = known ?? (policy.keepsScore ? last : undefined);
    const block = {
      address,
      beganAtMs: known?.beganAtMs ?? atMs,
      reportedAtMs: atMs,
      strikes: known?.strikes ?? (last?.strikes ?? 0) + 1,
      score: policy.score(before?.score, report),
    };
    wanted.delete(address);
    wanted.set(address, block);
    reports++;
    chooseAnew(atMs, block);
  }

  function comeIntoForce(nowMs: number): void {
    while ((underWay[0]?.fromMs ?? Number.POSITIVE_INFINITY) <= nowMs) {
      denied = underWay.shift()?.denied ?? denied;
    }
  }

  for (const attempt of attempts) {
    endBlocks(attempt.atMs);
    comeIntoForce(attempt.atMs);
    const isDenied = denied.has(attempt.address);
    if (isDenied) stopped++;
    const report = detector.notice(attempt, isDenied);
    if (report) accept(report);
  }
  return { attemptsStopped: stopped / attempts.length, changes, reports };
}

/** How many of these are not among the others. */
function countWithout(these: ReadonlySet<string>, others: ReadonlySet<string>): number {
  let count = 0;
  for (const address of these) if (!others.has(address)) count++;
  return count;
}
