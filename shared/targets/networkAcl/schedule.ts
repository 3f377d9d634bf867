import type { Cidr, Family } from "../../domain/cidr.ts";

/** One EC2 call. */
export type Change = {
  readonly kind: "create" | "replace" | "delete";
  readonly ruleNumber: number;
  /** What the entry denies afterwards; null for a delete. */
  readonly cidr: Cidr | null;
  /** What it denied before; null for a create. */
  readonly before: Cidr | null;
  /** Rule numbers whose changes must have succeeded, or this one would open a gap. */
  readonly needs: readonly number[];
};

/** A number that holds, or may hold, an entry of ours before the changes. */
export type Holding = {
  readonly ruleNumber: number;
  readonly family: Family;
  /** An entry is shown or believed there; otherwise one may be there. */
  readonly isCertain: boolean;
};

/**
 * Orders changes: as given, but each after those that it needs, and no new entry before there is room
 * for it. The last room is kept for those that others need. Where all that cannot be (two changes need
 * each other, or a range can only come before its old entry goes and there is no room for both), the
 * last one given that has room goes first: a moment's gap is better than no change at all.
 *
 * @param limits entries of each family that may be there at a time
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

  /** The family in which one entry more is there afterwards. */
  function growing({ ruleNumber, cidr }: Change): Family | undefined {
    const there = held.get(ruleNumber);
    return there?.isCertain && there.family === cidr?.family ? undefined : cidr?.family;
  }

  /** Whatever of the uncertain entries is there, that many more do not make too many. */
  function hasRoom(change: Change, more = 1): boolean {
    const family = growing(change);
    if (family === undefined) return true;
    const others = [...held.values()].filter(
      (one) => one.family === family && one.ruleNumber !== change.ruleNumber,
    );
    return others.length + more <= limits[family];
  }

  /** It takes no room that another one must have first. */
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
    // What could not be waited for must not be needed either.
    ordered.push(isReady(change) ? change : { ...change, needs: change.needs.filter(isDone) });
    const { ruleNumber, cidr } = change;
    if (cidr) held.set(ruleNumber, { ruleNumber, family: cidr.family, isCertain: true });
    else held.delete(ruleNumber);
  }
  return ordered;
}
