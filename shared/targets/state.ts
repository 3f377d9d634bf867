import * as v from "valibot";
import { type Cidr, contains } from "../domain/cidr.ts";
import { MODES } from "../domain/orders.ts";
import { aclRecord } from "./networkAcl/record.ts";
import type { Entry, RecordOf, TargetKind } from "./target.ts";
import { wafRecord } from "./wafIpSet/record.ts";

/** Why a target as a whole does not work. */
const PROBLEMS = ["missing", "not ours", "unassociated", "refused", "unreachable"] as const;
export type Problem = (typeof PROBLEMS)[number];

const KINDS = ["networkAcl", "wafIpSet"] as const satisfies readonly TargetKind[];

// Fields that are only for the operator must not stop the enforcer if they cannot be read.
export const targetState = v.object({
  /** Counts the writes of the item. */
  version: v.number(),
  kind: v.picklist(KINDS),
  /** What is ours in the target; only the target itself can parse it. */
  record: v.unknown(),
  /** In monitor mode, the record as it would be; null otherwise. */
  monitored: v.fallback(v.unknown(), null),
  mode: v.fallback(v.picklist(MODES), "enforce"),
  /** The blocks, by their texts, that hold a place here: a challenger must beat them by a margin. */
  held: v.fallback(v.array(v.string()), []),
  /** Ranges of the network behind the target, which are never blocked. */
  ownRanges: v.fallback(v.array(v.string()), []),
  /** Ranges that would have a place but for a person's allow. */
  shadowed: v.fallback(v.array(v.string()), []),
  /** Ranges that AWS refused, with its error code. */
  refused: v.fallback(v.record(v.string(), v.string()), {}),
  problem: v.fallback(v.nullable(v.picklist(PROBLEMS)), null),
  leastSeverity: v.fallback(v.number(), 1),
  enforced: v.fallback(v.number(), 0),
  /** Wanted blocks that no entry covered at that time. */
  waiting: v.fallback(v.number(), 0),
  /** Epoch milliseconds. */
  convergedAt: v.fallback(v.number(), 0),
});

/** A target's single item: what is ours in it, and what its last converge saw. */
export type TargetState = Readonly<v.InferOutput<typeof targetState>>;

/** The state of a target that has never been converged. */
export const newTargetState = (kind: TargetKind): TargetState => ({
  version: 0,
  kind,
  record: null,
  monitored: null,
  mode: "enforce",
  held: [],
  ownRanges: [],
  shadowed: [],
  refused: {},
  problem: null,
  leastSeverity: 1,
  enforced: 0,
  waiting: 0,
  convergedAt: 0,
});

/** The ranges that the target denies, or would in monitor mode. None if the record cannot be read. */
export function entriesOf({ kind, record, monitored, mode }: TargetState): readonly Entry[] {
  const shown = mode === "monitor" ? monitored : record;
  return kind === "networkAcl" ? entriesIn(aclRecord, shown) : entriesIn(wafRecord, shown);
}

function entriesIn<Record>({ schema, entries }: RecordOf<Record>, item: unknown): readonly Entry[] {
  const parsed = v.safeParse(schema, item);
  return parsed.success ? entries(parsed.output) : [];
}

/**
 * How many places in the target are ours, or may be: a change that AWS has not confirmed counts.
 *
 * @throws ValiError if the record cannot be read
 */
export function placesOf({ kind, record }: Pick<TargetState, "kind" | "record">): number {
  if (record === null) return 0;
  if (kind === "wafIpSet") return v.parse(wafRecord.schema, record).ours.size;
  const { ingress, egress } = v.parse(aclRecord.schema, record).slots;
  const slots = [ingress, egress].flatMap((list) => Object.values(list));
  return slots.filter(({ cidr, confirmedAt }) => cidr !== null || confirmedAt === undefined).length;
}

/** The entry that covers the range: its own rather than a wider one. */
export function entryFor(cidr: Cidr, entries: readonly Entry[]): Entry | undefined {
  return (
    entries.find((entry) => entry.cidr.text === cidr.text) ??
    entries.find((entry) => contains(entry.cidr, cidr))
  );
}
