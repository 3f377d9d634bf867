import type { Stage } from "./stage.ts";

/** A number with what it counts, as `12.3 ms` or `0.94`. */
export type Amount = { readonly value: number; readonly unit?: string };

/** One line of the bench: what was measured, against what. */
export type Figure = {
  readonly name: string;
  readonly what: string;
  readonly value: Amount;
  /** What could not be undercut, measured in the same run. */
  readonly floor?: Amount & { readonly what: string };
  /** The value divided by its floor, where that is not the value itself. */
  readonly ratio?: number;
  readonly goal?: { readonly text: string; readonly isMet: boolean };
  /** Numbers beside the value, for the file. */
  readonly details?: Readonly<Record<string, number>>;
};

/** Measures some figures; never waits without a bound. */
export type Measurement = {
  readonly name: string;
  /** It is given up after so long. */
  readonly limitMs: number;
} & (
  | { measure(): Promise<readonly Figure[]> }
  /** On engines of its own: what another has left in them would slow it. */
  | { measureOn(stage: Stage): Promise<readonly Figure[]> }
);
