import type { EpochMillis } from "../../../shared/domain/time.ts";
import type { Deployment, Stage } from "../stage.ts";

/** What became of the items of a kind. */
export type Restored = {
  readonly what: string;
  copied: number;
  /** Already there: the same, or newer. */
  known: number;
  /** Has since ended, been taken back, or ceased to apply. */
  over: number;
  unreadable: number;
  /** Why the rest could not be restored. */
  problem?: string;
};

export const counting = (what: string): Restored => ({
  what,
  ...{ copied: 0, known: 0, over: 0, unreadable: 0 },
});

/** Watches and stops a restoration. */
export type Watch = {
  /** Ends it after the items in progress. */
  readonly signal: AbortSignal;
  onProgress(counted: Restored): void;
};

/** What the parts of a restoration need. */
export type Restoring = {
  readonly stage: Pick<Stage, "dynamo" | "ec2" | "waf">;
  readonly deployment: Pick<
    Deployment,
    "tableName" | "list" | "repeatMemory" | "corroborationThreshold"
  >;
  /** The copy, which holds the same list. */
  readonly from: { readonly tableName: string; readonly list: string };
  readonly watch: Watch;
  readonly clock: () => EpochMillis;
};
