import { setTimeout as pause } from "node:timers/promises";
import {
  GetIPSetCommand,
  ListIPSetsCommand,
  UpdateIPSetCommand,
  type WAFV2Client,
  WAFV2ServiceException,
} from "@aws-sdk/client-wafv2";
import { type Cidr, parseCidr } from "../../domain/cidr.ts";
import type { Millis } from "../../domain/time.ts";
import {
  QuotaError,
  RefusedError,
  StaleReadError,
  TargetMissingError,
  TargetNotOursError,
  ThrottledError,
} from "../target.ts";

/** What a set's description must begin with, or we do not touch it. */
export const OURS = "Managed by Portcullis";

/** A set as WAF shows it. The lock token is the condition of the next update. */
export type ShownSet = { readonly addresses: readonly Cidr[]; readonly lockToken: string };

export type IpSets = {
  /** @throws TargetMissingError, TargetNotOursError, ThrottledError, RefusedError */
  read(name: string): Promise<ShownSet>;
  /**
   * Replaces the whole set.
   * @throws StaleReadError if it has changed since, TargetMissingError, ThrottledError, QuotaError,
   *   RefusedError
   */
  update(name: string, addresses: readonly string[], lockToken: string): Promise<void>;
};

const SCOPE = "REGIONAL";
const PAGE = 100;
/** An account may have only a hundred sets per region; this is a bound all the same. */
const MAX_PAGES = 20;

/** WAF grants one update a second per account and region, whatever the set. */
const UPDATE_EVERY: Millis = 1_050;

/**
 * The IP sets behind WAF's API.
 *
 * @see https://docs.aws.amazon.com/waf/latest/APIReference/API_UpdateIPSet.html
 */
export function createIpSets(waf: WAFV2Client): IpSets {
  const ids = new Map<string, string>();
  /** An update replaces the description as well: this keeps what a person added to it. */
  const descriptions = new Map<string, string>();
  let nextUpdateAt = 0;

  async function idOf(name: string): Promise<string> {
    const known = ids.get(name);
    if (known) return known;
    let NextMarker: string | undefined;
    for (let page = 0; page < MAX_PAGES; page++) {
      const answer = await waf.send(
        new ListIPSetsCommand({ Scope: SCOPE, Limit: PAGE, ...(NextMarker && { NextMarker }) }),
      );
      for (const { Name, Id } of answer.IPSets ?? []) if (Name && Id) ids.set(Name, Id);
      NextMarker = answer.NextMarker;
      if (!NextMarker || ids.has(name)) break;
    }
    const id = ids.get(name);
    if (!id) throw new TargetMissingError(`The IP set ${name} does not exist.`);
    return id;
  }

  /** Updates queue up, one a second. */
  async function turn(): Promise<void> {
    const now = Date.now();
    const at = Math.max(now, nextUpdateAt);
    nextUpdateAt = at + UPDATE_EVERY;
    await pause(at - now);
  }

  return {
    read: (name) =>
      withNamedErrors(name, ids, async () => {
        const Id = await idOf(name);
        const command = new GetIPSetCommand({ Name: name, Scope: SCOPE, Id });
        const { IPSet, LockToken = "" } = await waf.send(command);
        if (!IPSet?.Description?.startsWith(OURS)) {
          throw new TargetNotOursError(
            `The description of the IP set ${name} does not say "${OURS}".`,
          );
        }
        descriptions.set(name, IPSet.Description);
        return { addresses: (IPSet.Addresses ?? []).map(parseCidr), lockToken: LockToken };
      }),

    update: (name, addresses, LockToken) =>
      withNamedErrors(name, ids, async () => {
        const Id = await idOf(name);
        await turn();
        await waf.send(
          new UpdateIPSetCommand({
            Name: name,
            Scope: SCOPE,
            Id,
            Description: descriptions.get(name) ?? OURS,
            Addresses: [...addresses],
            LockToken,
          }),
        );
      }),
  };
}

async function withNamedErrors<T>(
  name: string,
  ids: Map<string, string>,
  call: () => Promise<T>,
): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    if (!(cause instanceof WAFV2ServiceException)) throw cause;
    switch (cause.name) {
      case "WAFNonexistentItemException":
        ids.delete(name);
        throw new TargetMissingError(`The IP set ${name} does not exist.`, { cause });
      case "WAFOptimisticLockException":
        throw new StaleReadError(cause.message, { cause });
      case "WAFLimitsExceededException":
        throw new QuotaError(cause.message, { cause });
      case "ThrottlingException":
      case "WAFUnavailableEntityException":
        throw new ThrottledError(cause.message, { cause });
      default:
        if ((cause.$metadata.httpStatusCode ?? 500) >= 500) throw cause;
        throw new RefusedError(cause.name, cause.name === "AccessDeniedException", cause);
    }
  }
}
