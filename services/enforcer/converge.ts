import { isDeepStrictEqual } from "node:util";
import * as v from "valibot";
import type { Logger } from "../../shared/aws/log.ts";
import type { LastKnown } from "../../shared/aws/neverBlock.ts";
import type { Blocks } from "../../shared/aws/table/blocks.ts";
import type { OrderBook } from "../../shared/aws/table/orders.ts";
import type { Sources } from "../../shared/aws/table/sources.ts";
import type { TargetStates } from "../../shared/aws/table/targetStates.ts";
import type { Block } from "../../shared/domain/block.ts";
import { type Cidr, contains, type Family, widen } from "../../shared/domain/cidr.ts";
import type { Mode, Orders } from "../../shared/domain/orders.ts";
import { isFor, strongestFirst, type Wanted } from "../../shared/domain/rank.ts";
import type { EpochMillis, EpochSeconds, Millis } from "../../shared/domain/time.ts";
import type { Problem, TargetState } from "../../shared/targets/state.ts";
import {
  RefusedError,
  type Seen,
  type Target,
  type TargetChange,
  TargetMissingError,
  TargetNotOursError,
  type TargetPlan,
} from "../../shared/targets/target.ts";
import { apply, type Outcome } from "./apply.ts";
import { wantedIn } from "./policy.ts";
import type { Sweeper } from "./sweep.ts";
import type { TimeToEntry } from "./timeToEntry.ts";

// converge: the whole algorithm for one target.
//
//   actual   what the target holds now           its own read
//   wanted   what the list wants now             ranked, unexpired, as many as could ever fit
//   orders   what operators have ordered         the mode, and the holds
//   plan     plan(wanted, record, actual)        pure
//   record   what is ours after the changes      before AWS is called, so that a crash forgets nothing
//   apply    the changes, strongest first        idempotent; what is not granted now is planned again
//   settle   what AWS has confirmed              recorded again

export type Enforcer = {
  readonly blocks: Pick<Blocks, "readStrongest" | "readBlocks">;
  readonly states: Pick<TargetStates, "read" | "write" | "writeNetwork">;
  readonly orders: Pick<OrderBook, "read">;
  readonly sources: Pick<Sources, "recent">;
  /** The list, including the ranges of the network behind the target. @throws if none is known */
  readonly neverBlock: (ownRanges: readonly string[]) => Promise<LastKnown>;
  /** The deployment's own mode, which an operator's order overrides. */
  readonly mode: Mode;
  readonly sweeper: Pick<Sweeper, "begin">;
  readonly timeToEntry: TimeToEntry;
  readonly log: Logger;
  readonly clock: () => EpochMillis;
};

/** What a converge of one target did, for the log, the metrics and the next wake-up. */
export type Converged = {
  readonly applied: number;
  /** Changes left for the next converge: out of time, refused or failed. */
  readonly left: number;
  /** Changes that AWS refused. */
  readonly refused: number;
  /** Our entries that a person removed or changed, and that were repaired. */
  readonly drifted: number;
  /** People's entries where ours could be. */
  readonly foreign: number;
  /** Ranges that are denied: AWS has confirmed them, and no earlier entry lets them in. */
  readonly enforced: number;
  /** Wanted blocks that no entry covers; only those that were read are counted. */
  readonly waiting: number;
  /** Ranges that wait only because of a person's allow. */
  readonly shadowed: number;
  readonly problem: Problem | null;
  /** The never-block list is what the owner wants now, not just what was read last. */
  readonly isNeverBlockReadable: boolean;
  /** When the first block that holds a place here ends; undefined if none holds one. */
  readonly nextEnd: EpochSeconds | undefined;
  /** Times from acceptance to entry, for the blocks whose entry AWS has just confirmed. */
  readonly timesToEntry: readonly Millis[];
};

/**
 * How long a plan is applied before a new one is made. Under EC2's throttle, the changes of a full ACL take
 * many seconds, in which stronger blocks arrive and others end.
 */
const PLAN_LIFE: Millis = 2_000;

/** How often the list is read at most to fill a target, and by what factor each reading grows. */
const READINGS = 3;
const READ_ON = 8;

