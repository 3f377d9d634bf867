import { fitIntoSlots } from "./capacity.ts";
import { type Cidr, contains, type Family, parseCidr } from "./cidr.ts";
import { type NeverBlock, protectedBy } from "./neverBlock.ts";

// The brain of the product. For one direction of one network ACL it compares what is wanted with
// what is there, and answers with the EC2 calls that lead from one to the other.
//
//   number in our range      wanted               there                   → what happens
//   ─────────────────────────────────────────────────────────────────────────────────────────────
//   ours (a recorded slot)   the same range       the same range            nothing
//   ours                     another range        a plain deny              replace
//   ours                     a range              nothing (lost, or by hand) create
//   ours                     nothing              a plain deny              delete
//   ours                     —                    no plain deny             a person took the number:
//                                                                           the slot is given up
//   free                     a range without slot nothing                   create
//   not ours                 —                    anything                  left alone, reported
//   outside our range        —                    anything                  never looked at
//
// A number is ours from before we ask EC2 for an entry until EC2 has shown it gone: `slots` is
// written to the table before the changes are applied. Hence an entry that we do not remember is a
// person's, and is never touched, even a plain deny.

/** Numbers of the rules, 1–32766, that Portcullis may use; lower numbers are evaluated first. */
export type NumberRange = { readonly first: number; readonly last: number };

/** The two rule lists of a network ACL. */
export type Direction = "ingress" | "egress";

/** An entry of the ACL, one direction. `cidr` is canonical. */
export type AclEntry = {
  readonly ruleNumber: number;
  readonly cidr: string;
  /** Denies all protocols and ports: the only kind of entry that Portcullis makes. */
  readonly isPlainDeny: boolean;
};

/** A rule number that is ours. */
export type Slot = {
  /** The range that we want at this number; null where the entry is on its way out. */
  readonly cidr: string | null;
  /** Epoch milliseconds at which EC2 confirmed it; absent while it has not. */
  readonly confirmedAt?: number;
};

/** Our rule numbers in one direction, by number. */
export type Slots = Readonly<Record<number, Slot>>;

export type Wanted = { readonly cidr: string; readonly expiresAt: number };

export type Change = {
  readonly kind: "create" | "replace" | "delete";
  readonly ruleNumber: number;
  /** What the entry denies afterwards; null for a delete. */
  readonly cidr: string | null;
  /** What it denied before; null for a create. */
  readonly before: string | null;
  /** Rule numbers whose changes must have succeeded, or this one would open a gap. */
  readonly needs: readonly number[];
};

export type PlanInput = {
  /** Wanted blocks of both families, strongest first within a family. */
  readonly wanted: readonly Wanted[];
  readonly slots: Slots;
  readonly actual: readonly AclEntry[];
  /** How many entries each family may have. */
  readonly limits: Readonly<Record<Family, number>>;
  readonly numbers: NumberRange;
  /** Undefined where the list could not be read: then nothing new is blocked. */
  readonly neverBlock: NeverBlock | undefined;
  /** How many innocent addresses merged ranges may cover, per family; 0 merges without loss. */
  readonly maxInnocents: number;
  /** Epoch milliseconds. */
  readonly now: number;
};

export type Plan = {
  /** The numbers that are ours once the changes are applied, to be recorded before they are. */
  readonly slots: Slots;
  /** In the order in which they must be applied; the families take turns, the strongest block first. */
  readonly changes: readonly Change[];
  /** Entries in our number range that are a person's. */
  readonly foreign: readonly AclEntry[];
  /** Slots that a person emptied or changed, and that this plan repairs. */
  readonly drifted: readonly number[];
};

/**
 * How long a confirmed write is believed against what DescribeNetworkAcls shows, in milliseconds:
 * EC2's reads are eventually consistent.
 *
 * @see https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html
 */
export const SETTLE_MS = 5_000;

/**
 * Plans the changes of one direction. Pure and total; the laws it keeps are the properties in
 * `test/services/enforcer/converge.property.test.ts`, among them: applied, it has nothing left to do; no
 * address that stays wanted is ever uncovered, not even between two calls; never more than `limits`
 * entries; never a person's entry; one EC2 call for each entry that changes.
 */
