import { applyReport, type Block, type BlockPolicy } from "../../../shared/domain/block.ts";
import { type Candidate, choose } from "../../../shared/domain/choose.ts";
import { type Cidr, contains } from "../../../shared/domain/cidr.ts";
import { MARGIN, strongestFirst } from "../../../shared/domain/rank.ts";
import type { EpochMillis, Millis } from "../../../shared/domain/time.ts";
import { CANDIDATES_PER_SLOT } from "../../../shared/targets/networkAcl/target.ts";
import type { Policy } from "./simulate.ts";
import type { Attempt } from "./traffic.ts";

/** The default of `scoreHalfLife` (infra/stage.cjs). */
export const HALF_LIFE: Millis = 300_000;

/** The policies that ours is compared with. */
export const newestFirst = ordered("newest first", ({ firstSeenAt }) => firstSeenAt);
export const lastReportFirst = ordered("last report first", ({ lastSeenAt }) => lastSeenAt);
export const firstComeStays = ordered("first come stays", ({ lastSeenAt }) => lastSeenAt, 1e12);

/** Ours: the product's own score, order and choice. */
export function decayedReports({
  halfLife = HALF_LIFE,
  margin = MARGIN,
  accept = acceptWith(halfLife),
  scoreOf = ({ score }) => score,
}: {
  readonly halfLife?: Millis;
  /** By how many half-lives a challenger must beat a holder. */
  readonly margin?: number;
  readonly accept?: Policy["accept"];
  /** What stands for the score in the order. */
  readonly scoreOf?: (block: Block) => number;
} = {}): Policy {
  return {
    name: "decayed reports",
    accept,
    choose(candidates, holders, slots) {
      const ranked = inOrder(candidates, holders, scoreOf, margin * halfLife);
      // As many as a converge reads.
      const wanted = ranked.slice(0, slots * CANDIDATES_PER_SLOT);
      const cidrs = wanted.map(({ cidr }) => cidr);
      return coveredBy(cidrs, choose(wanted, { ranges: slots }));
    },
  };
}

/** What the product makes of a report; blocks do not escalate here. */
export function acceptWith(halfLife: Millis): Policy["accept"] {
  const policy: BlockPolicy = { escalation: { factor: 1, max: 1 }, halfLife, threshold: 0 };
  return (existing, report, strikes, score) =>
    applyReport(existing, report, strikes, policy, report.reportedAt, score);
}

/** Chooses those with the most attempts in the time ahead: hardly to be beaten. */
export function clairvoyant(attempts: readonly Attempt[], foresightMs = 600_000): Policy {
  const byAddress = Map.groupBy(attempts, ({ address }) => `${address}/32`);
  const lastAt = new Map(Array.from(byAddress, ([text, own]) => [text, own.at(-1)?.atMs ?? 0]));
  const attemptsAhead = (text: string, from: EpochMillis) => {
    const own = byAddress.get(text) ?? [];
    return firstFrom(own, from + foresightMs) - firstFrom(own, from);
  };
  return {
    name: "clairvoyant",
    changesByItself: true,
    accept: acceptWith(HALF_LIFE),
    choose(candidates, holders, slots, now) {
      const ahead = new Map<Block, number>();
      for (const block of candidates) {
        const { text } = block.cidr;
        // Most have tried for the last time.
        const isOver = (lastAt.get(text) ?? 0) < now;
        if (!isOver || holders.has(text)) ahead.set(block, isOver ? 0 : attemptsAhead(text, now));
      }
      // Of two with as many attempts ahead, the holder.
      const ranked = inOrder(ahead.keys(), holders, (block) => 2 * (ahead.get(block) ?? 0), 1);
      return texts(ranked.slice(0, slots));
    },
  };
}

/**
 * The product's order with another number in the place of the score.
 *
 * @param margin by how much a challenger must beat a holder
 */
function ordered(name: string, scoreOf: (block: Block) => number, margin = 0): Policy {
  return {
    name,
    accept: acceptWith(HALF_LIFE),
    choose: (candidates, holders, slots) =>
      texts(inOrder(candidates, holders, scoreOf, margin).slice(0, slots)),
  };
}

function inOrder(
  blocks: Iterable<Block>,
  holders: ReadonlySet<string>,
  scoreOf: (block: Block) => number,
  margin: number,
): readonly Candidate[] {
  const ranked = Array.from(blocks, (block) => ({
    cidr: block.cidr,
    leastPrefix: block.leastPrefix,
    byOperator: block.byOperator,
    severity: block.severity,
    score: scoreOf(block),
  }));
  return strongestFirst(ranked, ({ text }) => holders.has(text), margin);
}

const texts = (blocks: readonly { readonly cidr: Cidr }[]): ReadonlySet<string> =>
  new Set(blocks.map(({ cidr }) => cidr.text));

/** Those that the ranges deny, alone or merged. */
function coveredBy(wanted: readonly Cidr[], ranges: readonly Cidr[]): ReadonlySet<string> {
  const whole = new Set(ranges.map(({ text }) => text));
  const isCovered = (cidr: Cidr) =>
    whole.has(cidr.text) || ranges.some((range) => contains(range, cidr));
  return new Set(wanted.filter(isCovered).map(({ text }) => text));
}

/** The index of the first attempt at this time or later. */
function firstFrom(attempts: readonly Attempt[], fromMs: number): number {
  let low = 0;
  let high = attempts.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((attempts[middle]?.atMs ?? 0) < fromMs) low = middle + 1;
    else high = middle;
  }
  return low;
}
