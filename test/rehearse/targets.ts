import {
  CreateNetworkAclEntryCommand,
  CreateSubnetCommand,
  CreateVpcCommand,
  DescribeNetworkAclsCommand,
  EC2Client,
} from "@aws-sdk/client-ec2";
import {
  CreateIPSetCommand,
  GetIPSetCommand,
  ListIPSetsCommand,
  WAFV2Client,
} from "@aws-sdk/client-wafv2";
import { OURS } from "../../shared/targets/wafIpSet/wafv2.ts";
import type { Config } from "./account.ts";

/** What a stage guards, as its owner has made it: a VPC with a subnet and its ACL, and a pair of IP sets. */
export type Guarded = {
  readonly aclId: string;
  readonly ipSets: string;
  /** All of the ACL's entries and of the sets' addresses, byte for byte. */
  described(): Promise<string>;
  destroy(): void;
};

const Scope = "REGIONAL";

/** Makes them, with rules of the owner's among ours. */
export async function makeTargets(config: Config, ipSets: string): Promise<Guarded> {
  const ec2 = new EC2Client(config);
  const waf = new WAFV2Client(config);
  const { Vpc } = await ec2.send(new CreateVpcCommand({ CidrBlock: "10.20.0.0/16" }));
  const VpcId = Vpc?.VpcId ?? "";
  await ec2.send(new CreateSubnetCommand({ VpcId, CidrBlock: "10.20.0.0/24" }));
  const acls = () =>
    ec2.send(new DescribeNetworkAclsCommand({ Filters: [{ Name: "vpc-id", Values: [VpcId] }] }));
  const aclId = (await acls()).NetworkAcls?.[0]?.NetworkAclId ?? "";
  await ec2.send(
    new CreateNetworkAclEntryCommand({
      ...{ NetworkAclId: aclId, Egress: false, RuleNumber: 50, Protocol: "-1" },
      ...{ RuleAction: "deny", CidrBlock: "198.51.100.7/32" },
    }),
  );
  for (const [version, IPAddressVersion] of [
    ["v4", "IPV4"],
    ["v6", "IPV6"],
  ] as const) {
    const Addresses = version === "v4" ? ["198.51.100.7/32"] : [];
    const Name = `${ipSets}-${version}`;
    const set = { Name, Scope, IPAddressVersion, Addresses, Description: OURS } as const;
    await waf.send(new CreateIPSetCommand(set));
  }
  return {
    aclId,
    ipSets,
    async described() {
      const { IPSets = [] } = await waf.send(new ListIPSetsCommand({ Scope }));
      const sets = IPSets.map(({ Name, Id }) => waf.send(new GetIPSetCommand({ Name, Id, Scope })));
      // Every update changes the lock token, and the order of the addresses is WAF's own.
      const addresses = (await Promise.all(sets)).map(({ IPSet }) => ({
        ...IPSet,
        Addresses: IPSet?.Addresses?.toSorted(),
      }));
      return JSON.stringify([(await acls()).NetworkAcls, addresses]);
    },
    destroy() {
      ec2.destroy();
      waf.destroy();
    },
  };
}
