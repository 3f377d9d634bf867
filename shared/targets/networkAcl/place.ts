import { type Cidr, contains, type Family, overlaps } from "../../domain/cidr.ts";
import type { EpochMillis } from "../../domain/time.ts";
import { inTurn, mayDeny, type Slot, type Slots } from "./rules.ts";
import type { Change } from "./schedule.ts";

/** Unconfirmed calls on one number that are remembered at most: the record has bounds. */
const MAX_WAS = 10;

/** One of our numbers, with what we believe stands there. */
export type Owned = {
  readonly ruleNumber: number;
  readonly slot: Slot;
  /** The range denied there; null if there is none. */
  readonly there: Cidr | null;
  /** The record is unconfirmed, so an entry that is not shown yet may be there. */
  readonly isUncertain: boolean;
  readonly drifted: boolean;
};

export type Placing = {
  /** Strongest first; all of them find a number below their ceilings. */
  readonly chosen: readonly Cidr[];
  readonly owned: readonly Owned[];
  /** Numbers that nobody uses, lowest first. */
  readonly free: readonly number[];
  /** A range must stand below this number, or it denies nothing. */
  readonly ceiling: (range: Cidr) => number;
  /** Whether the entry at this number denies nothing, because an earlier allow lets all of it in. */
  readonly isIdle: (range: Cidr, ruleNumber: number) => boolean;
  readonly isProtected: (range: Cidr) => boolean;
  readonly now: EpochMillis;
};

/**
 * Gives each chosen range a rule number, in this order of preference:
 *
 *   kept       it already stands there, below its ceiling
 *   merged     an entry that is part of it becomes it, and so does an entry that it is part of
 *   its own    the number recorded for it
 *   another's  the number of an entry no longer wanted: one replace, not a delete and a create
 *   new        an empty number of ours, then the lowest free one
 *   moved      if all numbers below its ceiling are taken, a range with a higher ceiling moves up
 *
 * The changes come strongest first, the families in turn. Each names the changes that it must wait for, so
 * that no address that stays wanted is uncovered between two calls.
 */
export function place(placing: Placing): { readonly slots: Slots; readonly changes: Change[] } {
  const layout = newLayout(placing);
  keepWhatStands(placing, layout);
  reuseWhatOverlaps(placing, layout);
  for (const range of placing.chosen) {
    if (layout.numberOf.has(range.text)) continue;
    const number = findNumber(range, placing, layout);
    if (number !== undefined) assign(layout, number, range);
  }
  return { slots: slotsOf(placing, layout), changes: changesOf(placing, layout) };
}

/** Which number will deny which range. */
type Layout = {
  readonly owned: ReadonlyMap<number, Owned>;
  readonly rangeAt: Map<number, Cidr>;
  readonly numberOf: Map<string, number>;
  /** Ranges that stand where they are. */
  readonly kept: Set<string>;
};

function newLayout({ owned }: Placing): Layout {
  return {
    owned: new Map(owned.map((one) => [one.ruleNumber, one])),
    rangeAt: new Map(),
    numberOf: new Map(),
    kept: new Set(),
  };
}

function assign({ rangeAt, numberOf }: Layout, number: number, range: Cidr): void {
  rangeAt.set(number, range);
  numberOf.set(range.text, number);
}

const isCertain = ({ there, isUncertain }: Owned) => there !== null && !isUncertain;

function keepWhatStands({ chosen, owned, ceiling }: Placing, layout: Layout): void {
  for (const range of chosen) {
    const holder = owned.find(
      (one) => isCertain(one) && one.there?.text === range.text && one.ruleNumber < ceiling(range),
    );
    if (!holder) continue;
    assign(layout, holder.ruleNumber, range);
    layout.kept.add(range.text);
  }
}

/**
 * An entry that is part of a chosen range becomes it. An entry with chosen ranges inside becomes the
 * weakest of them, once the others stand; narrowest entry first, so that a range inside two entries stays
 * covered by the other meanwhile.
 */
