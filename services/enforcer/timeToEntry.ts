import type { Block } from "../../shared/domain/block.ts";
import type { Cidr } from "../../shared/domain/cidr.ts";
import type { EpochMillis, Millis } from "../../shared/domain/time.ts";
import type { TargetState } from "../../shared/targets/state.ts";

/** What a target's converge knows when it is done. */
export type Confirmation = {
  readonly target: string;
  /** The state as the converge found it. */
  readonly state: Pick<TargetState, "convergedAt" | "waiting">;
  /** The blocks for the target, and those of them that have a place in the plan. */
  readonly ranked: readonly Block[];
  readonly placed: readonly Block[];
  /** The ranges that AWS had confirmed before, and those that it has confirmed now. */
  readonly before: readonly Cidr[];
  readonly after: readonly Cidr[];
  readonly now: EpochMillis;
};

export type TimeToEntry = (confirmation: Confirmation) => Millis[];

/**
 * How long blocks took from acceptance to their own entry, which AWS has just confirmed; queue, throttling
 * and failures included. A block that had to wait for room is left out: that means a full target, which has
 * an alarm of its own and says nothing about the pipeline's speed.
 */
export function createTimeToEntry(): TimeToEntry {
  /** The blocks that found no room in each target when this instance last looked. */
  const withoutRoom = new Map<string, ReadonlySet<string>>();

  return ({ target, state, ranked, placed, before, after, now }) => {
    const waited = withoutRoom.get(target);
    const hasRoom = textsOf(placed.map(({ cidr }) => cidr));
    withoutRoom.set(
      target,
      new Set(ranked.flatMap(({ cidr: { text } }) => (hasRoom.has(text) ? [] : [text]))),
    );

    // An instance that has just started knows only whether anything waited, and since when.
    const hasWaited = ({ cidr, firstSeenAt }: Block): boolean =>
      waited
        ? waited.has(cidr.text)
        : state.convergedAt === 0 || (state.waiting > 0 && firstSeenAt < state.convergedAt);
    const known = textsOf(before);
    const confirmed = textsOf(after);
    return ranked
      .filter(({ cidr: { text } }) => confirmed.has(text) && !known.has(text))
      .filter((block) => !hasWaited(block))
      .map(({ firstSeenAt }) => Math.max(0, now - firstSeenAt));
  };
}

const textsOf = (ranges: readonly Cidr[]): ReadonlySet<string> =>
  new Set(ranges.map(({ text }) => text));
