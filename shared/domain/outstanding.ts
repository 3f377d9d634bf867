import type { Block } from "./block.ts";
import {
  type EpochMillis,
  type EpochSeconds,
  isExpired,
  type Seconds,
  toEpochSeconds,
} from "./time.ts";

// How many of a caller's blocks are in force, counted by when they end: ended blocks drop out of the count
// by themselves, so that no mistake lasts longer than a block.

// Blocks that end in the same span are counted together; the longer a block, the longer its span.
const MINUTES = { unit: "m", span: 60 as Seconds };
const HOURS = { unit: "h", span: 3_600 as Seconds };
const DAYS = { unit: "d", span: 86_400 as Seconds };

/** Counts of blocks by the span in which they end. */
export type Counts = Readonly<Record<string, number>>;

/** One more or one fewer of a caller's blocks that end in a span. */
export type Shift = { readonly caller: string; readonly span: string; readonly by: number };

/** How a write changes the counts. A block counts for whoever began it. */
export function shiftsOf(
  before: Block | undefined,
  after: Block | undefined,
  now: EpochMillis,
): readonly Shift[] {
  const shiftOf = (block: Block | undefined, by: number): Shift[] =>
    block && !isExpired(block, now) ? [{ caller: block.begunBy, span: spanOf(block), by }] : [];
  const shifts = [...shiftOf(before, -1), ...shiftOf(after, 1)];
  const [less, more] = shifts;
  const isSame = less && more && less.caller === more.caller && less.span === more.span;
  return isSame ? [] : shifts;
}

/** How many of the counted blocks are still in force. */
export function countOutstanding(counts: Counts, now: EpochMillis): number {
  const inForce = Object.entries(counts).filter(([span]) => endOf(span) > toEpochSeconds(now));
  return Math.max(
    0,
    inForce.reduce((sum, [, count]) => sum + count, 0),
  );
}

/** The spans that are over, whose counts are no longer needed. */
export function endedSpans(counts: Counts, now: EpochMillis): readonly string[] {
  return Object.keys(counts).filter((span) => endOf(span) <= toEpochSeconds(now));
}

/** The name of the span that the block ends in. */
function spanOf({ expiresAt, firstSeenAt }: Block): string {
  const duration = expiresAt - toEpochSeconds(firstSeenAt);
  const isShort = duration <= 2 * HOURS.span;
  const { unit, span } = isShort ? MINUTES : duration <= 7 * DAYS.span ? HOURS : DAYS;
  return `${unit}${Math.floor(expiresAt / span)}`;
}

/** When a span is over; a name that is not a span's counts as long over. */
function endOf(name: string): EpochSeconds {
  const known = [MINUTES, HOURS, DAYS].find(({ unit }) => name.startsWith(unit));
  return known ? (Number(name.slice(1)) + 1) * known.span : 0;
}
