import {
  CreateNetworkAclEntryCommand,
  DeleteNetworkAclEntryCommand,
  DescribeNetworkAclsCommand,
  DescribeVpcsCommand,
  type EC2Client,
  EC2ServiceException,
  ReplaceNetworkAclEntryCommand,
} from "@aws-sdk/client-ec2";
import { parseCidr } from "../domain/cidr.ts";
import type { AclEntry, Change, Direction } from "../domain/plan.ts";

/** The ACL does not exist (any more): somebody replaced or deleted it. */
export class AclNotFoundError extends Error {
  override readonly name = "AclNotFoundError";
}

/** EC2's quota of entries per direction and family is used up. */
export class EntryLimitError extends Error {
  override readonly name = "EntryLimitError";
}

/** EC2 grants no further call for now, the SDK's retries included. */
export class ThrottledError extends Error {
  override readonly name = "ThrottledError";
}

export type NetworkAcl = {
  /** @throws AclNotFoundError, ThrottledError */
  describe(): Promise<{ vpcId: string; entries: Record<Direction, AclEntry[]> }>;
  /** The VPC's own ranges, both families. */
  vpcCidrs(vpcId: string): Promise<string[]>;
  /**
   * One EC2 call, made idempotent: what is already done counts as done.
   * @throws AclNotFoundError, EntryLimitError, ThrottledError
   */
  apply(direction: Direction, change: Change): Promise<void>;
};

/** Protocol number -1: all protocols, all ports. */
const ALL_PROTOCOLS = "-1";

/**
 * The network ACL behind EC2's API.
 *
 * @see https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
 */
export function createNetworkAcl(ec2: EC2Client, aclId: string): NetworkAcl {
  const create = (direction: Direction, ruleNumber: number, cidr: string) =>
    ec2.send(new CreateNetworkAclEntryCommand(denyAll(aclId, direction, ruleNumber, cidr)));
  const replace = (direction: Direction, ruleNumber: number, cidr: string) =>
    ec2.send(new ReplaceNetworkAclEntryCommand(denyAll(aclId, direction, ruleNumber, cidr)));
  const remove = (direction: Direction, ruleNumber: number) =>
    ec2.send(
      new DeleteNetworkAclEntryCommand({
        NetworkAclId: aclId,
        Egress: direction === "egress",
        RuleNumber: ruleNumber,
      }),
    );

  return {
    describe: () =>
      withNamedErrors(async () => {
        const { NetworkAcls } = await ec2.send(
          new DescribeNetworkAclsCommand({ NetworkAclIds: [aclId] }),
        );
        const acl = NetworkAcls?.[0];
        if (!acl?.VpcId) throw new AclNotFoundError(`The network ACL ${aclId} does not exist.`);
        const entries: Record<Direction, AclEntry[]> = { ingress: [], egress: [] };
        for (const entry of acl.Entries ?? []) {
          const cidr = entry.CidrBlock ?? entry.Ipv6CidrBlock;
          if (entry.RuleNumber === undefined || cidr === undefined) continue;
          entries[entry.Egress ? "egress" : "ingress"].push({
            ruleNumber: entry.RuleNumber,
            cidr: parseCidr(cidr).text,
            isPlainDeny: entry.RuleAction === "deny" && entry.Protocol === ALL_PROTOCOLS,
          });
        }
        return { vpcId: acl.VpcId, entries };
      }),

    vpcCidrs: (vpcId) =>
      withNamedErrors(async () => {
        const { Vpcs } = await ec2.send(new DescribeVpcsCommand({ VpcIds: [vpcId] }));
        return (Vpcs ?? []).flatMap((vpc) =>
          [
            vpc.CidrBlock,
            ...(vpc.CidrBlockAssociationSet ?? []).map(({ CidrBlock }) => CidrBlock),
            ...(vpc.Ipv6CidrBlockAssociationSet ?? []).map(({ Ipv6CidrBlock }) => Ipv6CidrBlock),
          ].filter((cidr) => cidr !== undefined),
        );
      }),

    apply: (direction, { kind, ruleNumber, cidr }) =>
      withNamedErrors(async () => {
        if (cidr === null) {
          await orElse("InvalidNetworkAclEntry.NotFound", remove(direction, ruleNumber), () => {});
        } else if (kind === "create") {
          await orElse("NetworkAclEntryAlreadyExists", create(direction, ruleNumber, cidr), () =>
            replace(direction, ruleNumber, cidr),
          );
        } else {
          await orElse(
            "InvalidNetworkAclEntry.NotFound",
            replace(direction, ruleNumber, cidr),
            () => create(direction, ruleNumber, cidr),
          );
        }
      }),
  };
}

function denyAll(aclId: string, direction: Direction, ruleNumber: number, cidr: string) {
  return {
    NetworkAclId: aclId,
    Egress: direction === "egress",
    RuleNumber: ruleNumber,
    RuleAction: "deny" as const,
    Protocol: ALL_PROTOCOLS,
    ...(parseCidr(cidr).family === 4 ? { CidrBlock: cidr } : { Ipv6CidrBlock: cidr }),
  };
}

/** Awaits the call; where EC2 answers with `code`, does `otherwise` instead. */
async function orElse(code: string, call: Promise<unknown>, otherwise: () => unknown) {
  try {
    await call;
  } catch (error) {
    if (!(error instanceof EC2ServiceException) || error.name !== code) throw error;
    await otherwise();
  }
}

async function withNamedErrors<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    if (!(cause instanceof EC2ServiceException)) throw cause;
    switch (cause.name) {
      case "InvalidNetworkAclID.NotFound":
        throw new AclNotFoundError(cause.message, { cause });
      case "NetworkAclEntryLimitExceeded":
        throw new EntryLimitError(cause.message, { cause });
      case "RequestLimitExceeded":
        throw new ThrottledError(cause.message, { cause });
      default:
        throw cause;
    }
  }
}
