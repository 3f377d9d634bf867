import type { Entry } from "./entry.ts";
import { Ec2Error } from "./errors.ts";

/** A VPC and its address blocks. */
export type Vpc = {
  readonly vpcId: string;
  /** The primary block first. */
  readonly cidrBlocks: readonly string[];
  readonly ipv6CidrBlocks: readonly string[];
};

/** A tag of a resource. */
export type Tag = { readonly key: string; readonly value: string };

/** A network ACL and its rules. */
export type NetworkAcl = {
  readonly networkAclId: string;
  readonly vpcId: string;
  readonly isDefault: boolean;
  readonly entries: readonly Entry[];
  readonly tags: readonly Tag[];
  readonly clientToken?: string;
};

/** A subnet, and the network ACL that it is associated with: every subnet has exactly one. */
export type Subnet = {
  readonly subnetId: string;
  readonly vpcId: string;
  readonly cidrBlock: string;
  readonly networkAclId: string;
  readonly networkAclAssociationId: string;
};

/** An Elastic IP address of the account. */
export type ElasticIp = { readonly allocationId: string; readonly publicIp: string };

/** A public NAT gateway with one address. */
export type NatGateway = ElasticIp & {
  readonly natGatewayId: string;
  readonly subnetId: string;
  readonly vpcId: string;
};

/** A managed prefix list of the account. */
export type PrefixList = {
  readonly prefixListId: string;
  readonly name: string;
  readonly addressFamily: string;
  readonly maxEntries: number;
  readonly state: "create-complete" | "modify-complete";
  readonly version: number;
  readonly entries: readonly { readonly cidr: string; readonly description?: string }[];
};

/** Everything the emulator knows. Immutable: each change is a new state. */
export type Ec2State = {
  readonly vpcs: readonly Vpc[];
  readonly acls: readonly NetworkAcl[];
  readonly subnets: readonly Subnet[];
  readonly addresses: readonly ElasticIp[];
  readonly natGateways: readonly NatGateway[];
  readonly prefixLists: readonly PrefixList[];
};

/** The VPC with this id, or InvalidVpcID.NotFound. */
export function findVpc(state: Ec2State, vpcId: string): Vpc {
  const vpc = state.vpcs.find((candidate) => candidate.vpcId === vpcId);
  if (vpc) return vpc;
  throw new Ec2Error("InvalidVpcID.NotFound", `The vpc ID '${vpcId}' does not exist`);
}

/** InvalidNetworkAclId.Malformed, unless an ACL's id has this form. */
export function checkAclId(networkAclId: string): void {
  if (/^acl-([0-9a-f]{8}|[0-9a-f]{17})$/.test(networkAclId)) return;
  throw new Ec2Error(
    "InvalidNetworkAclId.Malformed",
    `Invalid id: "${networkAclId}" (expecting "acl-...")`,
  );
}

/** The ACL with this id, InvalidNetworkAclId.Malformed or InvalidNetworkAclID.NotFound. */
export function findAcl(state: Ec2State, networkAclId: string): NetworkAcl {
  checkAclId(networkAclId);
  const acl = state.acls.find((candidate) => candidate.networkAclId === networkAclId);
  if (acl) return acl;
  throw new Ec2Error(
    "InvalidNetworkAclID.NotFound",
    `The networkAcl ID '${networkAclId}' does not exist`,
  );
}
