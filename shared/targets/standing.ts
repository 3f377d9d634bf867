import type { Block } from "../domain/block.ts";
import { type NeverBlock, protectedBy } from "../domain/neverBlock.ts";
import { isFor } from "../domain/rank.ts";
import { type EpochMillis, isExpired } from "../domain/time.ts";
import { entriesOf, entryFor, type TargetState } from "./state.ts";
import type { Entry } from "./target.ts";

/** What has become of a wanted block in one target. */
export type Standing = {
  readonly state:
    | "enforced"
    | "merged"
    | "monitored"
    | "waiting"
    | "shadowed"
    | "refused"
    | "excluded"
    | "expired";
  /** The rule that denies it, or would in monitor mode. */
  readonly ruleNumber?: number;
  /** The wider range that denies it. */
  readonly coveredBy?: string;
  /** A stable code for why it is not enforced, or is but denies nobody. */
  readonly why?: string;
};

/** A target as the operator sees it. */
export type TargetView = {
  readonly id: string;
  readonly state: TargetState;
  readonly entries: readonly Entry[];
};

export const viewOf = (id: string, state: TargetState): TargetView => ({
  id,
  state,
  entries: entriesOf(state),
});

/** What has become of the block in the target. */
export function standingOf(
  block: Pick<Block, "cidr" | "byOperator" | "severity" | "expiresAt">,
  { state, entries }: TargetView,
  neverBlock: NeverBlock,
  now: EpochMillis,
): Standing {
  const { text } = block.cidr;
  if (isExpired(block, now)) return { state: "expired" };
  if (!isFor(state.leastSeverity, block)) return { state: "excluded", why: "severity" };
  const refusal = state.refused[text];
  const entry = state.problem === "missing" ? undefined : entryFor(block.cidr, entries);
  if (entry) {
    const isWhole = entry.cidr.text === text;
    const rule = entry.ruleNumber === undefined ? {} : { ruleNumber: entry.ruleNumber };
    const coveredBy = isWhole ? {} : { coveredBy: entry.cidr.text };
    if (state.mode === "monitor") return { state: "monitored", ...rule, ...coveredBy };
    const why = state.problem === "unassociated" ? { why: state.problem } : {};
    return { state: isWhole ? "enforced" : "merged", ...rule, ...coveredBy, ...why };
  }
  if (protectedBy(neverBlock, block.cidr)) return { state: "excluded", why: "never-block" };
  if (refusal !== undefined) return { state: "refused", why: refusal };
  if (state.shadowed.includes(text)) return { state: "shadowed" };
  const why = state.problem ?? (state.mode === "off" ? "off" : undefined);
  return { state: "waiting", ...(why && { why }) };
}

/** A block's overall standing is its best over all targets. */
const BEST_FIRST = ["enforced", "merged", "monitored", "expired", "waiting"] as const;

/** The best of a block's standings; a block that is shadowed, refused or excluded everywhere is waiting. */
export function bestOf(standings: readonly Standing[]): Standing {
  const best = BEST_FIRST.flatMap((state) => standings.find((one) => one.state === state) ?? []);
  return best[0] ?? { state: "waiting" };
}