/** Blocks of a family that are read at most: they must fit into memory. */
const MOST_READ = 20_000;

/** Ranges that the state names at most: a full pair of IP sets, and what comes and leaves at a time. */
const MOST_NAMED = 24_000;

/** How many refused ranges the state names: ten thousand would not fit into the item. */
const MAX_REFUSED = 1_000;

/** The state is written at least this often, even if nothing changes. */
const RECORD_EVERY: Millis = 30_000;

/** What a round did, and whether another must follow. */
export type Round = {
  readonly converged: Converged;
  /** Changes were left because the target throttled, or the plan had grown old. */
  readonly isInterrupted: boolean;
  /** A quota was met: the next plan respects it. */
  readonly hasLearnt: boolean;
};

/**
 * Makes one target match the list, as far as one plan goes. Whatever woke it, it looks at everything, so it
 * may be run any number of times, by anyone, at any time.
 *
 * @param deadline after which no further change is begun
 * @throws ThrottledError (while reading), ConflictError, and whatever the table fails with
 */
export async function convergeOnce<Record, Actual, Change extends TargetChange>(
  enforcer: Enforcer,
  target: Target<Record, Actual, Change>,
  deadline: EpochMillis,
): Promise<Round> {
  const { states, log, clock } = enforcer;
  const [state, seen, candidates, orders, sources] = await Promise.all([
    states.read(target.id, target.kind),
    target.read().catch((error: Error) => problemOf(error, target.id, log)),
    readCandidates(enforcer, target, target.capacity.candidates),
    enforcer.orders.read(clock()),
    readSources(enforcer, target.id),
  ]);
  const mode = orders.mode ?? enforcer.mode;
  if ("problem" in seen) return unusable(enforcer, target, state, mode, candidates.blocks, seen);

  const ownRanges = seen.ownRanges instanceof Error ? state.ownRanges : [...seen.ownRanges];
  const known = await readNeverBlock(enforcer, target.id, seen.ownRanges, ownRanges);
  const neverBlock = known?.list;
  const spared = sources && [...sources, ...heldRanges(orders, clock())];
  if (!isDeepStrictEqual(ownRanges, state.ownRanges))
    await states.writeNetwork(target.id, ownRanges);
  const before = parseRecord(target, state.record);
  const plan = (wanted: readonly Wanted[], record: Record, actual: Actual) =>
    target.plan({ wanted, record, actual, neverBlock, spared, now: clock() });
  const asIf = (record: Record, now: EpochMillis) =>
    target.assumeConfirmed(record, seen.actual, now);
  const assumed = asIf(parseRecord(target, state.monitored), clock());
  const planFor = async (read: Candidates) => {
    const held = await readHeld(enforcer, target, state, read);
    const ranked = strongestFirst([...read.blocks, ...held], isAmong(state.held), target.margin);
    const planned = plan(wantedIn[mode](ranked), before, seen.actual);
    const monitored = mode === "monitor" ? plan(ranked, assumed.record, assumed.actual) : undefined;
    return { read, ranked, planned, monitored, shown: monitored ?? planned };
  };
  let made = await planFor(candidates);
  const isToFill = neverBlock !== undefined && mode !== "off";
  for (let readings = 1; isToFill && readings < READINGS && leavesPlaces(made); readings++)
    made = await planFor(
      await readCandidates(enforcer, target, Math.min(MOST_READ, made.read.count * READ_ON)),
    );
  const { ranked, planned, monitored, shown } = made;
  report(enforcer, target, planned, monitored);

  const seenState: TargetState = {
    ...state,
    mode,
    leastSeverity: target.leastSeverity,
    ownRanges,
    held: heldIn(target, ranked, shown.chosen),
    shadowed: shown.shadowed.map(({ text }) => text),
    monitored: null,
    problem: seen.isInUse ? null : "unassociated",
  };
  const wouldBe = monitored && asIf(monitored.record, 0).record;
  /** What would be in monitor mode, as far as the item has room for it beside what is still ours. */
  const monitoredBeside = (of: Record) => {
    const named = (some: Record) => target.record.ours(some).length;
    return wouldBe && named(of) + named(wouldBe) <= MOST_NAMED
      ? target.record.stored(wouldBe)
      : null;
  };
  const isChanging = planned.changes.length > 0;
  const recorded = isChanging
    ? await states.write(target.id, {
        ...seenState,
        record: target.record.stored(planned.record),
        monitored: monitoredBeside(planned.record),
      })
    : seenState;
  const stopAt = Math.min(deadline, clock() + PLAN_LIFE);
  const applied = await apply(target, planned.changes, seen.actual, stopAt, enforcer);
  const record = target.settle(planned.record, before, applied, clock());
  const rangesIn = (of: Record) => target.record.entries(of).map(({ cidr }) => cidr);
  const converged = summarize(target, record, ranked, shown, applied, {
    // People's entries are counted by the real plan: the monitored one does not know our own entries.
    foreign: planned.foreign,
    drifted: planned.drifted,
    problem: applied.isMissing ? "missing" : applied.refusals > 0 ? "refused" : recorded.problem,
    isNeverBlockReadable: known?.isCurrent ?? false,
    timesToEntry: enforcer.timeToEntry({
      target: target.id,
      state,
      ranked,
      placed: holdersOf(ranked, planned.chosen),
      before: rangesIn(before),
      after: rangesIn(record),
      now: clock(),
    }),
  });
  await write(enforcer, target.id, isChanging ? recorded : state, {
    ...recorded,
    record: target.record.stored(record),
    monitored: monitoredBeside(record),
    refused: Object.fromEntries(Object.entries(applied.refused).slice(0, MAX_REFUSED)),
    problem: converged.problem,
    enforced: converged.enforced,
    waiting: converged.waiting,
  });
  return {
    converged,
    // The rest follows at once, unless the target takes nothing now.
    isInterrupted: applied.isInterrupted || (planned.isPartial && applied.left === 0),
    hasLearnt: applied.quotasMet.size > 0,
  };
}