function reuseWhatOverlaps(placing: Placing, layout: Layout): void {
  const { chosen, owned, ceiling, isProtected } = placing;
  const isOpen = (range: Cidr) => !layout.numberOf.has(range.text);
  const surplus = owned.filter(({ there, ruleNumber }) => there && !layout.rangeAt.has(ruleNumber));
  for (const { ruleNumber, there } of surplus) {
    if (!there || isProtected(there)) continue;
    const whole = chosen.find(
      (range) => isOpen(range) && contains(range, there) && ruleNumber < ceiling(range),
    );
    if (whole) assign(layout, ruleNumber, whole);
  }
  const claimed = new Set<string>();
  const narrowestFirst = surplus
    .filter(({ ruleNumber }) => !layout.rangeAt.has(ruleNumber))
    .toSorted((a, b) => (b.there?.prefix ?? 0) - (a.there?.prefix ?? 0));
  for (const { ruleNumber, there } of narrowestFirst) {
    if (!there) continue;
    const parts = chosen.filter(
      (range) => isOpen(range) && !claimed.has(range.text) && contains(there, range),
    );
    for (const part of parts) claimed.add(part.text);
    const fitting = parts.filter((range) => ruleNumber < ceiling(range));
    // A protected entry goes at once, so its strongest part takes the number.
    const becomes = isProtected(there) ? fitting[0] : fitting.at(-1);
    if (becomes) assign(layout, ruleNumber, becomes);
  }
}

/** A number for the range at which nothing chosen stands; ranges with higher ceilings make room. */
function findNumber(range: Cidr, placing: Placing, layout: Layout): number | undefined {
  const limit = placing.ceiling(range);
  const { rangeAt } = layout;
  const isOpen = (number: number) => number < limit && !rangeAt.has(number);
  const open = placing.owned.filter(({ ruleNumber }) => isOpen(ruleNumber));
  const isRecordedFor = ({ slot }: Owned, other: Cidr) => slot.cidr?.text === other.text;
  const isTakenUp = ({ there, isUncertain }: Owned) => there !== null || isUncertain;
  const isSpokenFor = (one: Owned) =>
    placing.chosen.some((other) => !layout.numberOf.has(other.text) && isRecordedFor(one, other));
  const reusable = open
    .filter((one) => isTakenUp(one) && (one.there ?? one.slot.cidr)?.family === range.family)
    .toSorted(
      (a, b) =>
        Number(b.there !== null && placing.isProtected(b.there)) -
          Number(a.there !== null && placing.isProtected(a.there)) ||
        Number(isSpokenFor(a)) - Number(isSpokenFor(b)),
    );
  const vacant = open.filter((one) => !isTakenUp(one));
  const best =
    reusable.find((one) => isRecordedFor(one, range)) ??
    reusable[0] ??
    vacant.find((one) => isRecordedFor(one, range)) ??
    vacant[0];
  const number = best?.ruleNumber ?? placing.free.find(isOpen) ?? open[0]?.ruleNumber;
  return number ?? makeRoom(limit, placing, layout);
}

/**
 * Moves a range with a higher ceiling from below the limit to above it: preferably one that does not stand
 * there yet, then the one with the highest ceiling.
 */
function makeRoom(limit: number, placing: Placing, layout: Layout): number | undefined {
  const { rangeAt, kept } = layout;
  const movable = [...rangeAt].filter(
    ([number, range]) => number < limit && placing.ceiling(range) > limit,
  );
  const [from, range] =
    movable.toSorted(
      ([, a], [, b]) =>
        Number(kept.has(a.text)) - Number(kept.has(b.text)) ||
        placing.ceiling(b) - placing.ceiling(a),
    )[0] ?? [];
  if (from === undefined || !range) return undefined;
  const to = findNumber(range, placing, layout);
  if (to === undefined) return undefined;
  rangeAt.delete(from);
  kept.delete(range.text);
  assign(layout, to, range);
  return from;
}

