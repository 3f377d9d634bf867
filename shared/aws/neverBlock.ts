import { LRUCache } from "lru-cache";
import { type NeverBlock, protect, SPECIAL_RANGES } from "../domain/neverBlock.ts";
import type { Parameters } from "./parameters.ts";
import type { TargetStates } from "./table/targetStates.ts";

/** What the parameter holds for an empty list, as SSM stores no empty value. */
const EMPTY = "none";

/**
 * The ranges that must not be blocked: the special ones, the owner's list from the parameter store
 * (comma- or space-separated CIDRs), and the VPC's own.
 *
 * @param parameterName of the owner's list
 * @param vpcCidrs as EC2 shows them, or as the enforcer recorded them
 * @throws Error where the list cannot be read, InvalidAddressError where it is not a list of CIDRs:
 *   a list that cannot be trusted must not be taken for an empty one
 */
export async function readNeverBlock(
  parameters: Parameters,
  parameterName: string,
  vpcCidrs: readonly string[],
): Promise<NeverBlock> {
  const value = await parameters.get(parameterName);
  if (parsed?.value !== value || parsed.vpcCidrs !== vpcCidrs) {
    parsed = { value, vpcCidrs, list: parseList(value, vpcCidrs) };
  }
  return parsed.list;
}

/** Every request asks for the list, and it seldom changes. */
let parsed:
  | { readonly value: string; readonly vpcCidrs: readonly string[]; readonly list: NeverBlock }
  | undefined;

function parseList(value: string, vpcCidrs: readonly string[]): NeverBlock {
  const listed = value.split(/[\s,]+/).filter((cidr) => cidr !== "" && cidr !== EMPTY);
  return [
    ...SPECIAL_RANGES,
    ...protect(listed.map((cidr) => [cidr, "on the never-block list"])),
    ...protect(vpcCidrs.map((cidr) => [cidr, "the VPC's own range"])),
  ];
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
): () => Promise<NeverBlock> {
  const recorded = new LRUCache<"vpcCidrs", readonly string[]>({
    max: 1,
    ttl: VPC_CIDRS_TTL_MS,
    noDeleteOnStaleGet: true,
    fetchMethod: async (_key, known, { options }) => {
      try {
        const vpcCidrs = await states.readNetworks();
        // Before the enforcer's first look there is nothing yet; soon there may be.
        if (vpcCidrs.length === 0) options.ttl = NONE_TTL_MS;
        return vpcCidrs;
      } catch {
        // What was known holds on. Without the VPC's ranges the owner's list still holds; `plan` asks
        // for both again.
        options.ttl = FAILURE_TTL_MS;
        return known ?? NONE_RECORDED;
      }
    },
  });
  return async () => {
    const vpcCidrs = recorded.get("vpcCidrs") ?? (await recorded.fetch("vpcCidrs"));
    return readNeverBlock(parameters, parameterName, vpcCidrs ?? NONE_RECORDED);
  };
}
