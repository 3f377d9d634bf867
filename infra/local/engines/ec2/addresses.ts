import { randomBytes, randomInt } from "node:crypto";
import { Ec2Error } from "./errors.ts";
import type { Ec2State, ElasticIp, NatGateway } from "./state.ts";
import { findSubnet } from "./subnets.ts";

/** A new Elastic IP address, of a range that AWS gives them from. */
export function allocateAddress(before: Ec2State): { state: Ec2State; address: ElasticIp } {
  const address = {
    allocationId: `eipalloc-0${randomBytes(8).toString("hex")}`,
    publicIp: `3.80.${randomInt(256)}.${randomInt(256)}`,
  };
  return { state: { ...before, addresses: [...before.addresses, address] }, address };
}

/** A public NAT gateway: it needs an Elastic IP address (API reference: CreateNatGateway). */
export function createNatGateway(
  before: Ec2State,
  { subnetId, allocationId }: Pick<NatGateway, "subnetId" | "allocationId">,
): { state: Ec2State; gateway: NatGateway } {
  const { vpcId } = findSubnet(before, subnetId);
  const { publicIp } = findAddress(before, allocationId);
  const natGatewayId = `nat-0${randomBytes(8).toString("hex")}`;
  const gateway = { natGatewayId, subnetId, vpcId, allocationId, publicIp };
  return { state: { ...before, natGateways: [...before.natGateways, gateway] }, gateway };
}

function findAddress({ addresses }: Ec2State, allocationId: string): ElasticIp {
  const address = addresses.find((one) => one.allocationId === allocationId);
  if (address) return address;
  throw new Ec2Error(
    "InvalidAllocationID.NotFound",
    `The allocation ID '${allocationId}' does not exist`,
  );
}
