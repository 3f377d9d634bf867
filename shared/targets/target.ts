import type * as v from "valibot";
import type { Cidr } from "../domain/cidr.ts";
import type { NeverBlock } from "../domain/neverBlock.ts";
import type { Wanted } from "../domain/rank.ts";
import type { EpochMillis, Millis } from "../domain/time.ts";

/** The kinds of places that deny, each with a folder of its own beside this file. */
export type TargetKind = "networkAcl" | "wafIpSet";

/** The target does not exist (any more): somebody replaced or deleted it. */
export class TargetMissingError extends Error {
  override readonly name = "TargetMissingError";
}

/** The target is not ours to change: its description does not say that it is. */
export class TargetNotOursError extends Error {
  override readonly name = "TargetNotOursError";
}

/** No further call is granted for now, the SDK's retries included. */
export class ThrottledError extends Error {
  override readonly name = "ThrottledError";
}

/** Somebody changed the target since it was read: read it again. */
export class StaleReadError extends Error {
  override readonly name = "StaleReadError";
}

/** A person has taken the place of the change since the target was read: it has certainly not been done. */
export class TakenError extends Error {
  override readonly name = "TakenError";
}

/** The target's own quota is used up. */
export class QuotaError extends Error {
  override readonly name = "QuotaError";
}

/** AWS refuses the call: it has certainly not been done, and retrying it at once is pointless. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";
  /** AWS's error code. */
  readonly code: string;
  /** The caller may not do this at all, so that further calls would be refused as well. */
  readonly isForAll: boolean;

  constructor(code: string, isForAll: boolean, cause: Error) {
    super(cause.message, { cause });
    this.code = code;
    this.isForAll = isForAll;
  }
}

/** One call that changes a target. */
export type TargetChange = {
  /** Names the place in the target that changes; unique within a plan. */
  readonly key: string;
  /** Keys whose changes must have succeeded, or this one would open a gap. */
  readonly needs: readonly string[];
  /** What is denied once it is done, and was not denied there before. */
  readonly denies: readonly Cidr[];
  /** The quota that the change counts against; absent where it takes no more of any. */
  readonly quota?: string;
};

export type PlanInput<Record, Actual> = {
  /** Wanted blocks of both families, strongest first within a family. */
  readonly wanted: readonly Wanted[];
  readonly record: Record;
  readonly actual: Actual;
  /** Undefined where the list could not be read: then nothing new is blocked. */
  readonly neverBlock: NeverBlock | undefined;
  /**
   * Addresses that may be blocked, but that no merged range covers as innocents: those under a hold, and
   * those that callers call from. Undefined where they could not be read: then none covers innocents.
   */
  readonly spared: readonly Cidr[] | undefined;
  readonly now: EpochMillis;
};

export type TargetPlan<Record, Change> = {
  /** What is ours once the changes are applied, to be recorded before they are. */
  readonly record: Record;
  /** In the order in which they must be applied. */
  readonly changes: readonly Change[];
  /** The ranges that are to be denied, over all families. */
  readonly chosen: readonly Cidr[];
  /** Ranges that would have a place, were it not for a person's allow before it. */
  readonly shadowed: readonly Cidr[];
  /** Entries of persons where ours could be. */
  readonly foreign: number;
  /** Entries of ours that a person removed or changed, and that this plan repairs. */
  readonly drifted: number;
};

/** What became of a plan's changes. */
export type Applied<Change> = {
  /** Confirmed by AWS. */
  readonly done: readonly Change[];
  /** Certainly not done: not tried, refused, or its place was taken. */
  readonly notDone: readonly Change[];
  /** The quotas that were met. */
  readonly quotasMet: ReadonlySet<string>;
};

/** How many blocks of a family a target can use. */
export type Capacity = {
  /** Ranges that it may hold. */
  readonly ranges: number;
  /** Blocks that are read: more than the ranges where merging makes use of them. */
  readonly candidates: number;
};

/** One range that a target denies. */
export type Entry = { readonly cidr: Cidr; readonly ruleNumber?: number };

/** What is remembered as ours in a target, and how the table holds it. */
export type RecordOf<Record> = {
  readonly schema: v.GenericSchema<unknown, Record>;
  readonly empty: Record;
  /** As plain JSON, which the schema reads. */
  stored(record: Record): object;
  /** The ranges that AWS has confirmed. */
  entries(record: Record): readonly Entry[];
  /** The texts of all ranges that are ours, confirmed or not. */
  ours(record: Record): readonly string[];
};

/**
 * A place that denies. `Record` is what we remember as ours there, `Actual` what is there now.
 * Whatever a target keeps to itself (rule numbers, lock tokens) stays behind this type. `read` and
 * `apply` are its adapter; the rest is pure.
 */
export type Target<Record, Actual, Change extends TargetChange> = {
  readonly id: string;
  readonly kind: TargetKind;
  /** Blocks of less severity are not for this target. */
  readonly leastSeverity: number;
  /** How much a challenger must outscore a block that holds a place here. */
  readonly margin: Millis;
  /** At least this long between two reads: what the service's rate limit grants. */
  readonly interval: Millis;
  readonly record: RecordOf<Record>;
  readonly capacity: Capacity;
  /** @throws TargetMissingError, TargetNotOursError, ThrottledError, RefusedError */
  read(): Promise<Seen<Actual>>;
  plan(input: PlanInput<Record, Actual>): TargetPlan<Record, Change>;
  /**
   * One call, made idempotent: what is already done counts as done.
   * @throws TargetMissingError, ThrottledError, StaleReadError, TakenError, QuotaError, RefusedError
   */
  apply(change: Change, actual: Actual): Promise<void>;
  /** The record once the changes have been tried. */
  settle(planned: Record, before: Record, applied: Applied<Change>, now: EpochMillis): Record;
  /** Record and target as if all of the record had just been confirmed: monitor mode plans on them. */
  assumeConfirmed(
    record: Record,
    actual: Actual,
    now: EpochMillis,
  ): { readonly record: Record; readonly actual: Actual };
  /** A change for the log. */
  describe(change: Change): object;
};

/** What a target shows. */
export type Seen<Actual> = {
  readonly actual: Actual;
  /** Ranges of the network behind it, which must never be denied; an error where they are unknown. */
  readonly ownRanges: readonly string[] | Error;
  /** Whether anything is behind it: an ACL without a subnet denies nobody. */
  readonly isInUse: boolean;
};
