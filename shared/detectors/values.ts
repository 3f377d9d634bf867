import * as v from "valibot";
import type { Seconds } from "../domain/time.ts";

/** The first that says something: what a detector does not know it leaves out, null or empty. */
export function firstSaid(...values: readonly unknown[]): unknown {
  return values.find((value) => value !== undefined && value !== null && value !== "");
}

/** The first that is text and says something. */
export function firstText(...values: readonly unknown[]): string | undefined {
  return values.find((value): value is string => typeof value === "string" && value !== "");
}

/** What lies at the place, by own properties only; undefined where there is nothing. */
export function valueAt(document: unknown, ...path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (value, key) =>
      typeof value === "object" && value !== null && Object.hasOwn(value, key)
        ? (value as Record<string, unknown>)[key]
        : undefined,
    document,
  );
}

/** A field of Elastic's common schema, whose names stand with dots in them or nested. */
export function fieldOf(document: unknown, name: string): unknown {
  return firstSaid(valueAt(document, name), valueAt(document, ...name.split(".")));
}

const isNumber = (value: number | string) =>
  typeof value === "number" ? Number.isFinite(value) : /^-?\d{1,15}(\.\d{1,15})?$/.test(value);

/** A number, as JSON or as text: templates quote what they fill in. */
const number = v.pipe(
  v.union([v.number(), v.string()]),
  v.check(isNumber, "a number"),
  v.transform(Number),
);

/** For how many seconds; less than 0, as fail2ban has it, is for ever. */
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

/** A severity from the priority of an intrusion detection's rule, of which 1 is the worst. */
export function severityOfPriority(priority: unknown): number | undefined {
  return priority === 1 ? 8 : priority === 2 ? 5 : typeof priority === "number" ? 3 : undefined;
}

/** Whole seconds, rounded up: what has less than a second to go is blocked for one. */
export const atLeastASecond = (seconds: Seconds): Seconds => Math.max(1, Math.ceil(seconds));