/** The strongest blocks for the target, as far as they were read. */
type Candidates = {
  readonly blocks: readonly Block[];
  /** How many of each family were asked for. */
  readonly count: number;
  /** The families that may have more of them. */
  readonly unread: readonly Family[];
  readonly isPartial: boolean;
};

/** Reads them for both families, and starts to sweep the expired blocks that stand before them. */
async function readCandidates(
  { blocks, sweeper, clock }: Enforcer,
  { leastSeverity }: Pick<Target<never, never, never>, "leastSeverity">,
  count: number,
): Promise<Candidates> {
  const [four, six] = await Promise.all([
    blocks.readStrongest(4, { count, leastSeverity }, clock()),
    blocks.readStrongest(6, { count, leastSeverity }, clock()),
  ]);
  sweeper.begin([...four.expiredFrom, ...six.expiredFrom]);
  return {
    blocks: [...four.strongest, ...six.strongest],
    count,
    unread: [
      ...(four.strongest.length === count ? ([4] as const) : []),
      ...(six.strongest.length === count ? ([6] as const) : []),
    ],
    isPartial: four.isPartial || six.isPartial,
  };
}

/**
 * Whether places stay empty though there are weaker blocks. Protected and shadowed ones stand in the ranking
 * like any other: where they are more than are read, all that is below them would wait.
 */
const leavesPlaces = ({
  read,
  shown,
}: {
  readonly read: Candidates;
  readonly shown: Pick<TargetPlan<never, never>, "free">;
}) => read.count < MOST_READ && read.unread.some((family) => shown.free[family] > 0);

/**
 * Blocks that hold a place but are not among the strongest that were read: they are compared all the
 * same. Where the reading was cut short, that is whatever is ours in the target, or would be.
 */
async function readHeld<Record>(
  { blocks, clock }: Enforcer,
  target: Pick<Target<Record, never, never>, "leastSeverity" | "record">,
  { held, record, monitored }: TargetState,
  { blocks: strongest, isPartial }: Candidates,
): Promise<Block[]> {
  const known = new Set(strongest.map(({ cidr }) => cidr.text));
  const ours = (item: unknown) => target.record.ours(parseRecord(target, item));
  const places = isPartial ? [...held, ...ours(record), ...ours(monitored)] : held;
  const missing = [...new Set(places)].filter((text) => !known.has(text));
  const read = missing.length === 0 ? [] : await blocks.readBlocks(missing, clock());
  return read.filter((block) => isFor(target.leastSeverity, block));
}

