import { isIPv6 } from "node:net";
import type { Detection } from "./detector.ts";

/** An entry of the network ACL. */
export type Entry = {
  readonly ruleNumber: number;
  readonly cidr: string;
  /** Inbound, and denies everything. */
  readonly isBlock: boolean;
  /** The whole entry, for people. */
  readonly text: string;
};

/** What the endpoint answered to a report. */
export type Answer =
  | { readonly status: "queued"; readonly expiresAt: number }
  | { readonly status: "ignored"; readonly reason: string }
  | { readonly status: "failed"; readonly reason: string };

/** One block of one address, from its detection to its end. Times are epoch milliseconds. */
export type Block = {
  readonly address: string;
  readonly cidr: string;
  /** `04:12:07`, by the log. */
  readonly clock: string;
  readonly detectedAt: number;
  /** 1 for the first block of this address. */
  readonly strike: number;
  failures: number;
  reports: number;
  ignored?: string;
  failed?: string;
  /** When the endpoint took the first report, to the second. */
  beganAt?: number;
  expiresAt?: number;
  blockedAt?: number;
  ruleNumber?: number;
  unblockedAt?: number;
};

/** How long things take, in milliseconds. */
export type Timing = {
  readonly expiry: number;
  /** How many times longer each further block of an address lasts. */
  readonly repeatFactor: number;
  /** A block must show in the ACL so soon after its detection, … */
  readonly blockWithin: number;
  /** … and be gone so soon after its expiry. */
  readonly unblockWithin: number;
};

/** What the detector said, what the endpoint answered and what the ACL showed. */
export type Ledger = {
  readonly blocks: readonly Block[];
  /** Entries that came or went without anybody's report. */
  readonly strange: ReadonlySet<string>;
  /** Notes a detection; the function that it gives notes the endpoint's answer to it. */
  detected(detection: Detection, now: number): (answer: Answer) => Block;
  /** Notes what the ACL shows now, and gives the blocks that came or went. */
  observed(entries: readonly Entry[], now: number): Block[];
  /** Nothing more is to be waited for, because it has happened or is overdue. */
  isSettled(now: number): boolean;
};

/** Opens a ledger on an ACL whose entries are not ours. */
export function createLedger(timing: Timing, foreign: readonly Entry[]): Ledger {
  const blocks: Block[] = [];
  const strange = new Set<string>();
  const foreignTexts = new Set(foreign.map(({ text }) => text));

  /** @param times how many times as long as it asks for the report makes the block last */
  function note(block: Block, answer: Answer, times: number): Block {
    if (answer.status === "queued") {
      const takenAt = answer.expiresAt * 1000 - timing.expiry;
      block.beganAt ??= takenAt;
      block.expiresAt = Math.max(block.expiresAt ?? 0, takenAt + timing.expiry * times);
    } else if (answer.status === "ignored") {
      block.ignored = answer.reason;
    } else {
      block.failed = answer.reason;
    }
    return block;
  }

  return {
    blocks,
    strange,

    detected({ address, clock, failures }, now) {
      const earlier = blocks.filter((block) => block.address === address);
      const last = earlier.at(-1);
      if (last && !hasExpired(last, now)) {
        last.failures = failures;
        last.reports++;
        return (answer) => note(last, answer, 1);
      }
      if (last?.blockedAt) last.unblockedAt ??= now;
      const strike = earlier.length + 1;
      const cidr = `${address}/${isIPv6(address) ? 128 : 32}`;
      const block = { address, cidr, clock, detectedAt: now, strike, failures, reports: 1 };
      blocks.push(block);
      return (answer) => note(block, answer, timing.repeatFactor ** (strike - 1));
    },

    observed(entries, now) {
      const ours = entries.filter(({ text }) => !foreignTexts.has(text));
      const open = blocks.filter(({ unblockedAt }) => unblockedAt === undefined);
      const changed = open.filter((block) => {
        const entry = ours.find(({ isBlock, cidr }) => isBlock && cidr === block.cidr);
        if (!entry === (block.blockedAt === undefined)) return false;
        if (entry) Object.assign(block, { blockedAt: now, ruleNumber: entry.ruleNumber });
        else block.unblockedAt = now;
        return true;
      });
      for (const { isBlock, cidr, text } of ours) {
        const isReported = isBlock && open.some((block) => block.cidr === cidr);
        if (!isReported) strange.add(`"${text}" came without a report`);
      }
      const shown = new Set(entries.map(({ text }) => text));
      for (const text of foreignTexts) {
        if (!shown.has(text)) strange.add(`"${text}", which is not ours, went`);
      }
      return changed;
    },

    isSettled: (now) => blocks.every((block) => isOver(block) || now > deadlineOf(block, timing)),
  };
}

/** Until when the next thing must have happened to a block. */
export function deadlineOf({ blockedAt, detectedAt, expiresAt }: Block, timing: Timing): number {
  return blockedAt === undefined || expiresAt === undefined
    ? detectedAt + timing.blockWithin
    : expiresAt + timing.unblockWithin;
}

const isOver = ({ ignored, failed, unblockedAt }: Block): boolean =>
  ignored !== undefined || failed !== undefined || unblockedAt !== undefined;

const hasExpired = ({ expiresAt = Number.POSITIVE_INFINITY }: Block, now: number): boolean =>
  expiresAt <= now;
