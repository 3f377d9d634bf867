import { GetParameterCommand, ParameterNotFound, type SSMClient } from "@aws-sdk/client-ssm";
import { LRUCache } from "lru-cache";
import type { EpochMillis, Millis } from "../domain/time.ts";
import type { Logger } from "./log.ts";

/** How long a warm function goes without reading a parameter again, and so how late it sees a change. */
const MAX_AGE_MS = 5_000;
const MAX_PARAMETERS = 10;

/** How long a failing store is left alone, so that not every request waits for it to fail. */
const FAILURE_AGE_MS = 2_000;

/** The name of a parameter that a deployment does without: its value is empty, and it is never read. */
const NO_PARAMETER = "";

/** Reads SSM parameters. */
export type Parameters = {
  /** Empty if there is no such parameter. @throws Error if it cannot be read */
  get(name: string): Promise<string>;
};

/** @param onFailure called once for each read that fails, not for each request that must do without */
export function createParameters(ssm: SSMClient, onFailure = () => {}): Parameters {
  const failures = new LRUCache<"store", Error>({ max: 1, ttl: FAILURE_AGE_MS });
  const values = new LRUCache<string, string>({
    max: MAX_PARAMETERS,
    ttl: MAX_AGE_MS,
    fetchMethod: async (Name) => {
      const failure = failures.get("store");
      if (failure) throw failure;
      try {
        const { Parameter } = await ssm.send(
          new GetParameterCommand({ Name, WithDecryption: true }),
        );
        return Parameter?.Value;
      } catch (error) {
        // A deployment need not create it: what operators add at run time is enough.
        if (error instanceof ParameterNotFound) return "";
        onFailure();
        failures.set("store", error as Error);
        throw error;
      }
    },
  });
  return {
    async get(name) {
      if (name === NO_PARAMETER) return "";
      const value = values.get(name) ?? (await values.fetch(name));
      if (value === undefined) throw new Error(`The parameter ${name} has no value.`);
      return value;
    },
  };
}

/** A parameter exists but is malformed. The message says where, never what: it may hold secrets. */
export class MalformedParameterError extends Error {
  override readonly name = "MalformedParameterError";
}

/** How long the last value read applies while the store cannot be read. */
export const MAX_LAST_KNOWN: Millis = 3_600_000;

/**
 * A parsed parameter. While the store cannot be read, the last value read applies for an hour: a failing
 * store must not turn blocks away. A malformed value is never replaced by an older one: a mistyped list of
 * tokens would leave a stolen one valid.
 *
 * @param parse throws MalformedParameterError
 * @returns a function that throws MalformedParameterError, or Error if no recent value is known
 */
export function createParsed<T>(
  parameters: Parameters,
  name: string,
  parse: (value: string) => T,
  log: Pick<Logger, "error">,
  clock: () => EpochMillis,
): () => Promise<T> {
  let known: { readonly value: string; readonly readAt: EpochMillis } | undefined;
  let logged: unknown;
  const parsed = remembering(parse);
  return async () => {
    try {
      known = { value: await parameters.get(name), readAt: clock() };
    } catch (error) {
      // A failing store is left alone for a while, and fails with the same error meanwhile.
      if (error !== logged) {
        log.error("A parameter cannot be read", { parameter: name, error: error as Error });
      }
      logged = error;
      if (!known || clock() - known.readAt > MAX_LAST_KNOWN) throw error;
    }
    return parsed(known.value);
  };
}

/**
 * Remembers the result, or the error, for the last argument: a malformed value is not parsed again for each
 * request.
 */
export function remembering<A, T>(parse: (argument: A) => T): (argument: A) => T {
  let last: { readonly argument: A; readonly result: () => T } | undefined;
  return (argument) => {
    if (!last || last.argument !== argument) last = { argument, result: attempt(parse, argument) };
    return last.result();
  };
}

function attempt<A, T>(parse: (argument: A) => T, argument: A): () => T {
  try {
    const result = parse(argument);
    return () => result;
  } catch (error) {
    return () => {
      throw error;
    };
  }
}
