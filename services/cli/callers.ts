import { createHmac, hash, randomBytes } from "node:crypto";
import { GetParameterCommand, ParameterNotFound, type SSMClient } from "@aws-sdk/client-ssm";
import * as v from "valibot";
import {
  type CallerEntry,
  callerEntry,
  callerKey,
  detectorsNamed,
  MAX_CALLERS,
  parseAddedCallers,
  parseCallers,
} from "../../shared/aws/callers.ts";
import { createAdditions, writeAdditions } from "../../shared/aws/table/additions.ts";
import { ConflictError, partition } from "../../shared/aws/table/items.ts";
import {
  addedSecrets,
  MAX_SECRETS,
  parseTokens,
  type SecretEntry,
  tokenKey,
} from "../../shared/aws/tokens.ts";
import type { Role } from "../../shared/domain/caller.ts";
import {
  type EpochMillis,
  type EpochSeconds,
  isExpired,
  type Seconds,
  toEpochSeconds,
} from "../../shared/domain/time.ts";
import { FailedError, UsageError } from "./errors.ts";
import type { Deployment } from "./stage.ts";

/** A caller as shown to the operator. For its tokens, only the beginnings of the digests are shown. */
export type ShownCaller = {
  readonly name: string;
  readonly role: Role;
  /** Where it comes from: the deployment's parameter, or an operator. */
  readonly addedBy: "deployment" | "operator";
  readonly tokens: readonly { readonly digest: string; readonly expiresAt?: EpochSeconds }[];
  readonly expiresAt?: EpochSeconds;
};

/** The callers, as operators list and change them. */
export type CallerBook = {
  list(now: EpochMillis): Promise<ShownCaller[]>;
  /** Creates a caller and its token, which nobody can read again. @throws UsageError, FailedError */
  add(entry: CallerEntry, isSigning: boolean): Promise<string>;
  /** Creates a new token; the previous one stays valid for a while. @throws FailedError */
  rotate(name: string, overlap: Seconds, isSigning: boolean, now: EpochMillis): Promise<string>;
  /** From now on the caller may do nothing, whatever the deployment says. @throws FailedError */
  revoke(name: string): Promise<void>;
  /** Removes what operators have added for the name; a deployment's own caller is restored. */
  forget(name: string): Promise<void>;
};

/** Bytes in a token: too many to guess. */
const TOKEN_BYTES = 32;