export function plan(input: PlanInput): Plan {
  const owned = ownedNumbers(input);
  const numbers = { owned, freeNumbers: freeNumbers(input, owned), next: new Map<number, Slot>() };
  const newDraft = (): Draft => ({ ...numbers, urgent: [], changes: [], deletes: [] });
  const [four, six, rest] = [newDraft(), newDraft(), newDraft()];
  planFamily(4, input, four);
  planFamily(6, input, six);
  forgetWhatIsGone(rest);
  return {
    slots: Object.fromEntries(numbers.next),
    changes: [
      ...inTurn(four.urgent, six.urgent),
      ...inTurn([...four.changes, ...four.deletes], [...six.changes, ...six.deletes]),
      ...rest.deletes,
    ],
    foreign: foreignEntries(input, owned),
    drifted: [...owned.values()].filter((one) => one.drifted).map((one) => one.ruleNumber),
  };
}

/** One of the first, one of the second, and so on: where EC2 throttles, neither waits for the other. */
export function inTurn<T>(first: readonly T[], second: readonly T[]): T[] {
  return Array.from({ length: Math.max(first.length, second.length) }, (_, index) => [
    ...first.slice(index, index + 1),
    ...second.slice(index, index + 1),
  ]).flat();
}

/** One of our numbers, with what we believe is there. */
type Owned = {
  readonly ruleNumber: number;
  readonly slot: Slot;
  /** The range denied there; null where there is nothing. */
  readonly there: Cidr | null;
  /** The record is unconfirmed, so that an entry may be there that is not shown yet. */
  readonly isUncertain: boolean;
  readonly drifted: boolean;
};

type Draft = {
  readonly owned: ReadonlyMap<number, Owned>;
  /** Numbers that nobody uses, lowest first. */
  readonly freeNumbers: number[];
  readonly next: Map<number, Slot>;
  readonly urgent: Change[];
  readonly changes: Change[];
  readonly deletes: Change[];
};

function ownedNumbers({ slots, actual, now }: PlanInput): Map<number, Owned> {
  const shown = new Map(actual.map((entry) => [entry.ruleNumber, entry]));
  const owned = new Map<number, Owned>();
  for (const [key, slot] of Object.entries(slots)) {
    const ruleNumber = Number(key);
    const entry = shown.get(ruleNumber);
    if (entry && !entry.isPlainDeny) continue; // a person took the number
    const isConfirmed = slot.confirmedAt !== undefined;
    const isSettled = isConfirmed && now - slot.confirmedAt >= SETTLE_MS;
    const there = isConfirmed && !isSettled ? slot.cidr : (entry?.cidr ?? null);
    if (isSettled && slot.cidr === null && there === null) continue; // gone, and shown gone
    owned.set(ruleNumber, {
      ruleNumber,
      slot,
      there: there === null ? null : parseCidr(there),
      isUncertain: !isConfirmed && there !== slot.cidr,
      drifted: isSettled && there !== slot.cidr,
    });
  }
  return owned;
}

function freeNumbers({ numbers, actual }: PlanInput, owned: ReadonlyMap<number, Owned>): number[] {
  const taken = new Set(actual.map((entry) => entry.ruleNumber));
  const all = Array.from({ length: numbers.last - numbers.first + 1 }, (_, i) => numbers.first + i);
  return all.filter((number) => !taken.has(number) && !owned.has(number));
}

function foreignEntries({ numbers, actual }: PlanInput, owned: ReadonlyMap<number, Owned>) {
  return actual.filter(
    ({ ruleNumber }) =>
      ruleNumber >= numbers.first && ruleNumber <= numbers.last && !owned.has(ruleNumber),
  );
}

/**
 * The entries of one family. An entry that is no longer wanted as it stands is one of:
 *
 *   merged     a wanted range contains it      the first of them becomes that range, the rest is free
 *   split      it contains wanted ranges       these are placed first; the entry becomes the last one
 *   free       neither                         becomes another wanted range, or is deleted
 *
 * In this order no address that stays wanted is uncovered between two calls, and because merging
 * frees numbers before splitting takes them, the limit holds between two calls as well.
 */
