import { type IpAddressVersion, storedAddresses } from "./addresses.ts";
import { duplicateItem, limitsExceeded, nonexistentItem, optimisticLock } from "./errors.ts";

/** Whom a set serves: a region's resources, or CloudFront. Names are unique within a scope. */
export type Scope = "REGIONAL" | "CLOUDFRONT";

/** A tag of a resource. */
export type Tag = { readonly Key: string; readonly Value: string };

/** An IP set. */
export type IpSet = {
  readonly name: string;
  readonly id: string;
  readonly arn: string;
  readonly scope: Scope;
  readonly version: IpAddressVersion;
  /** Empty if none was given: WAF answers "" then (AWS CLI examples: wafv2 get-ip-set). */
  readonly description: string;
  readonly addresses: readonly string[];
  /** Another one after each update. */
  readonly lockToken: string;
  readonly tags: readonly Tag[];
};

/** Everything the emulator knows. Immutable: each change is a new state. */
export type WafState = { readonly ipSets: readonly IpSet[] };

/** What names a set: all three must fit. */
export type IpSetKey = Pick<IpSet, "name" | "id" | "scope">;

/** "AWS WAF quotas", AWS WAF Developer Guide: ranges per IP set, fixed. */
const MAX_ADDRESSES = 10_000;
/** "AWS WAF quotas": IP sets per account and region, counted per scope by Service Quotas. */
const MAX_SETS = 100;

/** The set with this name, id and scope, or WAFNonexistentItemException. */
export function findIpSet(state: WafState, { name, id, scope }: IpSetKey): IpSet {
  const found = state.ipSets.find(
    (set) => set.id === id && set.name === name && set.scope === scope,
  );
  if (found) return found;
  throw nonexistentItem();
}

/** The set with this ARN, or WAFNonexistentItemException. */
export function findByArn(state: WafState, arn: string): IpSet {
  const found = state.ipSets.find((set) => set.arn === arn);
  if (found) return found;
  throw nonexistentItem();
}

/** A name that is taken in its scope is WAFDuplicateItemException. */
export function createIpSet(state: WafState, wanted: IpSet): { state: WafState; set: IpSet } {
  const inScope = state.ipSets.filter((set) => set.scope === wanted.scope);
  if (inScope.some((set) => set.name === wanted.name)) throw duplicateItem();
  if (inScope.length >= MAX_SETS) throw limitsExceeded();
  const set = { ...wanted, addresses: withinQuota(wanted.addresses, wanted.version) };
  return { state: { ipSets: [...state.ipSets, set] }, set };
}

/**
 * Replaces the whole list, and the description too: an update "completely replaces the mutable
 * specifications" (API reference: UpdateIPSet), so that a description left out is gone.
 */
export function updateIpSet(
  state: WafState,
  key: IpSetKey,
  lockToken: string,
  next: Pick<IpSet, "description" | "addresses" | "lockToken">,
): WafState {
  const set = locked(state, key, lockToken);
  const addresses = withinQuota(next.addresses, set.version);
  return replaced(state, set, { ...set, ...next, addresses });
}

/** Deletes a set under its lock token. */
export function deleteIpSet(state: WafState, key: IpSetKey, lockToken: string): WafState {
  const set = locked(state, key, lockToken);
  return { ipSets: state.ipSets.filter((other) => other !== set) };
}

/** Adds tags; one with a key that is there replaces it. The lock token stays. */
export function tagIpSet(state: WafState, arn: string, tags: readonly Tag[]): WafState {
  const set = findByArn(state, arn);
  const byKey = new Map([...set.tags, ...tags].map((tag) => [tag.Key, tag]));
  return replaced(state, set, { ...set, tags: [...byKey.values()] });
}

function locked(state: WafState, key: IpSetKey, lockToken: string): IpSet {
  const set = findIpSet(state, key);
  if (set.lockToken !== lockToken) throw optimisticLock();
  return set;
}

function withinQuota(addresses: readonly string[], version: IpAddressVersion): readonly string[] {
  if (addresses.length > MAX_ADDRESSES) throw limitsExceeded();
  return storedAddresses(addresses, version);
}

function replaced(state: WafState, old: IpSet, next: IpSet): WafState {
  return { ipSets: state.ipSets.map((set) => (set === old ? next : set)) };
}
