import { type Cidr, overlaps } from "../../domain/cidr.ts";
import type { EpochMillis } from "../../domain/time.ts";

/** The rule numbers, within 1–32766, that Portcullis may use; lower numbers are evaluated first. */
export type NumberRange = { readonly first: number; readonly last: number };

/** The two rule lists of a network ACL. */
export type Direction = "ingress" | "egress";
export const DIRECTIONS = ["ingress", "egress"] as const satisfies readonly Direction[];

/** An entry of the ACL, in one direction. */
export type AclEntry = {
  readonly ruleNumber: number;
  readonly cidr: Cidr;
  /** `deny` denies all protocols and ports: the only kind of entry that Portcullis makes. */
  readonly kind: "deny" | "partial deny" | "allow";
};

/** A rule number that is ours. */
export type Slot = {
  /** The range that we want at this number; null if the entry is being removed. */
  readonly cidr: Cidr | null;
  /** When EC2 confirmed it; absent until then. */
  readonly confirmedAt?: EpochMillis;
  /**
   * What our entry denied there before, or may have, the latest first: it may be shown still, or again.
   * Absent where that is over, and where it is not known.
   */
  readonly was?: readonly Cidr[];
};

/** Our rule numbers in one direction, by number. */
export type Slots = Readonly<Record<number, Slot>>;

/** What our entry at the number may deny, the latest first; nothing where the number is not ours. */
export const mayDeny = (slot: Slot | undefined): readonly Cidr[] =>
  slot ? [...(slot.cidr ? [slot.cidr] : []), ...(slot.was ?? [])] : [];

/**
 * Whether a plain deny at a number of ours is our own. Where EC2 has confirmed an entry it is: whoever
 * changes that is put right. Where the entry has left, or is not confirmed, only what we asked for there is;
 * else a person has used the number meanwhile.
 */
export function isOurs(slot: Slot, shown: Cidr): boolean {
  const isConfirmed = slot.confirmedAt !== undefined;
  if (slot.cidr !== null && isConfirmed) return true;
  // What was asked for is not known, as in records of before `was`: EC2 has not said that ours has left.
  if (!slot.was && !isConfirmed) return true;
  return mayDeny(slot).some(({ text }) => text === shown.text);
}

/**
 * The number of the first allow that overlaps the range; Infinity if there is none. Rules are tried lowest
 * first and the first match wins, so a deny of the range works only below it, whatever protocol and ports
 * it lets in.
 *
 * @see https://docs.aws.amazon.com/vpc/latest/userguide/nacl-rules.html
 */
export function ceilingOf(range: Cidr, allows: readonly AclEntry[]): number {
  return allows.reduce(
    (lowest, { ruleNumber, cidr }) =>
      ruleNumber < lowest && overlaps(cidr, range) ? ruleNumber : lowest,
    Number.POSITIVE_INFINITY,
  );
}

/** Interleaves the two: when EC2 throttles, neither waits for the other. */
export function inTurn<T>(first: readonly T[], second: readonly T[]): T[] {
  return Array.from({ length: Math.max(first.length, second.length) }, (_, index) => [
    ...first.slice(index, index + 1),
    ...second.slice(index, index + 1),
  ]).flat();
}