function planFamily(family: Family, input: PlanInput, draft: Draft): void {
  const mine = [...draft.owned.values()].filter(
    (one) => !draft.next.has(one.ruleNumber) && mayHold(one, family),
  );
  const vacant = mine.filter(isVacant);
  const held = mine.filter((one) => !isVacant(one));
  const capacity = Math.min(input.limits[family], mine.length + draft.freeNumbers.length);
  const targets = fitIntoSlots(
    allowed(family, input, held),
    capacity,
    input.neverBlock,
    input.neverBlock ? input.maxInnocents : 0,
  );

  const unplaced = keep(targets, held, draft, input.now);
  const surplus = held.filter((one) => !draft.next.has(one.ruleNumber));
  const placed: Placed = new Map();
  const free: Available[] = [];
  const whole = merge(surplus, unplaced, input.neverBlock, draft, placed, free);
  const splits = findSplits(whole, unplaced, placed, free);

  // A range goes back to its own number, unless (after a crash, with a lowered limit) that might be
  // one entry too many: then what is surely there is reused first, and what may be there goes first.
  const isOver = held.length > capacity;
  const isLater = (at: Available) =>
    isOver ? at.isUncertain : unplaced.some(({ text }) => text === at.recorded);
  free.sort(
    (a, b) => Number(b.isUrgent) - Number(a.isUrgent) || Number(isLater(a)) - Number(isLater(b)),
  );
  for (const target of unplaced) {
    if (placed.has(target.text) || splits.some(({ last }) => last === target)) continue;
    const at = take(target, free, vacant, draft, isOver);
    if (at) placed.set(target.text, put(target, at, draft));
  }
  for (const { at, last, there } of splits) {
    put(last, { ...at, needs: placedInside(there, placed) }, draft);
  }
  for (const at of free) {
    remove(at.isUncertain && isOver ? { ...at, isUrgent: true } : at, draft);
  }
}

/** Where this plan puts ranges: their text, and their rule number. */
type Placed = Map<string, number>;

/** An entry that becomes `last`, the weakest of the wanted ranges inside it, once the others are placed. */
type Split = { readonly at: Available; readonly last: Cidr; readonly there: Cidr };

function mayHold({ there, slot }: Owned, family: Family): boolean {
  if (there) return there.family === family;
  return slot.cidr === null || parseCidr(slot.cidr).family === family;
}

const isVacant = ({ there, isUncertain }: Owned) => there === null && !isUncertain;

/** Entries that are wanted as they stand stay; the answer is the wanted ranges that have none. */
function keep(targets: readonly Cidr[], held: readonly Owned[], draft: Draft, now: number): Cidr[] {
  const certain = held.filter(({ there, isUncertain }) => there && !isUncertain);
  return targets.filter((target) => {
    const holder = certain.find(({ there }) => there?.text === target.text);
    if (!holder) return true;
    const confirmedAt = holder.slot.confirmedAt ?? now;
    draft.next.set(holder.ruleNumber, { cidr: target.text, confirmedAt });
    return false;
  });
}

/**
 * Entries that a wanted range contains: the first becomes that range, the others are free once it
 * stands. Entries of which nothing is shown, and protected ones, are free as well. The answer is the
 * rest.
 */
function merge(
  surplus: readonly Owned[],
  unplaced: readonly Cidr[],
  neverBlock: NeverBlock | undefined,
  draft: Draft,
  placed: Placed,
  free: Available[],
): Owned[] {
  return surplus.filter((one) => {
    const at = availableOf(one);
    const { there } = one;
    if (!there) {
      free.push(at);
      return false;
    }
    if (neverBlock && protectedBy(neverBlock, there)) {
      // The owner's access goes before a gap; one wanted part of the entry can stay covered.
      const part = unplaced.find((target) => !placed.has(target.text) && contains(there, target));
      if (part) placed.set(part.text, put(part, { ...at, isUrgent: true }, draft));
      else free.push({ ...at, isUrgent: true });
      return false;
    }
    const whole = unplaced.find((target) => contains(target, there));
    if (!whole) return true;
    if (placed.has(whole.text)) free.push({ ...at, needs: placedInside(whole, placed) });
    else placed.set(whole.text, put(whole, at, draft));
    return false;
  });
}

/** Entries that contain wanted ranges; those that contain none are free. */
function findSplits(
  whole: readonly Owned[],
  unplaced: readonly Cidr[],
  placed: Placed,
  free: Available[],
): Split[] {
  const claimed = new Set(placed.keys());
  // The narrowest first, so that a range inside two of them stays covered by the other meanwhile.
  const narrowestFirst = whole.toSorted((a, b) => (b.there?.prefix ?? 0) - (a.there?.prefix ?? 0));
  return narrowestFirst.flatMap((one) => {
    const { there } = one;
    if (!there) return [];
    const parts = unplaced.filter((target) => !claimed.has(target.text) && contains(there, target));
    for (const part of parts) claimed.add(part.text);
    const last = parts.at(-1);
    if (last) return [{ at: availableOf(one), last, there }];
    free.push({ ...availableOf(one), needs: placedInside(there, placed) });
    return [];
  });
}

