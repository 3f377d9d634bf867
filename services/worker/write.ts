import { setTimeout as pause } from "node:timers/promises";
import { ConflictError } from "../../shared/aws/table/items.ts";
import type { Cidr } from "../../shared/domain/cidr.ts";
import {
  type Decided,
  decide,
  type Known,
  type Message,
  NOTHING_KNOWN,
  obey,
  type Policy,
} from "../../shared/domain/decide.ts";
import { type Shift, shiftsOf } from "../../shared/domain/outstanding.ts";
import type { EpochMillis, Millis } from "../../shared/domain/time.ts";
import type { Worker } from "./worker.ts";

/**
 * Attempts at an address that others keep changing. An attack that many detectors see makes as many lanes
 * write the same addresses at once, and a batch that is handed back waits for half a minute.
 */
const MAX_TRIES = 16;

/** The longest pause after the first try; it grows with each, and its length is random. */
const PAUSE: Millis = 10;

type Written = Omit<Decided, "next"> & { readonly shifts: readonly Shift[] };

/** Applies the messages about one address to it, and writes what has changed. */
export async function writeAddress(
  cidr: Cidr,
  messages: readonly Message[],
  known: Known | undefined,
  policy: Policy,
  worker: Pick<Worker, "addresses" | "orders">,
  now: EpochMillis,
): Promise<Written> {
  return changing(cidr, known, worker, now, async (before) => {
    const { next, ...decided } = decide(before, messages, policy, now);
    await worker.addresses.write(cidr, before, next);
    for (const hold of decided.held) await worker.orders.hold(hold).catch(ignoreConflict);
    for (const hold of decided.lifted) await worker.orders.lift(hold);
    return { ...decided, shifts: shiftsOf(before.block, next.block, now) };
  });
}

/** Makes what is known about an address obey the standing orders. */
export async function settleAddress(
  cidr: Cidr,
  known: Known,
  policy: Policy,
  worker: Pick<Worker, "addresses">,
  now: EpochMillis,
): Promise<readonly Shift[]> {
  return changing(cidr, known, worker, now, async (before) => {
    const next = obey(before, policy);
    if (next === before) return [];
    await worker.addresses.write(cidr, before, next);
    return shiftsOf(before.block, next.block, now);
  });
}

async function changing<T>(
  cidr: Cidr,
  known: Known | undefined,
  { addresses }: Pick<Worker, "addresses">,
  now: EpochMillis,
  change: (known: Known) => Promise<T>,
): Promise<T> {
  let before = known ?? NOTHING_KNOWN;
  for (let tries = 1; ; tries++) {
    try {
      return await change(before);
    } catch (error) {
      if (!(error instanceof ConflictError) || tries === MAX_TRIES) throw error;
      await pause(Math.random() * PAUSE * tries);
      before = (await addresses.read([cidr.text], now)).get(cidr.text) ?? NOTHING_KNOWN;
    }
  }
}

/** A conflict means that there is a newer hold of the same range. */
function ignoreConflict(error: unknown): void {
  if (!(error instanceof ConflictError)) throw error;
}