/**
 * The blocks to read again because they hold a place. Without a margin, only those covered by an entry of
 * another name: the others are found by their entries where needed, and ten thousand names would not fit
 * into the item.
 */
function heldIn(
  { margin }: Pick<Target<never, never, never>, "margin">,
  ranked: readonly Block[],
  chosen: readonly Cidr[],
): string[] {
  const hasOwn = isAmong(chosen.map(({ text }) => text));
  return holdersOf(ranked, chosen).flatMap(({ cidr }) =>
    margin > 0 || !hasOwn(cidr) ? [cidr.text] : [],
  );
}

/** Undefined if they cannot be read: then no merged range covers innocents. */
async function readSources(
  { sources, log, clock }: Enforcer,
  target: string,
): Promise<readonly Cidr[] | undefined> {
  try {
    return await sources.recent(clock());
  } catch (error) {
    log.warn("Who called lately cannot be read: no merged range covers innocents", {
      target,
      error: error as Error,
    });
    return undefined;
  }
}

const heldRanges = ({ holds }: Orders, now: EpochMillis): Cidr[] =>
  holds.flatMap(({ cidr, until }) => (until * 1000 > now ? [cidr] : []));

function isAmong(texts: readonly string[]): (cidr: Cidr) => boolean {
  const set = new Set(texts);
  return (cidr) => set.has(cidr.text);
}

/**
 * The never-block list as it applies to the target; undefined if it cannot be read.
 *
 * @param ownRanges those of the network as EC2 shows them, or why it does not
 * @param lastKnown those, or what was recorded of them: the ranges of a VPC seldom change
 */
async function readNeverBlock(
  { neverBlock, log }: Enforcer,
  id: string,
  ownRanges: Seen<unknown>["ownRanges"],
  lastKnown: readonly string[],
): Promise<LastKnown | undefined> {
  try {
    if (!(ownRanges instanceof Error)) return await neverBlock(ownRanges);
    log.warn("The ranges of the network cannot be read", { target: id, error: ownRanges });
    if (lastKnown.length === 0) throw ownRanges;
    return { ...(await neverBlock(lastKnown)), isCurrent: false };
  } catch (error) {
    log.error("The never-block list cannot be read: nothing new is blocked", {
      target: id,
      error: error as Error,
    });
    return undefined;
  }
}

/** @throws ValiError if the record cannot be read: what is ours must not be forgotten */
function parseRecord<Record>(
  { record }: Pick<Target<Record, never, never>, "record">,
  item: unknown,
): Record {
  return item === null ? record.empty : v.parse(record.schema, item);
}

/** The blocks that hold a place: in a range of their own, or in a merged one. */
function holdersOf(blocks: readonly Block[], ranges: readonly Cidr[]): Block[] {
  const texts = new Set(ranges.map(({ text }) => text));
  // Ranges that are not blocks themselves are merged ones, and few.
  const own = new Set(blocks.map(({ cidr }) => cidr.text));
  const merged = ranges.filter(({ text }) => !own.has(text));
  return blocks.filter(
    ({ cidr }) => texts.has(cidr.text) || merged.some((range) => contains(range, cidr)),
  );
}

/** The blocks that the ranges cover, in a wider block's as well. */
function covered(blocks: readonly Block[], ranges: readonly Cidr[]): Block[] {
  const texts = new Set(ranges.map(({ text }) => text));
  const prefixesOf = (family: Family) => [
    ...new Set(ranges.flatMap((range) => (range.family === family ? range.prefix : []))),
  ];
  // Few: ranges of a hundred widths are rare, and ten thousand blocks are not.
  const prefixes = { 4: prefixesOf(4), 6: prefixesOf(6) };
  const isWithin = ({ cidr }: Block) =>
    prefixes[cidr.family].some(
      (prefix) => prefix < cidr.prefix && texts.has(widen(cidr, prefix).text),
    );
  return blocks.filter((block) => texts.has(block.cidr.text) || isWithin(block));
}

