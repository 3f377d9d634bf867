import * as v from "valibot";
import { statusOf, WafError } from "./errors.ts";
import { AWS_MUTATING } from "./throttle.ts";

const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const milliseconds = v.pipe(v.number(), v.minValue(0));
const code = v.pipe(v.string(), v.nonEmpty());
const status = v.pipe(v.number(), v.integer(), v.minValue(400), v.maxValue(599));

const faultSchema = v.strictObject({
  /** The action to fail; any, if absent. */
  action: v.optional(v.string()),
  code,
  status: v.optional(status),
  /** How many calls fail. */
  count: v.pipe(v.number(), v.integer(), v.minValue(1)),
  /** The mutation takes effect, and the error is answered all the same. */
  afterEffect: v.optional(v.boolean(), false),
  /** How long the answer takes: longer than a client's timeout is a lost answer. */
  delayMs: v.optional(milliseconds, 0),
});

const refusalSchema = v.strictObject({
  /** The action to refuse; any, if absent. */
  action: v.optional(v.string()),
  /** The name of the set whose calls are refused; any, if absent. */
  name: v.optional(v.string()),
  code,
  status: v.optional(status),
  message: v.optional(v.string()),
});

/** What `POST /_control` takes; an unknown key is refused. */
export const controlSchema = v.strictObject({
  /** The rate of mutations: none, AWS's own, or another. */
  throttle: v.optional(
    v.union([
      v.literal(false),
      v.pipe(
        v.literal(true),
        v.transform(() => AWS_MUTATING),
      ),
      v.strictObject({ burst: count, perSecond: milliseconds }),
    ]),
  ),
  /** The names of sets whose updates are always throttled; replaces the names given before. */
  throttleSet: v.optional(v.array(v.string())),
  /** Standing refusals; replaces those given before. */
  refuse: v.optional(v.array(refusalSchema)),
  failNext: v.optional(faultSchema),
  readLagMs: v.optional(milliseconds),
});

/** A failure ordered for calls to come. */
export type Fault = Readonly<v.InferOutput<typeof faultSchema>>;

/** A refusal that stands until it is taken back. */
export type Refusal = Readonly<v.InferOutput<typeof refusalSchema>>;

/** What was called, and what is to fail next: for tests. */
export type Ledger = {
  /** Counts a call. */
  called(action: string): void;
  /** Counts a call that was throttled. */
  throttled(): void;
  /** Orders a failure. */
  order(fault: Fault): void;
  /** The failure that this call is to have, if any: it is used up by asking. */
  nextFault(action: string): Fault | undefined;
  /** The counts. */
  counters(): { calls: Record<string, number>; throttled: number };
  /** Forgets the counts and the failures ordered. */
  reset(): void;
};

/** An empty ledger. */
export function createLedger(): Ledger {
  const calls = new Map<string, number>();
  let throttled = 0;
  let faults: { fault: Fault; left: number }[] = [];
  return {
    called(action) {
      calls.set(action, (calls.get(action) ?? 0) + 1);
    },
    throttled() {
      throttled += 1;
    },
    order(fault) {
      faults.push({ fault, left: fault.count });
    },
    nextFault(action) {
      const next = faults.find(
        ({ fault }) => fault.action === undefined || fault.action === action,
      );
      if (next === undefined) return undefined;
      next.left -= 1;
      faults = faults.filter(({ left }) => left > 0);
      return next.fault;
    },
    counters: () => ({ calls: Object.fromEntries(calls), throttled }),
    reset() {
      calls.clear();
      throttled = 0;
      faults = [];
    },
  };
}

/** The refusal that stands against a call, if any. */
export function findRefusal(
  refusals: readonly Refusal[],
  action: string,
  setName: string | undefined,
): Refusal | undefined {
  return refusals.find(
    (refusal) =>
      (refusal.action === undefined || refusal.action === action) &&
      (refusal.name === undefined || refusal.name === setName),
  );
}

/** The error that an ordered failure or a refusal answers. */
export function orderedError(order: Pick<Refusal, "code" | "status" | "message">): WafError {
  const { code, status = statusOf(code), message = `Failed by order: ${code}` } = order;
  return new WafError(code, message, status);
}