function slotsOf({ owned, now }: Placing, layout: Layout): Slots {
  const slots: Record<number, Slot> = {};
  for (const [number, range] of layout.rangeAt) {
    const one = layout.owned.get(number);
    const isKept = layout.kept.has(range.text);
    slots[number] = isKept ? { confirmedAt: now, ...one?.slot, cidr: range } : asked(range, one);
  }
  for (const one of owned) {
    if (layout.rangeAt.has(one.ruleNumber)) continue;
    if (mustBeDeleted(one)) slots[one.ruleNumber] = asked(null, one);
    // Empty numbers stay on record until nothing of ours can turn up there any more.
    else if (one.slot.cidr === null) slots[one.ruleNumber] = one.slot;
    // If a person deleted our entry, the number is given up.
  }
  return slots;
}

/** A number at which EC2 is about to be asked for something. */
function asked(cidr: Cidr | null, one: Owned | undefined): Slot {
  const before = [...(one?.there ? [one.there] : []), ...mayDeny(one?.slot)];
  const byText = new Map(before.map((range) => [range.text, range]));
  if (cidr) byText.delete(cidr.text);
  return { cidr, was: [...byText.values()].slice(0, MAX_WAS) };
}

/** Whether something is there, or may be. */
function mustBeDeleted({ there, slot }: Owned): boolean {
  return there !== null || slot.confirmedAt === undefined;
}

function changesOf(placing: Placing, layout: Layout): Change[] {
  const { chosen, owned, isProtected } = placing;
  const isUrgent = ({ ruleNumber }: Change) => {
    const there = layout.owned.get(ruleNumber)?.there;
    return there ? isProtected(there) : false;
  };
  const puts = chosen.flatMap((range): Change[] => {
    const ruleNumber = layout.numberOf.get(range.text);
    if (ruleNumber === undefined || layout.kept.has(range.text)) return [];
    const before = layout.owned.get(ruleNumber)?.there ?? null;
    const kind = before ? "replace" : "create";
    return [{ kind, ruleNumber, cidr: range, before, needs: needsOf(ruleNumber, placing, layout) }];
  });
  const deletes = owned
    .filter((one) => !layout.rangeAt.has(one.ruleNumber) && mustBeDeleted(one))
    .map(({ ruleNumber, there, slot }): Change => {
      const needs = needsOf(ruleNumber, placing, layout);
      return { kind: "delete", ruleNumber, cidr: null, before: there ?? slot.cidr, needs };
    });
  const changes = familiesInTurn([...puts, ...deletes]);
  // The owner's access matters more than a gap.
  return [...changes.filter(isUrgent), ...changes.filter((change) => !isUrgent(change))];
}

/** Neither a family's additions nor its removals wait for all of the other family's. */
function familiesInTurn(changes: readonly Change[]): Change[] {
  const of = (family: Family | undefined) =>
    changes.filter(({ cidr, before }) => (cidr ?? before)?.family === family);
  return [...inTurn(of(4), of(6)), ...of(undefined)];
}

/**
 * The numbers that will hold the ranges that the entry at this number covers until then, except the range
 * that it becomes. If one of these ranges contains another, the wider one is enough.
 */
function needsOf(ruleNumber: number, placing: Placing, layout: Layout): number[] {
  const there = layout.owned.get(ruleNumber)?.there;
  if (!there || placing.isProtected(there) || placing.isIdle(there, ruleNumber)) return [];
  const becomes = layout.rangeAt.get(ruleNumber);
  const needed = placing.chosen.flatMap((range) => {
    const number = layout.numberOf.get(range.text);
    if (number === undefined || number === ruleNumber || layout.kept.has(range.text)) return [];
    if (!overlaps(range, there)) return [];
    const shared = contains(there, range) ? range : there;
    return becomes && contains(becomes, shared) ? [] : [{ number, range }];
  });
  return needed
    .filter(
      ({ range }) => !needed.some((other) => other.range !== range && contains(other.range, range)),
    )
    .map(({ number }) => number);
}