function summarize<Record, Change extends TargetChange>(
  { record: { entries } }: Pick<Target<Record, never, Change>, "record">,
  record: Record,
  ranked: readonly Block[],
  plan: Pick<TargetPlan<Record, Change>, "chosen" | "shadowed">,
  applied: Outcome<Change>,
  rest: Pick<
    Converged,
    "foreign" | "drifted" | "problem" | "isNeverBlockReadable" | "timesToEntry"
  >,
): Converged {
  const denied = entries(record).map(({ cidr }) => cidr);
  const held = holdersOf(ranked, plan.chosen);
  const ends = held.map(({ expiresAt }) => expiresAt);
  return {
    applied: applied.done.length,
    left: applied.left,
    refused: applied.refusals,
    enforced: denied.length,
    waiting: ranked.length - covered(ranked, denied).length,
    shadowed: plan.shadowed.length,
    nextEnd: ends.length > 0 ? ends.reduce((first, end) => Math.min(first, end)) : undefined,
    ...rest,
  };
}

/** Why a target cannot be read, and AWS's error code if it refuses. */
type Unusable = { readonly problem: Problem; readonly code?: string };

/** A problem that a person must fix; any other error is thrown. */
function problemOf(error: Error, target: string, log: Logger): Unusable {
  log.error("The target cannot be read", { target, error });
  if (error instanceof TargetMissingError) return { problem: "missing" };
  if (error instanceof TargetNotOursError) return { problem: "not ours" };
  if (error instanceof RefusedError) return { problem: "refused", code: error.code };
  throw error;
}

/** Nothing can be done and no retry can help, so this raises an alarm instead of a loop of errors. */
async function unusable<Record>(
  enforcer: Enforcer,
  target: Pick<Target<Record, never, never>, "id" | "record">,
  state: TargetState,
  mode: Mode,
  wanted: readonly Block[],
  { problem, code }: Unusable,
): Promise<Round> {
  // If AWS merely refuses access, what it has confirmed still stands there.
  const entries = target.record.entries(parseRecord(target, state.record));
  const denied = problem === "refused" ? entries.map(({ cidr }) => cidr) : [];
  const isDenied = isAmong(covered(wanted, denied).map(({ cidr }) => cidr.text));
  const waiting = wanted.filter(({ cidr }) => !isDenied(cidr));
  const refused = code === undefined ? [] : waiting.slice(0, MAX_REFUSED);
  const counts = { enforced: denied.length, waiting: waiting.length };
  await write(enforcer, target.id, state, {
    ...state,
    ...counts,
    mode,
    problem,
    refused: Object.fromEntries(refused.map(({ cidr }) => [cidr.text, code ?? problem])),
  });
  return {
    converged: {
      ...counts,
      applied: 0,
      left: 0,
      refused: code === undefined ? 0 : 1,
      drifted: 0,
      foreign: 0,
      shadowed: 0,
      problem,
      isNeverBlockReadable: true,
      nextEnd: undefined,
      timesToEntry: [],
    },
    isInterrupted: false,
    hasLearnt: false,
  };
}

/** Writes the state if it says something new or has not been written for a while. */
async function write(
  { states, clock }: Enforcer,
  id: string,
  before: TargetState,
  after: TargetState,
): Promise<void> {
  const isFresh = clock() - before.convergedAt < RECORD_EVERY;
  if (isFresh && isDeepStrictEqual(before, after)) return;
  await states.write(id, { ...after, convergedAt: clock() });
}

function report<Record, Change extends TargetChange>(
  { log }: Enforcer,
  { id, describe }: Pick<Target<Record, never, Change>, "id" | "describe">,
  { foreign, drifted }: TargetPlan<Record, Change>,
  monitored: TargetPlan<Record, Change> | undefined,
): void {
  if (drifted > 0) log.warn("Entries were changed by hand", { target: id, drifted });
  if (foreign > 0) log.info("Entries of a person where ours could be", { target: id, foreign });
  for (const change of monitored?.changes ?? []) {
    log.info("Would change the target", { target: id, ...describe(change) });
  }
}
