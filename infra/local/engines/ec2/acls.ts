import type { Entry, EntryKey } from "./entry.ts";
import { Ec2Error } from "./errors.ts";
import { checkAclId, type Ec2State, findAcl, findVpc, type NetworkAcl, type Vpc } from "./state.ts";
import { addSubnet, associationsOf, type InitialSubnet, newAssociationId } from "./subnets.ts";

/** A VPC to begin with: it comes with its default network ACL, as every VPC does. */
export type InitialVpc = Vpc & {
  readonly defaultNetworkAclId: string;
  readonly subnets?: readonly InitialSubnet[];
};

/** The VPC that a fresh emulator has. */
export const DEFAULT_VPC: InitialVpc = {
  vpcId: "vpc-0a1b2c3d4e5f60718",
  cidrBlocks: ["10.0.0.0/16"],
  ipv6CidrBlocks: ["2600:1f18:1234:5600::/56"],
  defaultNetworkAclId: "acl-0a1b2c3d4e5f60718",
  subnets: [
    { subnetId: "subnet-0a1b2c3d4e5f60718", cidrBlock: "10.0.0.0/24" },
    { subnetId: "subnet-0a1b2c3d4e5f60719", cidrBlock: "10.0.1.0/24" },
  ],
};

/** The state to begin with. */
export function initialState(vpcs: readonly InitialVpc[]): Ec2State {
  return {
    addresses: [],
    natGateways: [],
    prefixLists: [],
    vpcs: vpcs.map(({ vpcId, cidrBlocks, ipv6CidrBlocks }) => ({
      vpcId,
      cidrBlocks,
      ipv6CidrBlocks,
    })),
    acls: vpcs.map((vpc) => ({
      networkAclId: vpc.defaultNetworkAclId,
      vpcId: vpc.vpcId,
      isDefault: true,
      entries: inOrder([...allowAll(vpc), ...denyRest(vpc)]),
      tags: [],
    })),
    subnets: vpcs.flatMap(({ vpcId, defaultNetworkAclId, subnets = [] }) =>
      subnets.map((subnet) => ({
        ...subnet,
        vpcId,
        networkAclId: defaultNetworkAclId,
        networkAclAssociationId: newAssociationId(),
      })),
    ),
  };
}

/**
 * A new ACL denies everything until it has rules ("Custom network ACLs", VPC User Guide). The same
 * client token again finds the ACL it made ("Ensuring idempotency", EC2 Developer Guide).
 */
export function createAcl(
  state: Ec2State,
  wanted: Pick<NetworkAcl, "networkAclId" | "vpcId" | "tags" | "clientToken">,
): { state: Ec2State; acl: NetworkAcl } {
  const vpc = findVpc(state, wanted.vpcId);
  const { clientToken } = wanted;
  const made =
    clientToken !== undefined && state.acls.find((acl) => acl.clientToken === clientToken);
  if (made && made.vpcId === vpc.vpcId) return { state, acl: made };
  if (made) {
    throw new Ec2Error(
      "IdempotentParameterMismatch",
      `The client token ${clientToken} was used with other parameters`,
    );
  }
  const acl: NetworkAcl = { ...wanted, isDefault: false, entries: denyRest(vpc) };
  return { state: { ...state, acls: [...state.acls, acl] }, acl };
}

/**
 * What no caller of EC2 can do: an ACL with an id of one's choice, in the first VPC, with a subnet of
 * its own; and with the rules of a default ACL if it is to allow all. One that exists stays as it is.
 */
export function provideAcl(
  state: Ec2State,
  { networkAclId, allowAll: allows }: { networkAclId: string; allowAll: boolean },
): Ec2State {
  checkAclId(networkAclId);
  const [vpc] = state.vpcs;
  if (!vpc || state.acls.some((acl) => acl.networkAclId === networkAclId)) return state;
  const entries = inOrder([...(allows ? allowAll(vpc) : []), ...denyRest(vpc)]);
  const acl = { networkAclId, vpcId: vpc.vpcId, isDefault: false, entries, tags: [] };
  return addSubnet({ ...state, acls: [...state.acls, acl] }, acl);
}

/** The default ACL of a VPC stays, and so does one in use (API reference: DeleteNetworkAcl). */
export function deleteAcl(state: Ec2State, networkAclId: string): Ec2State {
  const acl = findAcl(state, networkAclId);
  if (acl.isDefault) {
    throw new Ec2Error(
      "InvalidParameterValue",
      `cannot delete default network ACL ${networkAclId}`,
    );
  }
  if (associationsOf(state, acl).length > 0) {
    throw new Ec2Error(
      "DependencyViolation",
      `The networkAcl '${networkAclId}' has dependencies and cannot be deleted.`,
    );
  }
  return { ...state, acls: state.acls.filter((other) => other !== acl) };
}

