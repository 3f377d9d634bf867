import { DescribeNetworkAclsCommand, EC2Client } from "@aws-sdk/client-ec2";
import { dummyCredentials } from "../clients.ts";
import type { Stack } from "../cloud.ts";
import { messageOf, SetupError } from "../errors.ts";
import type { Entry } from "./ledger.ts";

/** Reads the entries of the stack's network ACL, as anyone who may describe it could. @throws SetupError */
export function createAclReader({ endpoints, region, aclId }: Stack): () => Promise<Entry[]> {
  const dummy = dummyCredentials(process.env);
  const ec2 = new EC2Client({
    endpoint: endpoints.ec2,
    region,
    ...(dummy && {
      credentials: {
        accessKeyId: dummy.AWS_ACCESS_KEY_ID,
        secretAccessKey: dummy.AWS_SECRET_ACCESS_KEY,
      },
    }),
  });
  return async () => {
    const { NetworkAcls = [] } = await ec2
      .send(new DescribeNetworkAclsCommand({ NetworkAclIds: [aclId] }))
      .catch((error: unknown) => {
        throw new SetupError(`The network ACL cannot be read: ${messageOf(error)}`);
      });
    const entries = NetworkAcls.flatMap((acl) => acl.Entries ?? []);
    return entries.map((entry) => {
      const { Egress, RuleNumber: ruleNumber = 0, RuleAction, Protocol } = entry;
      const cidr = entry.CidrBlock ?? entry.Ipv6CidrBlock ?? "";
      return {
        ruleNumber,
        cidr,
        isBlock: !Egress && RuleAction === "deny" && Protocol === "-1",
        text: `${Egress ? "outbound" : "inbound"} rule ${ruleNumber}: ${RuleAction} ${cidr}`,
      };
    });
  };
}
