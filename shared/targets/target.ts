import type * as v from "valibot";
import type { Cidr } from "../domain/cidr.ts";
import type { NeverBlock } from "../domain/neverBlock.ts";
import type { Wanted } from "../domain/rank.ts";
import type { EpochMillis, Millis } from "../domain/time.ts";

/** The kinds of targets, each with a folder of its own beside this file. */
export type TargetKind = "networkAcl" | "wafIpSet";

/** The target does not exist (any more): somebody replaced or deleted it. */
export class TargetMissingError extends Error {
  override readonly name = "TargetMissingError";
}

/** The target is not ours to change: its description does not say so. */
export class TargetNotOursError extends Error {
  override readonly name = "TargetNotOursError";
}

/** AWS grants no further call for now, even after the SDK's retries. */
export class ThrottledError extends Error {
  override readonly name = "ThrottledError";
}

/** Somebody has changed the target since it was read: read it again. */
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

/** AWS refused the call: it certainly had no effect, and an immediate retry is pointless. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";
  /** AWS's error code. */
  readonly code: string;
  /** The caller may not do this at all, so further calls would be refused as well. */
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
  /** Keys of the changes that must succeed first, or this one would open a gap. */
  readonly needs: readonly string[];
  /** What the change newly denies there. */
  readonly denies: readonly Cidr[];
  /** The quota that the change counts against; absent if it uses no more of any. */
  readonly quota?: string;
};

export type PlanInput<Record, Actual> = {
  /** Wanted blocks of both families, strongest first within a family. */
  readonly wanted: readonly Wanted[];
  readonly record: Record;
  readonly actual: Actual;
  /** Undefined if the list could not be read: then nothing new is blocked. */
  readonly neverBlock: NeverBlock | undefined;
  /**
   * Addresses that may be blocked, but that no merged range may cover as innocents: those under a hold, and
   * those that callers call from. Undefined if they could not be read: then no range covers innocents.
   */
  readonly spared: readonly Cidr[] | undefined;
  readonly now: EpochMillis;
};

export type TargetPlan<Record, Change> = {
  /** What is ours once the changes are applied; recorded before they are. */
  readonly record: Record;
  /** In the order in which they must be applied. */
  readonly changes: readonly Change[];
  /** The ranges to deny, in all families. */
  readonly chosen: readonly Cidr[];
  /** Places still empty, which ranges of the family could have. */
  readonly free: { readonly 4: number; readonly 6: number };
  /** More is to be changed than one plan may: another one must follow. */
  readonly isPartial: boolean;
  /** Ranges that would have a place but for a person's allow before it. */
  readonly shadowed: readonly Cidr[];
  /** People's entries where ours could be. */
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

/** How many blocks per family a target can use. */
export type Capacity = {
  /** How many ranges it may hold. */
  readonly ranges: number;
  /** How many blocks are read: more than the ranges if merging can use them. */
  readonly candidates: number;
};

/** One range that a target denies. */
export type Entry = { readonly cidr: Cidr; readonly ruleNumber?: number };

/** What is recorded as ours in a target, and how the table holds it. */
export type RecordOf<Record> = {
  readonly schema: v.GenericSchema<unknown, Record>;
  readonly empty: Record;
  /** As an item's attributes, which the schema reads. */
  stored(record: Record): object;
  /** The ranges that AWS has confirmed. */
  entries(record: Record): readonly Entry[];
  /** The texts of all ranges that are ours, confirmed or not. */
  ours(record: Record): readonly string[];
};

/**
 * A place that denies. `Record` is what we have recorded as ours there, `Actual` what it holds now.
 * Details such as rule numbers and lock tokens stay hidden behind this type. `read` and `apply` are its
 * adapter; the rest is pure.
 */
export type Target<Record, Actual, Change extends TargetChange> = {
  readonly id: string;
  readonly kind: TargetKind;
  /** Less severe blocks are not for this target. */
  readonly leastSeverity: number;
  /** By how much a challenger must outscore a block that holds a place here. */
  readonly margin: Millis;
  /** The least time between two reads, by the service's rate limit. */
  readonly interval: Millis;
  readonly record: RecordOf<Record>;
  readonly capacity: Capacity;
  /** @throws TargetMissingError, TargetNotOursError, ThrottledError, RefusedError */
  read(): Promise<Seen<Actual>>;
  plan(input: PlanInput<Record, Actual>): TargetPlan<Record, Change>;
  /**
   * Makes one idempotent call: what is already done counts as done.
   * @throws TargetMissingError, ThrottledError, StaleReadError, TakenError, QuotaError, RefusedError
   */
  apply(change: Change, actual: Actual): Promise<void>;
  /** The record once the changes have been tried. */
  settle(planned: Record, before: Record, applied: Applied<Change>, now: EpochMillis): Record;
  /** The record and the target as if AWS had just confirmed all of the record: monitor mode plans on them. */
  assumeConfirmed(
    record: Record,
    actual: Actual,
    now: EpochMillis,
  ): { readonly record: Record; readonly actual: Actual };
  /** Describes a change for the log. */
  describe(change: Change): object;
};

/** What a read of a target shows. */
export type Seen<Actual> = {
  readonly actual: Actual;
  /** Ranges of the network behind it, which must never be denied; an error if they are unknown. */
  readonly ownRanges: readonly string[] | Error;
  /** Whether anything is behind it: an ACL without a subnet denies nobody. */
  readonly isInUse: boolean;
};
