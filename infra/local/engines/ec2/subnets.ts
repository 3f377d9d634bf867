import { randomBytes } from "node:crypto";
import { Ec2Error } from "./errors.ts";
import { type Ec2State, findAcl, type NetworkAcl, type Subnet } from "./state.ts";

/** A subnet to begin with: it is associated with the default network ACL of its VPC. */
export type InitialSubnet = Pick<Subnet, "subnetId" | "cidrBlock">;

/** An association as DescribeNetworkAcls shows it. */
export type Association = Pick<Subnet, "networkAclAssociationId" | "networkAclId" | "subnetId">;

/** A new association's id. */
export function newAssociationId(): string {
  return `aclassoc-0${randomBytes(8).toString("hex")}`;
}

/** The subnet with this id, or InvalidSubnetID.NotFound. */
export function findSubnet(state: Ec2State, subnetId: string): Subnet {
  const subnet = state.subnets.find((candidate) => candidate.subnetId === subnetId);
  if (subnet) return subnet;
  throw new Ec2Error("InvalidSubnetID.NotFound", `The subnet ID '${subnetId}' does not exist`);
}

/** The associations of an ACL. */
export function associationsOf(
  { subnets }: Ec2State,
  { networkAclId }: Pick<NetworkAcl, "networkAclId">,
): Association[] {
  return subnets.filter((subnet) => subnet.networkAclId === networkAclId);
}

/** Moves a subnet to another ACL of its VPC, which makes a new association. */
export function replaceAssociation(
  state: Ec2State,
  wanted: Pick<Association, "networkAclAssociationId" | "networkAclId">,
): { state: Ec2State; newAssociationId: string } {
  const { networkAclAssociationId: old, networkAclId } = wanted;
  const subnet = state.subnets.find((each) => each.networkAclAssociationId === old);
  if (!subnet) {
    throw new Ec2Error(
      "InvalidAssociationID.NotFound",
      `The association ID '${old}' does not exist`,
    );
  }
  if (findAcl(state, networkAclId).vpcId !== subnet.vpcId) {
    throw new Ec2Error(
      "InvalidParameterValue",
      `networkAcl ${networkAclId} and subnet ${subnet.subnetId} belong to different networks`,
    );
  }
  const moved = { ...subnet, networkAclId, networkAclAssociationId: newAssociationId() };
  const subnets = state.subnets.map((each) => (each === subnet ? moved : each));
  return { state: { ...state, subnets }, newAssociationId: moved.networkAclAssociationId };
}

/** A new subnet of the ACL's VPC, with the first /24 of 10.0.0.0/16 that is free. */
export function addSubnet(state: Ec2State, acl: NetworkAcl): Ec2State {
  const taken = new Set(state.subnets.map(({ cidrBlock }) => cidrBlock));
  const free = Array.from({ length: 256 }, (_, index) => `10.0.${index}.0/24`).find(
    (cidrBlock) => !taken.has(cidrBlock),
  );
  if (free === undefined) throw new Ec2Error("SubnetLimitExceeded", "No subnet is free");
  const subnet: Subnet = {
    subnetId: `subnet-0${randomBytes(8).toString("hex")}`,
    vpcId: acl.vpcId,
    cidrBlock: free,
    networkAclId: acl.networkAclId,
    networkAclAssociationId: newAssociationId(),
  };
  return { ...state, subnets: [...state.subnets, subnet] };
}
