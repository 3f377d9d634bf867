import { hash, randomBytes, timingSafeEqual } from "node:crypto";
import * as v from "valibot";
import type { Caller } from "../domain/caller.ts";
import { type EpochMillis, type EpochSeconds, isExpired } from "../domain/time.ts";
import type { Added } from "./added.ts";
import { type Callers, callerName } from "./callers.ts";
import type { Logger } from "./log.ts";
import {
  createParsed,
  MalformedParameterError,
  type Parameters,
  remembering,
} from "./parameters.ts";
import type { Addition } from "./table/additions.ts";

const hex256 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));

/** One secret, or two while a new one replaces the old. */
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
      /** The keys that sign requests; without them, no signed request of this caller is accepted. */
      signingKey: v.optional(oneOrTwo),
    }),
  ),
  v.maxLength(1_000),
);

/** A token, of which only the digest is stored, and the key that its owner may sign with. */
const secret = v.strictObject({
  sha256: hex256,
  signingKey: v.optional(hex256),
  /** Epoch seconds: when a replaced token expires. */
  expiresAt: v.optional(v.pipe(v.number(), v.integer())),
});

/** A token's entry as operators add it; the first is the newest. */
export type SecretEntry = v.InferInput<typeof secret>;

/** How many tokens of one caller may be valid at a time. */
export const MAX_SECRETS = 2;

/** What operators add for one caller. */
const addedTokens = v.object({ secrets: v.pipe(v.array(secret), v.maxLength(MAX_SECRETS)) });

const TOKEN_KEY = "token#";
export const tokenKey = (name: string) => TOKEN_KEY + name;

/** A digest or a key, and when it expires; absent if never. */
type Expiring = { readonly bytes: Buffer; readonly expiresAt?: EpochSeconds | undefined };

/** A caller's name, with the digests of its tokens and its signing keys. */
type Holder = {
  readonly name: string;
  readonly digests: readonly Expiring[];
  readonly signingKeys: readonly Expiring[];
};

/** A caller, and the keys that it may sign with. */
export type Signer = { readonly caller: Caller; readonly keys: readonly Buffer[] };

export type Tokens = {
  /**
   * The caller that a token belongs to; undefined also if the list of callers does not name it.
   *
   * @throws MalformedParameterError, or Error if the lists cannot be read
   */
  callerOf(token: string): Promise<Caller | undefined>;
  /** The caller of that name, if it may sign requests. @throws as `callerOf` */
  signerOf(name: string): Promise<Signer | undefined>;
};

/**
 * The callers, by their tokens: from a deployment's parameter, and from what operators have added, which
 * overrides the parameter name by name. Only SHA-256 digests are stored. A digest is looked up by a key made
 * with this instance's own secret, and compared in constant time, so that neither timing nor the store gives
 * a token away, and a thousand tokens take no longer than one. The list of callers says what each may do, so
 * that no function but the endpoint needs to read this one.
 */
export function createTokens(
  parameters: Parameters,
  parameterName: string,
  added: Added,
  callers: Callers,
  log: Pick<Logger, "error">,
  clock: () => EpochMillis,
): Tokens {
  const readParameter = createParsed(parameters, parameterName, parseTokens, log, clock);
  const parseAdded = remembering(holdersIn);
  const unite = remembering((deployed: readonly Holder[]) =>
    remembering((own: readonly Holder[]) => createHolders(deployed, own)),
  );
  const readLists = async () => {
    const [deployed, additions, known] = await Promise.all([readParameter(), added(), callers()]);
    return { holders: unite(deployed)(parseAdded(additions)), known };
  };
  const isValid = ({ expiresAt }: Expiring) =>
    expiresAt === undefined || !isExpired({ expiresAt }, clock());

  return {
    async callerOf(token) {
      const { holders, known } = await readLists();
      const digest = hash("sha256", token, "buffer");
      const found = holders.find(digest);
      const isHeld = timingSafeEqual(found?.digest.bytes ?? NO_DIGEST, digest);
      return isHeld && found && isValid(found.digest) ? known.get(found.name) : undefined;
    },

    async signerOf(name) {
      const { holders, known } = await readLists();
      const caller = known.get(name);
      const keys = holders.keysOf(name).filter(isValid);
      if (!caller || keys.length === 0) return undefined;
      return { caller, keys: keys.map(({ bytes }) => bytes) };
    },
  };
}

/** What an unknown token is compared with, so that every look-up makes one comparison. */
const NO_DIGEST = Buffer.alloc(32);

type Found = { readonly name: string; readonly digest: Expiring };

/** All holders, by digest and by name. */
function createHolders(deployed: readonly Holder[], own: readonly Holder[]) {
  const byName = new Map([...deployed, ...own].map((holder) => [holder.name, holder]));
  const secret = randomBytes(32);
  // Both have a fixed length and the key never leaves this instance: a plain hash does, at a third of the
  // cost of an HMAC.
  const keyOf = (digest: Buffer) => hash("sha256", Buffer.concat([secret, digest]), "base64");
  const byKey = new Map<string, Found>();
  for (const { name, digests } of byName.values()) {
    for (const digest of digests) {
      const key = keyOf(digest.bytes);
      if (!byKey.has(key)) byKey.set(key, { name, digest });
    }
  }
  return {
    find: (digest: Buffer) => byKey.get(keyOf(digest)),
    keysOf: (name: string) => byName.get(name)?.signingKeys ?? [],
  };
}

/** What operators have added, by caller name. @throws MalformedParameterError */
export function addedSecrets(
  additions: readonly Addition[],
): ReadonlyMap<string, readonly SecretEntry[]> {
  return new Map(
    additions
      .filter(({ sk }) => sk.startsWith(TOKEN_KEY))
      .map((item) => {
        const name = item.sk.slice(TOKEN_KEY.length);
        const { success, output, issues } = v.safeParse(addedTokens, item);
        if (success) return [name, output.secrets];
        const place = v.getDotPath(issues[0]) ?? "the top";
        throw new MalformedParameterError(`The tokens of ${name} are malformed at ${place}.`);
      }),
  );
}

function holdersIn(additions: readonly Addition[]): readonly Holder[] {
  const expiring = (text: string | undefined, expiresAt: EpochSeconds | undefined) =>
    text === undefined ? [] : [{ bytes: Buffer.from(text, "hex"), expiresAt }];
  return Array.from(addedSecrets(additions), ([name, secrets]) => ({
    name,
    digests: secrets.flatMap((one) => expiring(one.sha256, one.expiresAt)),
    signingKeys: secrets.flatMap((one) => expiring(one.signingKey, one.expiresAt)),
  }));
}

/** @throws MalformedParameterError */
export function parseTokens(value: string): readonly Holder[] {
  if (value === "") return [];
  const result = v.safeParse(tokenList, value);
  if (!result.success) {
    const place = v.getDotPath(result.issues[0]) ?? "the top";
    throw new MalformedParameterError(`The list of tokens is malformed at ${place}.`);
  }
  const decode = (texts: readonly string[] = []) =>
    texts.map((text) => ({ bytes: Buffer.from(text, "hex") }));
  return result.output.map(({ name, sha256, signingKey }) => ({
    name,
    digests: decode(sha256),
    signingKeys: decode(signingKey),
  }));
}
