import * as v from "valibot";
import type { Seconds } from "../domain/time.ts";

/** The first that says something: what a detector does not know it leaves out, null or empty. */
export function firstSaid(...values: readonly unknown[]): unknown {
  return values.find((value) => value !== undefined && value !== null && value !== "");
}

/** A number, as JSON or as text: templates quote what they fill in. */
const number = v.union([
  v.pipe(v.number(), v.finite()),
  v.pipe(v.string(), v.regex(/^-?\d{1,15}(\.\d{1,15})?$/), v.transform(Number)),
]);

/** For how many seconds; less than 0, as fail2ban has it, is for ever. */
export const duration = v.pipe(
  number,
  v.transform((seconds): Seconds => (seconds < 0 ? Number.POSITIVE_INFINITY : Math.ceil(seconds))),
  v.minValue(1),
);

/** Other programs' words for 1 (weak) to 10. */
const WORDS: ReadonlyMap<string, number> = new Map([
  ["emergency", 10],
  ["alert", 10],
  ["critical", 9],
  ["high", 8],
  ["error", 7],
  ["medium", 5],
  ["warning", 5],
  ["notice", 3],
  ["low", 3],
  ["info", 2],
  ["informational", 2],
  ["debug", 1],
]);

/**
 * A severity in our scale; undefined where the word is not known: the block matters more than its rank,
 * so that it takes the deployment's own.
 */
export function severityOf(value: unknown): number | undefined {
  const { success, output } = v.safeParse(number, value);
  if (success) return Math.min(10, Math.max(1, Math.round(output)));
  return typeof value === "string" ? WORDS.get(value.toLowerCase()) : undefined;
}

/** The entries whose values are known: an absent one means the deployment's own. */
export function known<T extends object>(entries: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const all = Object.entries(entries).filter(([, value]) => value !== undefined);
  return Object.fromEntries(all) as { [K in keyof T]?: Exclude<T[K], undefined> };
}
