import { GetParameterCommand, ParameterNotFound, type SSMClient } from "@aws-sdk/client-ssm";
import { LRUCache } from "lru-cache";

/** How long a warm function goes without reading a parameter again: a change reaches it so late. */
const MAX_AGE_MS = 5_000;
const MAX_PARAMETERS = 10;

/** How long a store that failed is not asked again: not every request must wait for it to fail. */
const FAILURE_AGE_MS = 2_000;

/** Reads SSM parameters. */
export type Parameters = {
  /** @throws Error where the parameter is missing or cannot be read */
  get(name: string): Promise<string>;
};

export function createParameters(ssm: SSMClient): Parameters {
  const failures = new LRUCache<"store", Error>({ max: 1, ttl: FAILURE_AGE_MS });
  const values = new LRUCache<string, string>({
    max: MAX_PARAMETERS,
    ttl: MAX_AGE_MS,
    fetchMethod: async (Name) => {
      const failure = failures.get("store");
      if (failure) throw failure;
      try {
        const { Parameter } = await ssm.send(new GetParameterCommand({ Name }));
        return Parameter?.Value;
      } catch (error) {
        if (!(error instanceof ParameterNotFound)) failures.set("store", error as Error);
        throw error;
      }
    },
  });
  return {
    async get(name) {
      const value = values.get(name) ?? (await values.fetch(name));
      if (value === undefined) throw new Error(`The parameter ${name} has no value.`);
      return value;
    },
  };
}
