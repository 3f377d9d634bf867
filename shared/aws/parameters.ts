import { SSMProvider } from "@aws-lambda-powertools/parameters/ssm";
import type { SSMClient } from "@aws-sdk/client-ssm";

/** How long a warm function goes without reading a parameter again: a change reaches it so late. */
const MAX_AGE_SECONDS = 5;

/** Reads SSM parameters. */
export type Parameters = {
  /** @throws Error where the parameter is missing or cannot be read */
  get(name: string): Promise<string>;
};

export function createParameters(ssm: SSMClient): Parameters {
  const provider = new SSMProvider({ awsSdkV3Client: ssm });
  return {
    async get(name) {
      const value = await provider.get(name, { maxAge: MAX_AGE_SECONDS });
      if (value === undefined) throw new Error(`The parameter ${name} does not exist.`);
      return value;
    },
  };
}
