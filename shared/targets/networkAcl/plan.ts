import { type Candidate, choose, type Room } from "../../domain/choose.ts";
import { type Cidr, contains, type Family } from "../../domain/cidr.ts";
import { type NeverBlock, protectedBy } from "../../domain/neverBlock.ts";
import type { Wanted } from "../../domain/rank.ts";
import { type EpochMillis, isExpired, type Millis } from "../../domain/time.ts";
import { type Owned, place } from "./place.ts";
import {
  type AclEntry,
  ceilingOf,
  inTurn,
  isOurs,
  type NumberRange,
  type Slot,
  type Slots,
} from "./rules.ts";
import { type Change, schedule } from "./schedule.ts";

// The brain of the product. For one direction of one network ACL, it compares what is wanted with what is
// there, and returns the EC2 calls that lead from one to the other.
//
//   number in our range      wanted               there                   → what happens
//   ─────────────────────────────────────────────────────────────────────────────────────────────
//   ours (a recorded slot)   the same range       the same range            nothing
//   ours                     another range        a plain deny              replace
//   ours                     a range              nothing (lost, or by hand) create
//   ours                     nothing              a plain deny              delete
//   ours                     a range              the range, behind an      it moves below the allow,
//                                                 allow that overlaps it    or waits, shadowed
//   ours                     —                    no plain deny             a person took the number:
//                                                                           the slot is given up
//   ours, not confirmed or   —                    a deny that we never      a person took the number
//   left                                          asked for there
//   free                     a range without slot nothing                   create, below every allow
//                                                                           that overlaps it
//   not ours                 —                    anything                  left alone, reported
//   outside our range        —                    an allow                  ranges go below it
//
// A number is ours from before we ask EC2 for an entry until that is gone for good: `slots` is written to
// the table before the changes are applied. Hence an entry that we have no record of is a person's, and is
// never touched, even if it is a plain deny.

export type PlanInput = {
  /** Wanted blocks of both families, strongest first within a family. */
  readonly wanted: readonly Pick<Wanted, "cidr" | "expiresAt" | "leastPrefix">[];
  readonly slots: Slots;
  readonly actual: readonly AclEntry[];
  /** How many entries each family may have. */
  readonly limits: Readonly<Record<Family, number>>;
  readonly numbers: NumberRange;
  /** Undefined if the list could not be read: then nothing new is blocked. */
  readonly neverBlock: NeverBlock | undefined;
  /** Ranges never covered as innocents. Undefined if unknown: then no merged range covers innocents. */
  readonly spared: readonly Cidr[] | undefined;
  /** How many innocent addresses merged ranges may cover, per family; 0: merges without loss only. */
  readonly maxInnocents: number;
  readonly now: EpochMillis;
};

export type Plan = {
  /** The numbers that are ours once the changes are applied; recorded before they are. */
  readonly slots: Slots;
  /** In the order in which they must be applied; the families take turns, the strongest block first. */
  readonly changes: readonly Change[];
  /** Places still empty, which ranges of the family could have. */
  readonly free: Readonly<Record<Family, number>>;
  /** Ranges that would have a place but for an allow that overlaps them. */
  readonly shadowed: readonly Cidr[];
  /** Entries in our number range that are a person's. */
  readonly foreign: readonly AclEntry[];
  /** Slots that a person emptied or changed, and that this plan repairs. */
  readonly drifted: readonly number[];
};

/**
 * How long a confirmed write is trusted over what DescribeNetworkAcls shows: EC2's reads are eventually
 * consistent.
 *
 * @see https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html
 */
export const SETTLE: Millis = 5_000;

/**
 * How long we remember a number that we have left, and what stood there. If two enforcers run, a call of
 * one may wait for EC2 to grant it while the other finds nothing to delete. No call outlives its function,
 * whose timeout is a minute; after that EC2 shows what it did.
 */
export const REMEMBER: Millis = 60_000 + SETTLE;

/**
 * Plans the changes of one direction. Pure and total. Its laws are the properties in
 * `test/services/enforcer/converge.property.test.ts`, among them: once the plan is applied, nothing is left
 * to do; no address that stays wanted is ever uncovered, not even between two calls; never more than
 * `limits` entries; no change to a person's entry; no entry behind an allow that overlaps it; one EC2 call
 * for each entry that changes.
 */
export function plan(input: PlanInput): Plan {
  const { actual, limits, numbers, neverBlock, now } = input;
  const owned = ownedNumbers(input);
  const foreign = actual.filter(({ ruleNumber }) => !owned.has(ruleNumber));
  const inRange = foreign.filter(
    ({ ruleNumber }) => ruleNumber >= numbers.first && ruleNumber <= numbers.last,
  );
  const allows = foreign.filter(({ kind }) => kind === "allow");
  const taken = new Set(inRange.map(({ ruleNumber }) => ruleNumber));
  const usable = Array.from(
    { length: numbers.last - numbers.first + 1 },
    (_, index) => numbers.first + index,
  ).filter((number) => !taken.has(number));

  const ceiling = (range: Cidr) => ceilingOf(range, allows);
  const { chosen, shadowed } = chooseRanges(input, owned, usable, ceiling);
  const placed = place({
    chosen,
    owned: [...owned.values()],
    free: usable.filter((number) => !owned.has(number)),
    ceiling,
    isIdle: (range, number) =>
      allows.some((allow) => allow.ruleNumber < number && contains(allow.cidr, range)),
    isProtected: (cidr) => neverBlock !== undefined && protectedBy(neverBlock, cidr) !== undefined,
    now,
  });
  const freeFor = (family: Family) => {
    const openTo = ceilingOfAll(family, allows);
    const numbersLeft = usable.filter((number) => number < openTo).length - chosen.length;
    const taken = chosen.filter((range) => range.family === family).length;
    return Math.max(0, Math.min(limits[family] - taken, numbersLeft));
  };
  const holdings = [...owned.values()].flatMap(({ ruleNumber, there, slot, isUncertain }) => {
    const family = (there ?? slot.cidr)?.family;
    return family && (there || isUncertain)
      ? [{ ruleNumber, family, isCertain: there !== null && !isUncertain }]
      : [];
  });
  return {
    slots: placed.slots,
    changes: schedule(placed.changes, holdings, limits),
    free: { 4: freeFor(4), 6: freeFor(6) },
    shadowed,
    foreign: inRange,
    drifted: [...owned.values()].filter((one) => one.drifted).map((one) => one.ruleNumber),
  };
}