export function createCallerBook(
  dynamo: Parameters<typeof writeAdditions>[0],
  ssm: SSMClient,
  {
    tableName,
    list,
    parameters,
    eventDetectors,
  }: Pick<Deployment, "tableName" | "list" | "parameters" | "eventDetectors">,
): CallerBook {
  const config = { tableName };
  const builtIn = detectorsNamed(eventDetectors);
  const settings = partition.settings(list);
  const tokens = partition.tokens(list);
  const write = (...changes: Parameters<typeof writeAdditions>[2]) =>
    writeAdditions(dynamo, config, changes);
  const putCaller = (name: string, caller: CallerEntry | null) => ({
    ...{ partition: settings, sk: callerKey(name), item: { caller } },
  });
  const putTokens = (name: string, secrets: readonly SecretEntry[]) => ({
    ...{ partition: tokens, sk: tokenKey(name), item: { secrets } },
  });

  async function read() {
    const [ownCallers, ownTokens, deployedCallers, deployedTokens] = await Promise.all([
      createAdditions(dynamo, config, settings).items(),
      createAdditions(dynamo, config, tokens).items(),
      readParameter(ssm, parameters.callers),
      readParameter(ssm, parameters.tokens),
    ]);
    const deployed = parseTokens(deployedTokens).map(({ name, digests, signingKeys }) => {
      const secrets = digests.map(({ bytes }, index) => secretOf(bytes, signingKeys[index]?.bytes));
      return [name, secrets] as const;
    });
    return {
      own: parseAddedCallers(ownCallers),
      deployed: parseCallers(deployedCallers),
      /** Newest first. */
      secrets: new Map([...deployed, ...addedSecrets(ownTokens)]),
    };
  }

  async function find(name: string): Promise<readonly SecretEntry[]> {
    const { own, deployed, secrets } = await read();
    const caller = own.has(name) ? own.get(name) : deployed.get(name);
    if (!caller) throw new FailedError(`There is no caller ${name}.`);
    return secrets.get(name) ?? [];
  }

  return {
    async list(now) {
      const { own, deployed, secrets } = await read();
      const all = [...new Map([...builtIn, ...deployed, ...own])].flatMap(
        ([, caller]) => caller ?? [],
      );
      return all.map(({ name, role, expiresAt }) => ({
        name,
        role,
        addedBy: own.has(name) ? "operator" : "deployment",
        tokens: (secrets.get(name) ?? [])
          .filter((one) => !isOver(one, now))
          .map(({ sha256, expiresAt: end }) => ({
            digest: sha256.slice(0, 8),
            ...(end !== undefined && { expiresAt: end }),
          })),
        ...(expiresAt !== undefined && { expiresAt }),
      }));
    },

    async add(entry, isSigning) {
      const parsed = v.safeParse(callerEntry, entry);
      if (!parsed.success) {
        const [issue] = parsed.issues;
        throw new UsageError(`${v.getDotPath(issue) ?? "The caller"}: ${issue.message}`);
      }
      const { name } = entry;
      const { own, deployed } = await read();
      const isThere = own.has(name) ? own.get(name) !== null : deployed.has(name);
      if (isThere)
        throw new FailedError(`There is a caller ${name}: rotate its token, or revoke it.`);
      if (own.size >= MAX_CALLERS)
        throw new FailedError(`There are ${MAX_CALLERS} callers already.`);
      const { token, secret } = newToken(isSigning);
      const added = putTokens(name, [secret]);
      await write(putCaller(name, entry), { ...added, isNew: true }).catch((error) => {
        if (!(error instanceof ConflictError)) throw error;
        throw new FailedError(`Somebody else has just added ${name}.`, { cause: error });
      });
      return token;
    },

    async rotate(name, overlap, isSigning, now) {
      const known = await find(name);
      const { token, secret } = newToken(isSigning);
      const ends = toEpochSeconds(now) + overlap;
      const before = known
        .filter((one) => overlap > 0 && !isOver(one, now))
        .slice(0, MAX_SECRETS - 1)
        .map((one) => ({ ...one, expiresAt: Math.min(one.expiresAt ?? ends, ends) }));
      await write(putTokens(name, [secret, ...before]));
      return token;
    },

    async forget(name) {
      await write(
        { partition: settings, sk: callerKey(name), item: undefined },
        { partition: tokens, sk: tokenKey(name), item: undefined },
      );
    },

    async revoke(name) {
      // A built-in caller may be on no list and so have no token, but can be revoked all the same.
      if (!builtIn.has(name)) await find(name);
      await write(putCaller(name, null), {
        ...{ partition: tokens, sk: tokenKey(name), item: undefined },
      });
    },
  };
}

const isOver = (
  { expiresAt }: { readonly expiresAt?: EpochSeconds | undefined },
  now: EpochMillis,
) => expiresAt !== undefined && isExpired({ expiresAt }, now);

const secretOf = (digest: Buffer, key: Buffer | undefined): SecretEntry => ({
  sha256: digest.toString("hex"),
  ...(key && { signingKey: key.toString("hex") }),
});

/** A token, and what is stored of it: the digest, and the signing key only if requested. */
function newToken(isSigning: boolean): { token: string; secret: SecretEntry } {
  const token = randomBytes(TOKEN_BYTES).toString("base64url");
  const signingKey = createHmac("sha256", token).update("portcullis-signature").digest("hex");
  return { token, secret: { sha256: hash("sha256", token), ...(isSigning && { signingKey }) } };
}

/** The value of a parameter; empty if there is none. */
export async function readParameter(ssm: SSMClient, Name: string): Promise<string> {
  if (Name === "") return "";
  try {
    return (await ssm.send(new GetParameterCommand({ Name }))).Parameter?.Value ?? "";
  } catch (error) {
    if (error instanceof ParameterNotFound) return "";
    throw error;
  }
}
