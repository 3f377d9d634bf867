import * as v from "valibot";
import { type Caller, DEFAULT_LIMITS, ROLES } from "../domain/caller.ts";
import type { EpochMillis } from "../domain/time.ts";
import type { Added } from "./added.ts";
import type { Logger } from "./log.ts";
import {
  createParsed,
  MalformedParameterError,
  type Parameters,
  remembering,
} from "./parameters.ts";
import { cidr } from "./schemas.ts";
import type { Addition } from "./table/additions.ts";

const whole = (min: number, max: number) =>
  v.pipe(v.number(), v.integer(), v.minValue(min), v.maxValue(max));

const YEAR = 31_536_000;

/** A caller's name, the same as in the list of tokens. */
export const callerName = v.pipe(v.string(), v.regex(/^[\w.-]{1,64}$/));

/** What the list may say about a caller. */
export const callerEntry = v.strictObject({
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

/** At most this many callers in the parameter, and in the operators' list. */
export const MAX_CALLERS = 1_000;

const callerList = v.pipe(
  v.string(),
  v.parseJson(),
  v.array(callerEntry),
  v.maxLength(MAX_CALLERS),
);

export type CallerEntry = v.InferInput<typeof callerEntry>;

/** A caller as operators add it; null once it is revoked. */
const addedCaller = v.object({ caller: v.nullable(callerEntry) });

const CALLER_KEY = "caller#";
export const callerKey = (name: string) => CALLER_KEY + name;

/** Detectors known only by name, with the default limits. */
export const detectorsNamed = (names: readonly string[]): ReadonlyMap<string, Caller> =>
  new Map(
    names.map((name) => [name, callerOf({ name, role: "detector", weight: 1, from: [] })] as const),
  );

/** Who may call, and how far each may go, by name. */
export type Callers = (notBefore?: EpochMillis) => Promise<ReadonlyMap<string, Caller>>;

/**
 * The callers, from a deployment's parameter (a JSON list of names, roles and limits) and from what
 * operators have added, which overrides the parameter name by name. A caller that neither names, or that an
 * operator has revoked, may do nothing: even the messages that it has already queued do not count.
 *
 * @param builtIn - the callers that a deployment knows without the parameter, which overrides them
 */
export function createCallers(
  parameters: Parameters,
  parameterName: string,
  added: Added,
  log: Pick<Logger, "error">,
  clock: () => EpochMillis,
  builtIn: ReadonlyMap<string, Caller> = new Map(),
): Callers {
  const readParameter = createParsed(parameters, parameterName, parseCallers, log, clock);
  const parseAdded = remembering(parseAddedCallers);
  const unite = remembering((deployed: ReadonlyMap<string, Caller>) =>
    remembering((own: ReadonlyMap<string, Caller | null>) => united(builtIn, deployed, own)),
  );
  return async (notBefore) => {
    const [deployed, additions] = await Promise.all([readParameter(), added(notBefore)]);
    return unite(deployed)(parseAdded(additions));
  };
}

/** Later lists override earlier ones. */
function united(
  ...lists: readonly ReadonlyMap<string, Caller | null>[]
): ReadonlyMap<string, Caller> {
  const all = [...new Map(lists.flatMap((list) => [...list]))];
  return new Map(all.flatMap(([name, one]) => (one ? [[name, one] as const] : [])));
}

/** The callers that operators have added; null for a revoked one. @throws MalformedParameterError */
export function parseAddedCallers(
  additions: readonly Addition[],
): ReadonlyMap<string, Caller | null> {
  return new Map(
    additions
      .filter(({ sk }) => sk.startsWith(CALLER_KEY))
      .map((item) => {
        const name = item.sk.slice(CALLER_KEY.length);
        const { success, output, issues } = v.safeParse(addedCaller, item);
        if (success && (output.caller?.name ?? name) === name)
          return [name, output.caller && callerOf(output.caller)];
        const place = (issues && v.getDotPath(issues[0])) ?? "its name";
        throw new MalformedParameterError(`The caller ${name} is malformed at ${place}.`);
      }),
  );
}

/** @throws MalformedParameterError */
export function parseCallers(value: string): ReadonlyMap<string, Caller> {
  if (value === "") return new Map();
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
}: v.InferOutput<typeof callerEntry>): Caller {
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
