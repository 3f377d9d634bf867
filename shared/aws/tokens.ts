import { hash, timingSafeEqual } from "node:crypto";
import * as v from "valibot";
import type { Logger } from "./log.ts";
import type { Parameters } from "./parameters.ts";

/** Who calls. The name tells detectors apart, in the log and in the table. */
export type Caller = {
  readonly name: string;
  readonly role: "detector" | "operator";
  /** What its reports weigh where blocks need corroboration. */
  readonly weight: number;
};

const tokenList = v.array(
  v.object({
    name: v.pipe(v.string(), v.regex(/^[\w.-]{1,64}$/)),
    role: v.picklist(["detector", "operator"]),
    weight: v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(100)), 1),
    sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
  }),
);

/** A caller, and the digest of its token. */
type Holder = Caller & { readonly digest: Buffer };

/** The parameter holds no list of tokens. The message says where, never what: it may be a token. */
export class TokenListError extends Error {
  override readonly name = "TokenListError";
}

export type Tokens = {
  /** The caller that a token belongs to. @throws Error where no list could ever be read */
  callerOf(token: string): Promise<Caller | undefined>;
};

/**
 * The callers, by their tokens. The store knows only SHA-256 digests; every digest is compared, each
 * in constant time, so that neither time nor store gives a token away. While the store cannot be
 * read, the last list that could be holds: a failing store must not turn blocks away.
 */
export function createTokens(
  parameters: Parameters,
  parameterName: string,
  log: Pick<Logger, "error">,
): Tokens {
  let known: { readonly value: string; readonly list: readonly Holder[] } | undefined;
  return {
    async callerOf(token) {
      try {
        const value = await parameters.get(parameterName);
        if (value !== known?.value) known = { value, list: parseTokenList(value) };
      } catch (error) {
        log.error("The list of tokens cannot be read", error as Error);
        if (!known) throw error;
      }
      const digest = hash("sha256", token, "buffer");
      return known.list.filter((holder) => timingSafeEqual(holder.digest, digest))[0];
    },
  };
}

function parseTokenList(value: string): Holder[] {
  const result = v.safeParse(v.pipe(v.string(), v.parseJson(), tokenList), value);
  if (result.success) {
    return result.output.map(({ sha256, ...caller }) => ({
      ...caller,
      digest: Buffer.from(sha256, "hex"),
    }));
  }
  const place = v.getDotPath(result.issues[0]) ?? "the top";
  throw new TokenListError(`The list of tokens is malformed at ${place}.`);
}
