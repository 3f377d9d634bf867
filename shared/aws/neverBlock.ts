import { LRUCache } from "lru-cache";
import { type NeverBlock, protect, SPECIAL_RANGES } from "../domain/neverBlock.ts";
import type { EpochMillis, Millis } from "../domain/time.ts";
import type { Logger } from "./log.ts";
import { createParsed, type Parameters } from "./parameters.ts";
import type { OwnersList, TargetStates } from "./table/targetStates.ts";

/** What the parameter holds for an empty list, as SSM stores no empty value. */
const EMPTY = "none";

/**
 * The ranges that must not be blocked: the special ones, the owner's list (comma- or space-separated
 * CIDRs), and the VPC's own. Every request asks for them, and they seldom change: parsed once.
 *
 * @param vpcCidrs as EC2 shows them, or as the enforcer recorded them
 * @throws InvalidAddressError where the owner's list is not one of CIDRs: a list that cannot be trusted
 *   must not be taken for an empty one
 */
export function parseNeverBlock(value: string, vpcCidrs: readonly string[]): NeverBlock {
  if (parsed?.value !== value || parsed.vpcCidrs !== vpcCidrs) {
    const listed = value.split(/[\s,]+/).filter((cidr) => cidr !== "" && cidr !== EMPTY);
    const list = [
      ...SPECIAL_RANGES,
      ...protect(listed.map((cidr) => [cidr, "on the never-block list"])),
      ...protect(vpcCidrs.map((cidr) => [cidr, "the VPC's own range"])),
    ];
    parsed = { value, vpcCidrs, list };
  }
  return parsed.list;
}

let parsed:
  | { readonly value: string; readonly vpcCidrs: readonly string[]; readonly list: NeverBlock }
  | undefined;

/** How long the list holds that was read last, while the parameter store cannot be read. */
const MAX_AGE: Millis = 86_400_000;

/** How often the table is told that the list is still the same. */
const CONFIRM_EVERY: Millis = 3_600_000;

/** The never-block list, and whether the owner's part of it is what the parameter store has now. */
export type LastKnown = { readonly list: NeverBlock; readonly isCurrent: boolean };

/**
 * The list as the enforcer reads it. Anyone may keep the parameter store busy, and new blocks must not
 * wait for it: while it cannot be read, what was read last holds for a day, also for an instance that
 * has never read it, from the table. A list that is not one of CIDRs never holds.
 *
 * @returns a function of the ranges of the network behind the target; it throws where the list cannot be
 *   read and none is known that is recent enough
 */
export function createLastKnown(
  parameters: Parameters,
  parameterName: string,
  states: Pick<TargetStates, "readOwnersList" | "writeOwnersList">,
  log: Pick<Logger, "warn" | "error">,
  clock: () => EpochMillis,
): (ownRanges: readonly string[]) => Promise<LastKnown> {
  let known: OwnersList | undefined;
  /** What the table has. */
  let written: OwnersList | undefined;

  async function remember(value: string): Promise<void> {
    known = { value, readAt: clock() };
    const isFresh = written && known.readAt - written.readAt < CONFIRM_EVERY;
    if (isFresh && written?.value === value) return;
    const before = written;
    written = known;
    await states.writeOwnersList(known).catch((error: Error) => {
      written = before;
      log.warn("The never-block list could not be recorded", error);
    });
  }

  return async (ownRanges) => {
    let value: string;
    try {
      value = await parameters.get(parameterName);
    } catch (error) {
      log.error("The never-block list cannot be read", error as Error);
      known ??= await states.readOwnersList();
      if (!known || clock() - known.readAt > MAX_AGE) throw error;
      return { list: parseNeverBlock(known.value, ownRanges), isCurrent: false };
    }
    const list = parseNeverBlock(value, ownRanges);
    await remember(value);
    return { list, isCurrent: true };
  };
}

const VPC_CIDRS_TTL_MS = 60_000;

/** How long a table that failed is not asked again: not every request must wait for it to fail. */
const FAILURE_TTL_MS = 2_000;

/** Where no ranges are recorded, the table is asked again after this time: a WAF alone has none. */
const NONE_TTL_MS = 1_000;

const NONE_RECORDED: readonly string[] = [];

/**
 * The list as worker and endpoint read it: the VPC's ranges are those that the enforcer, which alone
 * may ask EC2, has recorded of all targets.
 */
export function createNeverBlock(
  parameters: Parameters,
  parameterName: string,
  states: Pick<TargetStates, "readNetworks">,
  log: Pick<Logger, "error">,
  clock: () => EpochMillis,
): () => Promise<NeverBlock> {
  const ownersList = createParsed(parameters, parameterName, (value) => value, log, clock);
  const recorded = new LRUCache<"vpcCidrs", readonly string[]>({
    max: 1,
    ttl: VPC_CIDRS_TTL_MS,
    noDeleteOnStaleGet: true,
    fetchMethod: async (_key, before, { options }) => {
      try {
        const vpcCidrs = await states.readNetworks();
        // Before the enforcer's first look there is nothing yet; soon there may be.
        if (vpcCidrs.length === 0) options.ttl = NONE_TTL_MS;
        return vpcCidrs;
      } catch {
        // What was known holds on. Without the VPC's ranges the owner's list still holds; `plan` asks
        // for both again.
        options.ttl = FAILURE_TTL_MS;
        return before ?? NONE_RECORDED;
      }
    },
  });
  return async () => {
    const vpcCidrs = recorded.get("vpcCidrs") ?? (await recorded.fetch("vpcCidrs"));
    return parseNeverBlock(await ownersList(), vpcCidrs ?? NONE_RECORDED);
  };
}
