import { type Block, isExpired } from "./block.ts";
import { contains, parseCidr } from "./cidr.ts";
import type { Slots } from "./plan.ts";

/** What became of a wanted block, in the words that the operator sees. */
export type Standing = {
  readonly state: "enforced" | "waiting" | "monitored" | "expired" | `compressed into ${string}`;
  /** The rule that denies it, or in monitor mode would deny it. */
  readonly ruleNumber: number | null;
};

/**
 * @param slots the rule numbers that are ours
 * @param monitored in monitor mode, the rule numbers as they would be
 * @param now epoch milliseconds
 */
export function standingOf(
  block: Pick<Block, "cidr" | "expiresAt">,
  slots: Slots,
  monitored: Slots,
  now: number,
): Standing {
  if (isExpired(block, now)) return { state: "expired", ruleNumber: null };
  const enforced = ruleFor(block.cidr, slots, true);
  if (enforced) {
    const isWhole = enforced.cidr === block.cidr;
    return {
      state: isWhole ? "enforced" : `compressed into ${enforced.cidr}`,
      ruleNumber: enforced.ruleNumber,
    };
  }
  const wouldBe = ruleFor(block.cidr, monitored, false);
  return wouldBe
    ? { state: "monitored", ruleNumber: wouldBe.ruleNumber }
    : { state: "waiting", ruleNumber: null };
}

/** The rule that covers the range, its own before a wider one. */
function ruleFor(text: string, slots: Slots, mustBeConfirmed: boolean) {
  const cidr = parseCidr(text);
  const rules = Object.entries(slots).flatMap(([number, slot]) =>
    slot.cidr !== null && (slot.confirmedAt !== undefined || !mustBeConfirmed)
      ? [{ ruleNumber: Number(number), cidr: slot.cidr }]
      : [],
  );
  return (
    rules.find((rule) => rule.cidr === text) ??
    rules.find((rule) => contains(parseCidr(rule.cidr), cidr))
  );
}
