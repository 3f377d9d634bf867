import type { EpochMillis } from "../../../shared/domain/time.ts";
import type { Deployment, Stage } from "../stage.ts";

/** What became of the items of a kind. */
export type Restored = {
  readonly what: string;
  copied: number;
  /** There already: as it is, or newer. */
  known: number;
  /** Ended since, taken back since, or true no more. */
  over: number;
  unreadable: number;
  /** Why the rest of it could not be done. */
  problem?: string;
};

export const counting = (what: string): Restored => ({
  what,
  ...{ copied: 0, known: 0, over: 0, unreadable: 0 },
});

/** How a restoration is watched and stopped. */
export type Watch = {
  /** Ends it after the items that are under way. */
  readonly signal: AbortSignal;
  onProgress(counted: Restored): void;
};

/** What the parts of a restoration work with. */
export type Restoring = {
  readonly stage: Pick<Stage, "dynamo" | "ec2" | "waf">;
  readonly deployment: Pick<
    Deployment,
    "tableName" | "list" | "repeatMemory" | "corroborationThreshold"
  >;
  /** The copy, with the same list in it. */
  readonly from: { readonly tableName: string; readonly list: string };
  readonly watch: Watch;
  readonly clock: () => EpochMillis;
};