/** A number that is taken stays as it is: NetworkAclEntryAlreadyExists. */
export function createEntry(
  state: Ec2State,
  networkAclId: string,
  entry: Entry,
  quota: number,
): Ec2State {
  const acl = findAcl(state, networkAclId);
  if (acl.entries.some((other) => sameKey(other, entry))) {
    throw new Ec2Error(
      "NetworkAclEntryAlreadyExists",
      `The network acl entry identified by ${entry.ruleNumber} already exists.`,
    );
  }
  return withEntries(state, acl, withinQuota([...acl.entries, entry], entry, quota));
}

/** Everything but the number and the direction may change, the family too. */
export function replaceEntry(
  state: Ec2State,
  networkAclId: string,
  entry: Entry,
  quota: number,
): Ec2State {
  const acl = findAcl(state, networkAclId);
  const old = existing(acl, entry);
  const entries = acl.entries.map((other) => (other === old ? entry : other));
  const changesFamily = isIpv6(old) !== isIpv6(entry);
  return withEntries(state, acl, changesFamily ? withinQuota(entries, entry, quota) : entries);
}

/** A number that is free is InvalidNetworkAclEntry.NotFound. */
export function deleteEntry(state: Ec2State, networkAclId: string, key: EntryKey): Ec2State {
  const acl = findAcl(state, networkAclId);
  const old = existing(acl, key);
  const entries = acl.entries.filter((other) => other !== old);
  return withEntries(state, acl, entries);
}

/**
 * "Amazon VPC quotas", rules per network ACL: counted per direction, IPv4 and IPv6 apart, the
 * default deny included.
 */
function withinQuota(entries: readonly Entry[], added: Entry, quota: number): readonly Entry[] {
  const counted = entries.filter(
    (entry) => entry.egress === added.egress && isIpv6(entry) === isIpv6(added),
  );
  if (counted.length <= quota) return entries;
  throw new Ec2Error(
    "NetworkAclEntryLimitExceeded",
    "The maximum number of network acl entries has been reached.",
  );
}

function existing(acl: NetworkAcl, key: EntryKey): Entry {
  const entry = acl.entries.find((candidate) => sameKey(candidate, key));
  if (entry) return entry;
  const direction = key.egress ? "egress" : "ingress";
  throw new Ec2Error(
    "InvalidNetworkAclEntry.NotFound",
    `no ${direction} entry with number ${key.ruleNumber} in network ACL ${acl.networkAclId}`,
  );
}

function sameKey(a: EntryKey, b: EntryKey): boolean {
  return a.egress === b.egress && a.ruleNumber === b.ruleNumber;
}

function isIpv6(entry: Entry): boolean {
  return entry.ipv6CidrBlock !== undefined;
}

function withEntries(state: Ec2State, acl: NetworkAcl, entries: readonly Entry[]): Ec2State {
  const changed = { ...acl, entries: inOrder(entries) };
  return { ...state, acls: state.acls.map((other) => (other === acl ? changed : other)) };
}

/** The order in which EC2 answers: egress first, then by number. */
function inOrder(entries: readonly Entry[]): readonly Entry[] {
  return [...entries].sort(
    (a, b) => Number(b.egress) - Number(a.egress) || a.ruleNumber - b.ruleNumber,
  );
}

/** "Default network ACL", VPC User Guide: IPv6 rules only where the VPC has an IPv6 block. */
function allowAll(vpc: Vpc): Entry[] {
  return everyAddress(vpc, "allow", { v4: 100, v6: 101 });
}

function denyRest(vpc: Vpc): Entry[] {
  return everyAddress(vpc, "deny", { v4: 32767, v6: 32768 });
}

function everyAddress(
  vpc: Vpc,
  ruleAction: "allow" | "deny",
  number: { v4: number; v6: number },
): Entry[] {
  return [true, false].flatMap((egress) => {
    const all = { egress, protocol: "-1", ruleAction };
    const v4: Entry = { ...all, ruleNumber: number.v4, cidrBlock: "0.0.0.0/0" };
    const v6: Entry = { ...all, ruleNumber: number.v6, ipv6CidrBlock: "::/0" };
    return vpc.ipv6CidrBlocks.length > 0 ? [v4, v6] : [v4];
  });
}
