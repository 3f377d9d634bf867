import type { Block } from "./block.ts";
import {
  type EpochMillis,
  type EpochSeconds,
  isExpired,
  type Seconds,
  toEpochSeconds,
} from "./time.ts";

// How many blocks of a caller are in force, counted by when they end: what has ended drops out of the
// count by itself, so that no mistake lasts longer than a block.

// Ends that lie in the same span are counted together; the longer a block, the longer its span.
const MINUTES = { unit: "m", span: 60 as Seconds };
const HOURS = { unit: "h", span: 3_600 as Seconds };
const DAYS = { unit: "d", span: 86_400 as Seconds };

/** Counts of blocks by the spans that they end in. */
export type Counts = Readonly<Record<string, number>>;

/** One block more or less of a caller that ends in a span. */
export type Shift = { readonly caller: string; readonly span: string; readonly by: number };

/** What a write makes of the counts. A block counts for whoever began it. */
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

/** The spans that are over: their counts are of no use any more. */
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

/** When a span is over; one that is not ours is long over. */
function endOf(name: string): EpochSeconds {
  const known = [MINUTES, HOURS, DAYS].find(({ unit }) => name.startsWith(unit));
  return known ? (Number(name.slice(1)) + 1) * known.span : 0;
}
