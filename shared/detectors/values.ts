import * as v from "valibot";
import type { Seconds } from "../domain/time.ts";

/** The first value that is given: what a detector does not know, it leaves out, null or empty. */
export function firstSaid(...values: readonly unknown[]): unknown {
  return values.find((value) => value !== undefined && value !== null && value !== "");
}

/** The first value that is non-empty text. */
export function firstText(...values: readonly unknown[]): string | undefined {
  return values.find((value): value is string => typeof value === "string" && value !== "");
}

/** The value at the path, by own properties only; undefined if there is none. */
export function valueAt(document: unknown, ...path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (value, key) =>
      typeof value === "object" && value !== null && Object.hasOwn(value, key)
        ? (value as Record<string, unknown>)[key]
        : undefined,
    document,
  );
}

/** A field of the Elastic Common Schema, whose names are either dotted or nested. */
export function fieldOf(document: unknown, name: string): unknown {
  return firstSaid(valueAt(document, name), valueAt(document, ...name.split(".")));
}

const isNumber = (value: number | string) =>
  typeof value === "number" ? Number.isFinite(value) : /^-?\d{1,15}(\.\d{1,15})?$/.test(value);

/** A number, in JSON or as text: templates quote what they fill in. */
const number = v.pipe(
  v.union([v.number(), v.string()]),
  v.check(isNumber, "a number"),
  v.transform(Number),
);

/** A duration in seconds; less than 0, as in fail2ban, means for ever. */
export const duration = v.pipe(
  number,
  v.transform((seconds): Seconds => (seconds < 0 ? Number.POSITIVE_INFINITY : Math.ceil(seconds))),
  v.check((seconds) => seconds >= 1, "1 second or more"),
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
 * A severity on our scale; undefined if the word is unknown: the block matters more than its rank, so it
 * takes the deployment's default.
 */
export function severityOf(value: unknown): number | undefined {
  const { success, output } = v.safeParse(number, value);
  if (success) return Math.min(10, Math.max(1, Math.round(output)));
  return typeof value === "string" ? WORDS.get(value.toLowerCase()) : undefined;
}

/** The entries whose values are known: an absent one means the deployment's default. */
export function known<T extends object>(entries: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const all = Object.entries(entries).filter(([, value]) => value !== undefined);
  return Object.fromEntries(all) as { [K in keyof T]?: Exclude<T[K], undefined> };
}

/** A severity from the priority of an intrusion detection rule, of which 1 is the worst. */
export function severityOfPriority(priority: unknown): number | undefined {
  return priority === 1 ? 8 : priority === 2 ? 5 : typeof priority === "number" ? 3 : undefined;
}

/** Whole seconds, rounded up: less than a second left still makes one. */
export const atLeastASecond = (seconds: Seconds): Seconds => Math.max(1, Math.ceil(seconds));
