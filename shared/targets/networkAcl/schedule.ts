import type { Cidr, Family } from "../../domain/cidr.ts";

/** One EC2 call. */
export type Change = {
  readonly kind: "create" | "replace" | "delete";
  readonly ruleNumber: number;
  /** The range that the entry denies afterwards; null for a delete. */
  readonly cidr: Cidr | null;
  /** The range that it denied before; null for a create. */
  readonly before: Cidr | null;
  /** Rule numbers whose changes must succeed first, or this one would open a gap. */
  readonly needs: readonly number[];
};

/** A number that holds, or may hold, an entry of ours before the changes. */
export type Holding = {
  readonly ruleNumber: number;
  readonly family: Family;
  /** True if an entry is shown or believed to be there; otherwise one may be there. */
  readonly isCertain: boolean;
};

/**
 * Orders changes: as given, but each after those that it needs, and no new entry before there is room for
 * it. The last room is kept for changes that others need. If that is impossible (two changes need each
 * other, or a range must come before its old entry goes but there is no room for both), the last one given
 * that has room goes first: a momentary gap is better than no change at all.
 *
 * @param limits how many entries of each family may exist at a time
 */
export function schedule(
  changes: readonly Change[],
  holdings: readonly Holding[],
  limits: Readonly<Record<Family, number>>,
): Change[] {
  const held = new Map(holdings.map((one) => [one.ruleNumber, one]));
  const open = [...changes];
  const ordered: Change[] = [];
  const isDone = (number: number) => !open.some(({ ruleNumber }) => ruleNumber === number);
  const isReady = ({ needs }: Change) => needs.every(isDone);
  const isNeeded = ({ ruleNumber }: Change) => open.some(({ needs }) => needs.includes(ruleNumber));

  /** The family that has one more entry afterwards. */
  function growing({ ruleNumber, cidr }: Change): Family | undefined {
    const there = held.get(ruleNumber);
    return there?.isCertain && there.family === cidr?.family ? undefined : cidr?.family;
  }

  /** Whether `more` entries fit, however many of the uncertain ones exist. */
  function hasRoom(change: Change, more = 1): boolean {
    const family = growing(change);
    if (family === undefined) return true;
    const others = [...held.values()].filter(
      (one) => one.family === family && one.ruleNumber !== change.ruleNumber,
    );
    return others.length + more <= limits[family];
  }

  /** Whether it leaves the room that another change must have first. */
  function sparesRoom(change: Change): boolean {
    const family = growing(change);
    if (family === undefined || isNeeded(change)) return true;
    const awaited = open.filter((other) => growing(other) === family && isNeeded(other));
    return awaited.length === 0 || hasRoom(change, 1 + awaited.length);
  }

  function next(): Change | undefined {
    const ready = open.filter((change) => isReady(change) && hasRoom(change));
    return (
      ready.find(sparesRoom) ?? ready[0] ?? open.findLast((one) => hasRoom(one)) ?? open.at(-1)
    );
  }

  for (let change = next(); change; change = next()) {
    open.splice(open.indexOf(change), 1);
    // Drop the needs that it could not wait for, or it would never be applied.
    ordered.push(isReady(change) ? change : { ...change, needs: change.needs.filter(isDone) });
    const { ruleNumber, cidr } = change;
    if (cidr) held.set(ruleNumber, { ruleNumber, family: cidr.family, isCertain: true });
    else held.delete(ruleNumber);
  }
  return ordered;
}
