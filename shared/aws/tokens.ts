import { hash, timingSafeEqual } from "node:crypto";
import * as v from "valibot";
import type { Caller } from "../domain/caller.ts";
import type { EpochMillis } from "../domain/time.ts";
import { type Callers, callerName } from "./callers.ts";
import type { Logger } from "./log.ts";
import { createParsed, MalformedParameterError, type Parameters } from "./parameters.ts";

const hex256 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));

/** One secret, or two while the one makes way for the other. */
const oneOrTwo = v.union([
  v.pipe(
    hex256,
    v.transform((one) => [one]),
  ),
  v.pipe(v.array(hex256), v.minLength(1), v.maxLength(2)),
]);

const tokenList = v.pipe(
  v.string(),
  v.parseJson(),
  v.array(
    v.object({
      name: callerName,
      /** The digests of the tokens. */
      sha256: oneOrTwo,
      /** The keys that requests are signed with; without them none of this caller's is taken. */
      signingKey: v.optional(oneOrTwo),
    }),
  ),
  v.maxLength(1_000),
);

/** Whose token is whose. */
type Holder = {
  readonly name: string;
  readonly digests: readonly Buffer[];
  readonly signingKeys: readonly Buffer[];
};

/** A caller, and the keys that it may sign with. */
export type Signer = { readonly caller: Caller; readonly keys: readonly Buffer[] };

export type Tokens = {
  /**
   * The caller that a token belongs to; undefined also for one that the list of callers does not name.
   *
   * @throws MalformedParameterError, or Error where the lists cannot be read
   */
  callerOf(token: string): Promise<Caller | undefined>;
  /** The caller of that name, where it may sign requests. @throws as `callerOf` */
  signerOf(name: string): Promise<Signer | undefined>;
};

/**
 * The callers, by their tokens. The store knows only SHA-256 digests; every digest is compared, each
 * in constant time, so that neither time nor store gives a token away. What a caller may do is the other
 * list's to say, so that no function but the endpoint needs to read this one.
 */
export function createTokens(
  parameters: Parameters,
  parameterName: string,
  callers: Callers,
  log: Pick<Logger, "error">,
  clock: () => EpochMillis,
): Tokens {
  const readHolders = createParsed(parameters, parameterName, parseTokens, log, clock);
  return {
    async callerOf(token) {
      const [holders, known] = await Promise.all([readHolders(), callers()]);
      const digest = hash("sha256", token, "buffer");
      const isHeld = ({ digests }: Holder) =>
        digests.filter((one) => timingSafeEqual(one, digest)).length > 0;
      const [holder] = holders.filter(isHeld);
      return holder && known.get(holder.name);
    },

    async signerOf(name) {
      const [holders, known] = await Promise.all([readHolders(), callers()]);
      const caller = known.get(name);
      const holder = holders.find((one) => one.name === name);
      if (!caller || !holder || holder.signingKeys.length === 0) return undefined;
      return { caller, keys: holder.signingKeys };
    },
  };
}

/** @throws MalformedParameterError */
export function parseTokens(value: string): readonly Holder[] {
  const result = v.safeParse(tokenList, value);
  if (!result.success) {
    const place = v.getDotPath(result.issues[0]) ?? "the top";
    throw new MalformedParameterError(`The list of tokens is malformed at ${place}.`);
  }
  const decode = (texts: readonly string[] = []) => texts.map((text) => Buffer.from(text, "hex"));
  return result.output.map(({ name, sha256, signingKey }) => ({
    name,
    digests: decode(sha256),
    signingKeys: decode(signingKey),
  }));
}
