import * as v from "valibot";
import { Ec2Error, statusOf } from "./errors.ts";
import { AWS_LIMITS } from "./throttle.ts";

const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const milliseconds = v.pipe(v.number(), v.minValue(0));
const rate = v.strictObject({ burst: count, perSecond: v.pipe(v.number(), v.minValue(0)) });

const code = v.pipe(v.string(), v.nonEmpty());
const errorStatus = v.pipe(v.number(), v.integer(), v.minValue(400), v.maxValue(599));

const faultSchema = v.strictObject({
  /** The action to fail; any, if absent. */
  action: v.optional(v.string()),
  code,
  status: v.optional(errorStatus),
  /** How many calls fail. */
  count: v.pipe(v.number(), v.integer(), v.minValue(1)),
  /** The mutation takes effect, and the error is answered all the same. */
  afterEffect: v.optional(v.boolean(), false),
  /** How long the answer takes: longer than a client's timeout is a lost answer. */
  delayMs: v.optional(milliseconds, 0),
});

const limits = v.strictObject({
  mutating: v.optional(rate, AWS_LIMITS.mutating),
  describe: v.optional(rate, AWS_LIMITS.describe),
});

const refusalSchema = v.strictObject({
  /** The action to refuse; any, if absent. */
  action: v.optional(v.string()),
  /** Only calls that name this ACL; any call, if absent. */
  networkAclId: v.optional(v.string()),
  code,
  status: v.optional(errorStatus),
  message: v.optional(v.string()),
});

/** What `POST /_control` takes; an unknown key is refused. */
export const controlSchema = v.strictObject({
  quota: v.optional(count),
  throttle: v.optional(
    v.union([
      v.literal(false),
      v.pipe(
        v.literal(true),
        v.transform(() => AWS_LIMITS),
      ),
      limits,
    ]),
  ),
  /** By ACL id, for calls that name the ACL, in addition to the general throttle; `false` ends it. */
  throttleAcl: v.optional(v.record(v.string(), v.union([v.literal(false), limits]))),
  readLagMs: v.optional(milliseconds),
  failNext: v.optional(faultSchema),
  /** Replaces the standing refusals; an empty list ends them. */
  refuse: v.optional(v.array(refusalSchema)),
  /** Creates an ACL with this id, in the first VPC and with a subnet of its own, if there is none. */
  createAcl: v.optional(
    v.strictObject({
      networkAclId: v.string(),
      /** The entries 100 and 101 of a default ACL. */
      allowAll: v.optional(v.boolean(), false),
    }),
  ),
});

/** A failure that stands until it is ended. */
export type Refusal = Readonly<v.InferOutput<typeof refusalSchema>>;

/** The error that standing refusals answer a call with, if any. */
export function refusalError(
  refusals: readonly Refusal[],
  action: string,
  networkAclIds: readonly string[],
): Ec2Error | undefined {
  const found = refusals.find(
    (refusal) =>
      (refusal.action ?? action) === action &&
      (refusal.networkAclId === undefined || networkAclIds.includes(refusal.networkAclId)),
  );
  if (found === undefined) return undefined;
  const { code, message = `Refused by order: ${code}`, status = statusOf(code) } = found;
  return new Ec2Error(code, message, status);
}

/** A failure ordered for calls to come. */
export type Fault = Readonly<v.InferOutput<typeof faultSchema>>;

/** What was called, and what is to fail: for tests. */
export type Ledger = {
  /** Counts a call. */
  called(action: string): void;
  /** Counts a call that was throttled. */
  throttled(): void;
  /** Orders a failure. */
  order(fault: Fault): void;
  /** The failure ordered for this call, if any: asking uses it up. */
  nextFault(action: string): Fault | undefined;
  /** The counts. */
  counters(): { calls: Record<string, number>; throttled: number };
  /** Forgets counts and failures. */
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

/** The error that a fault answers. */
export function faultError(fault: Fault): Ec2Error {
  const status = fault.status ?? statusOf(fault.code);
  return new Ec2Error(fault.code, `Failed by order: ${fault.code}`, status);
}