function ownedNumbers({ slots, actual, now }: PlanInput): Map<number, Owned> {
  const shown = new Map(actual.map((entry) => [entry.ruleNumber, entry]));
  const owned = new Map<number, Owned>();
  for (const [key, slot] of Object.entries(slots)) {
    const ruleNumber = Number(key);
    const entry = shown.get(ruleNumber);
    // A person took the number.
    if (entry && (entry.kind !== "deny" || !isOurs(slot, entry.cidr))) continue;
    const one = ownedNumber(ruleNumber, slot, entry?.cidr ?? null, now);
    if (one) owned.set(ruleNumber, one);
  }
  return owned;
}

/** Undefined for a number whose entry is gone, is shown to be gone, and cannot come any more. */
function ownedNumber(
  ruleNumber: number,
  slot: Slot,
  shown: Cidr | null,
  now: EpochMillis,
): Owned | undefined {
  const isConfirmed = slot.confirmedAt !== undefined;
  const isSettled = isConfirmed && now - slot.confirmedAt >= SETTLE;
  const isOver = isConfirmed && now - slot.confirmedAt >= REMEMBER;
  const there = isConfirmed && !isSettled ? slot.cidr : shown;
  const isAsRecorded = there?.text === slot.cidr?.text;
  if (isOver && slot.cidr === null && there === null) return undefined;
  const { was, ...latest } = slot;
  return {
    ruleNumber,
    slot: isOver && slot.cidr ? latest : slot,
    there,
    isUncertain: !isConfirmed && !isAsRecorded,
    drifted: isSettled && !isAsRecorded,
  };
}

/** The ranges that get the room below the allows, strongest first, the families in turn. */
function chooseRanges(
  { wanted, limits, neverBlock, spared, maxInnocents, now }: PlanInput,
  owned: ReadonlyMap<number, Owned>,
  usable: readonly number[],
  ceiling: (range: Cidr) => number,
): { readonly chosen: readonly Cidr[]; readonly shadowed: readonly Cidr[] } {
  const held = [...owned.values()].flatMap(({ there }) => there ?? []);
  const isAllowed = (cidr: Cidr) =>
    neverBlock ? !protectedBy(neverBlock, cidr) : held.some((there) => contains(there, cidr));
  const candidates = (family: Family) =>
    wanted.filter(
      (one) => one.cidr.family === family && !isExpired(one, now) && isAllowed(one.cidr),
    );
  const merging =
    neverBlock && spared
      ? { spared: [...neverBlock.map(({ cidr }) => cidr), ...spared], maxInnocents }
      : undefined;
  const [four, six] = [candidates(4), candidates(6)];
  const pick = (family: Family, ranked: readonly Candidate[], fits?: Room["fits"]) =>
    choose(ranked, { ranges: limits[family], ...(fits && { fits }) }, merging);

  const lowest = Math.min(...[...four, ...six].map(({ cidr }) => ceiling(cidr)));
  if (usable.filter((number) => number < lowest).length >= limits[4] + limits[6]) {
    return { chosen: inTurn(pick(4, four), pick(6, six)), shadowed: [] };
  }
  // Numbers are scarce, and the families share them. Half of them are IPv6's for the asking.
  const fits =
    (numbers: readonly number[], ceilings: typeof ceiling, others: readonly Cidr[]) =>
    (ranges: readonly Cidr[]) =>
      fitTogether([...others, ...ranges].map(ceilings), numbers);
  const everySecond = usable.filter((_, index) => index % 2 === 1);
  const sixAlone = pick(6, six, fits(everySecond, ceiling, []));
  const chosenFour = pick(4, four, fits(usable, ceiling, sixAlone));
  const chosenSix = pick(6, six, fits(usable, ceiling, chosenFour));
  const chosen = inTurn(chosenFour, chosenSix);

  const unlimited = () => Number.POSITIVE_INFINITY;
  const inTheOpenFour = pick(4, four, fits(usable, unlimited, chosenSix));
  const inTheOpenSix = pick(6, six, fits(usable, unlimited, chosenFour));
  const isChosen = (range: Cidr) => chosen.some((one) => contains(one, range));
  return {
    chosen,
    shadowed: [...inTheOpenFour, ...inTheOpenSix].filter((range) => !isChosen(range)),
  };
}

/** From this number on an allow of everything lets any address of the family in. */
function ceilingOfAll(family: Family, allows: readonly AclEntry[]): number {
  const ofAll = allows.filter(({ cidr }) => cidr.family === family && cidr.prefix === 0);
  return Math.min(Number.POSITIVE_INFINITY, ...ofAll.map(({ ruleNumber }) => ruleNumber));
}

/** Whether each range finds a number of its own below its ceiling. `numbers` ascend. */
function fitTogether(ceilings: readonly number[], numbers: readonly number[]): boolean {
  return ceilings
    .toSorted((a, b) => a - b)
    .every((ceiling, index) => {
      const needed = numbers[index];
      return needed !== undefined && needed < ceiling;
    });
}
