import { type Cidr, overlaps } from "./cidr.ts";
import type { EpochMillis, EpochSeconds } from "./time.ts";

// Operators' standing orders, which apply to all addresses and every message until they end.

/** What the targets are to hold. */
export const MODES = ["enforce", "monitor", "off"] as const;

/**
 * - `enforce`: what the list wants
 * - `monitor`: nothing; the log says what would be
 * - `off`: nothing
 *
 * Reports are accepted and remembered in every mode.
 */
export type Mode = (typeof MODES)[number];

/** Detectors' reports of a range, and of whatever overlaps it, are ignored for a while. */
export type Hold = {
  readonly cidr: Cidr;
  readonly requestedAt: EpochMillis;
  readonly until: EpochSeconds;
};

/** Takes back what a detector reported in a span of time, queued messages included. */
export type Undo = {
  readonly detector: string;
  readonly since: EpochMillis;
  /** When it was ordered: later reports of the detector count again. */
  readonly requestedAt: EpochMillis;
};

/** A detector that withdraws its reports one by one. None of its reports fold: a withdrawal may follow. */
export type Withdrawer = { readonly detector: string; readonly until: EpochSeconds };

export type Orders = {
  /** How many unblocks there have been. */
  readonly unblocks: number;
  readonly holds: readonly Hold[];
  readonly undos: readonly Undo[];
  readonly withdrawers: readonly Withdrawer[];
  /** Overrides the deployment's own mode. */
  readonly mode?: Mode | undefined;
};

export const NO_ORDERS: Orders = { unblocks: 0, holds: [], undos: [], withdrawers: [] };

/** The hold that applies to a detector's report of the range, made at that moment. */
export function holdOver(
  holds: readonly Hold[],
  cidr: Cidr,
  reportedAt: EpochMillis,
): Hold | undefined {
  return holds.find((hold) => reportedAt < hold.until * 1000 && overlaps(hold.cidr, cidr));
}

/** Whether what the detector reported at that moment has been taken back. */
export function isUndone(
  undos: readonly Undo[],
  detector: string,
  reportedAt: EpochMillis,
): boolean {
  return undos.some(
    (undo) =>
      undo.detector === detector && undo.since <= reportedAt && reportedAt <= undo.requestedAt,
  );
}
