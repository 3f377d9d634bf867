import * as v from "valibot";
import { type Caller, DEFAULT_LIMITS, ROLES } from "../domain/caller.ts";
import type { EpochMillis } from "../domain/time.ts";
import type { Logger } from "./log.ts";
import { createParsed, MalformedParameterError, type Parameters } from "./parameters.ts";
import { cidr } from "./schemas.ts";

const whole = (min: number, max: number) =>
  v.pipe(v.number(), v.integer(), v.minValue(min), v.maxValue(max));

const YEAR = 31_536_000;

/** The name of a caller, as the list of tokens has it too. */
export const callerName = v.pipe(v.string(), v.regex(/^[\w.-]{1,64}$/));

const caller = v.strictObject({
  name: callerName,
  role: v.picklist(ROLES),
  weight: v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(100)), 1),
  addressesPerMinute: v.optional(whole(1, 100_000)),
  outstanding: v.optional(whole(1, 1_000_000)),
  leastPrefix4: v.optional(whole(16, 32)),
  leastPrefix6: v.optional(whole(32, 128)),
  mostSeverity: v.optional(whole(1, 10)),
  /** Seconds. */
  longest: v.optional(whole(1, YEAR)),
  from: v.optional(v.pipe(v.array(cidr), v.maxLength(32)), []),
  /** Epoch seconds. */
  expiresAt: v.optional(whole(0, 10_000_000_000)),
});

const callerList = v.pipe(v.string(), v.parseJson(), v.array(caller), v.maxLength(1_000));

/** Who may call, and how far each may go, by their names. */
export type Callers = () => Promise<ReadonlyMap<string, Caller>>;

/**
 * The callers, from their parameter: a JSON list of names, roles and limits. Whom it does not name may
 * nothing: that is how a token is revoked, messages that it has queued included.
 */
export function createCallers(
  parameters: Parameters,
  parameterName: string,
  log: Pick<Logger, "error">,
  clock: () => EpochMillis,
): Callers {
  return createParsed(parameters, parameterName, parseCallers, log, clock);
}

/** @throws MalformedParameterError */
export function parseCallers(value: string): ReadonlyMap<string, Caller> {
  const result = v.safeParse(callerList, value);
  if (!result.success) {
    const place = v.getDotPath(result.issues[0]) ?? "the top";
    throw new MalformedParameterError(`The list of callers is malformed at ${place}.`);
  }
  return new Map(result.output.map((one) => [one.name, callerOf(one)]));
}

function callerOf({
  name,
  role,
  weight,
  from,
  expiresAt,
  ...own
}: v.InferOutput<typeof caller>): Caller {
  const limits = DEFAULT_LIMITS[role];
  return {
    name,
    role,
    weight,
    from,
    ...(expiresAt !== undefined && { expiresAt }),
    limits: {
      addressesPerMinute: own.addressesPerMinute ?? limits.addressesPerMinute,
      outstanding: own.outstanding ?? limits.outstanding,
      leastPrefix: {
        4: own.leastPrefix4 ?? limits.leastPrefix[4],
        6: own.leastPrefix6 ?? limits.leastPrefix[6],
      },
      mostSeverity: own.mostSeverity ?? limits.mostSeverity,
      longest: own.longest ?? limits.longest,
    },
  };
}