function put(target: Cidr, at: Available, draft: Draft): number {
  const { ruleNumber, needs, isUrgent } = at;
  draft.next.set(ruleNumber, { cidr: target.text });
  // Where something may be that is not shown, most likely nothing is.
  const before = at.isUncertain ? null : at.before;
  const kind = before === null ? "create" : "replace";
  const list = isUrgent ? draft.urgent : draft.changes;
  list.push({ kind, ruleNumber, cidr: target.text, before, needs });
  return ruleNumber;
}

function remove({ ruleNumber, before, needs, isUrgent }: Available, draft: Draft): void {
  draft.next.set(ruleNumber, { cidr: null });
  const list = isUrgent ? draft.urgent : draft.deletes;
  list.push({ kind: "delete", ruleNumber, cidr: null, before, needs });
}

/** The numbers of the ranges in `outer` (or equal to it) that this plan puts in place. */
function placedInside(outer: Cidr, placed: ReadonlyMap<string, number>): number[] {
  return [...placed]
    .filter(([text]) => contains(outer, parseCidr(text)))
    .map(([, number]) => number);
}

/** A number that can take a range, and what a call on it must mind. */
type Available = {
  readonly ruleNumber: number;
  readonly before: string | null;
  /** What the record wants there: a range goes back to its own number. */
  readonly recorded: string | null;
  readonly needs: readonly number[];
  /** It denies a protected address and must go first. */
  readonly isUrgent: boolean;
  /** Nothing is shown there, but something may be. */
  readonly isUncertain: boolean;
};

function availableOf({ ruleNumber, slot, there }: Owned): Available {
  const before = there?.text ?? slot.cidr;
  const isUncertain = there === null;
  return { ruleNumber, before, recorded: slot.cidr, needs: [], isUrgent: false, isUncertain };
}

/** The best number for a range: its own, then one whose entry is not wanted any more, then a new one. */
function take(
  target: Cidr,
  free: Available[],
  vacant: Owned[],
  draft: Draft,
  isOver: boolean,
): Available | undefined {
  const own = isOver ? 0 : free.findIndex((at) => at.recorded === target.text);
  if (free.length > 0) return free.splice(Math.max(own, 0), 1)[0];
  const ownVacant = vacant.findIndex((one) => one.slot.cidr === target.text);
  const empty = vacant.splice(Math.max(ownVacant, 0), 1)[0];
  if (empty) return { ...availableOf(empty), before: null };
  const ruleNumber = draft.freeNumbers.shift();
  if (ruleNumber === undefined) return undefined;
  const nothing = { before: null, recorded: null, needs: [], isUrgent: false, isUncertain: false };
  return { ruleNumber, ...nothing };
}

/** The wanted ranges of a family that may be denied. */
function allowed(
  family: Family,
  { wanted, neverBlock, now }: PlanInput,
  held: readonly Owned[],
): Cidr[] {
  return wanted
    .filter(({ expiresAt }) => expiresAt * 1000 > now)
    .map(({ cidr }) => parseCidr(cidr))
    .filter((cidr) => cidr.family === family)
    .filter((cidr) =>
      neverBlock
        ? !protectedBy(neverBlock, cidr)
        : held.some(({ there }) => there !== null && contains(there, cidr)),
    );
}

/** Numbers that no range took: empty ones stay on record until EC2's reads have caught up. */
function forgetWhatIsGone({ owned, next, deletes }: Draft): void {
  for (const { ruleNumber, slot, there } of owned.values()) {
    if (next.has(ruleNumber) || there !== null) continue;
    const isConfirmed = slot.confirmedAt !== undefined;
    if (isConfirmed && slot.cidr === null) next.set(ruleNumber, slot);
    if (isConfirmed) continue; // where a person deleted our entry, the number is given up
    next.set(ruleNumber, { cidr: null });
    deletes.push({ kind: "delete", ruleNumber, cidr: null, before: slot.cidr, needs: [] });
  }
}
