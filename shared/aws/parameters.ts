import { GetParameterCommand, type SSMClient } from "@aws-sdk/client-ssm";
import { LRUCache } from "lru-cache";

/** How long a warm function goes without reading a parameter again: a change reaches it so late. */
const MAX_AGE_MS = 5_000;
const MAX_PARAMETERS = 10;

/** Reads SSM parameters. */
export type Parameters = {
  /** @throws Error where the parameter is missing or cannot be read */
  get(name: string): Promise<string>;
};

export function createParameters(ssm: SSMClient): Parameters {
  const values = new LRUCache<string, string>({
    max: MAX_PARAMETERS,
    ttl: MAX_AGE_MS,
    fetchMethod: async (Name) => {
      const { Parameter } = await ssm.send(new GetParameterCommand({ Name }));
      return Parameter?.Value;
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
