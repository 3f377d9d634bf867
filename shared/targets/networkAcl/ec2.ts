import {
  CreateNetworkAclEntryCommand,
  DeleteNetworkAclEntryCommand,
  DescribeNetworkAclsCommand,
  DescribeVpcsCommand,
  type EC2Client,
  EC2ServiceException,
  type NetworkAclEntry,
  ReplaceNetworkAclEntryCommand,
} from "@aws-sdk/client-ec2";
import { type Cidr, parseCidr } from "../../domain/cidr.ts";
import {
  QuotaError,
  RefusedError,
  TakenError,
  TargetMissingError,
  ThrottledError,
} from "../target.ts";
import type { AclEntry, Direction } from "./rules.ts";
import type { Change } from "./schedule.ts";

/** An ACL as EC2 shows it. */
export type ShownAcl = {
  readonly vpcId: string;
  readonly entries: Readonly<Record<Direction, readonly AclEntry[]>>;
  /** How many subnets it is associated with. */
  readonly subnets: number;
};

/** One EC2 call, and what an entry of our own may deny at its number as long as it is not done. */
export type EntryChange = Pick<Change, "kind" | "ruleNumber" | "cidr"> & {
  readonly ours: readonly Cidr[];
};

export type NetworkAcl = {
  /** @throws TargetMissingError, ThrottledError, RefusedError */
  describe(): Promise<ShownAcl>;
  /** The VPC's own ranges, both families. */
  vpcCidrs(vpcId: string): Promise<string[]>;
  /**
   * Makes one idempotent EC2 call: what is already done counts as done.
   * @throws TargetMissingError, TakenError, QuotaError, ThrottledError, RefusedError
   */
  apply(direction: Direction, change: EntryChange): Promise<void>;
};

/** Protocol number -1: all protocols, all ports. */
const ALL_PROTOCOLS = "-1";

/**
 * The network ACL behind EC2's API.
 *
 * @see https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
 */
export function createNetworkAcl(ec2: EC2Client, aclId: string): NetworkAcl {
  const create = (
    direction: Direction,
    ruleNumber: number,
    cidr: Cidr,
    ours: EntryChange["ours"],
  ) =>
    orElse(
      "NetworkAclEntryAlreadyExists",
      ec2.send(new CreateNetworkAclEntryCommand(denyAll(aclId, direction, ruleNumber, cidr))),
      () => takeOver(direction, ruleNumber, cidr, ours),
    );
  const replace = (direction: Direction, ruleNumber: number, cidr: Cidr) =>
    ec2.send(new ReplaceNetworkAclEntryCommand(denyAll(aclId, direction, ruleNumber, cidr)));
  const remove = (direction: Direction, ruleNumber: number) =>
    ec2.send(
      new DeleteNetworkAclEntryCommand({
        NetworkAclId: aclId,
        Egress: direction === "egress",
        RuleNumber: ruleNumber,
      }),
    );

  /** Where the plan saw nothing, something stands: ours, whose answer was lost, or a person's. */
  async function takeOver(
    direction: Direction,
    ruleNumber: number,
    cidr: Cidr,
    ours: EntryChange["ours"],
  ): Promise<void> {
    // A refusal of this read is none of the create, which may have been done.
    const { entries } = await acl.describe().catch((cause) => {
      throw cause instanceof RefusedError
        ? new Error("EC2 does not show the ACL.", { cause })
        : cause;
    });
    const shown = entries[direction].find((entry) => entry.ruleNumber === ruleNumber);
    // Whose it is only a later read can tell: until then it may be ours, and stays on record.
    if (!shown) throw new Error(`EC2 does not show yet what stands at ${ruleNumber}.`);
    const isShown = ({ text }: Cidr) => shown.kind === "deny" && shown.cidr.text === text;
    if (isShown(cidr)) return;
    if (!ours.some(isShown)) throw new TakenError(`A person has used the number ${ruleNumber}.`);
    await replace(direction, ruleNumber, cidr);
  }

  const acl: NetworkAcl = {
    describe: () =>
      withNamedErrors(async () => {
        const { NetworkAcls } = await ec2.send(
          new DescribeNetworkAclsCommand({ NetworkAclIds: [aclId] }),
        );
        const found = NetworkAcls?.[0];
        if (!found?.VpcId) throw new TargetMissingError(`The network ACL ${aclId} does not exist.`);
        const entries: Record<Direction, AclEntry[]> = { ingress: [], egress: [] };
        for (const entry of found.Entries ?? []) {
          const cidr = entry.CidrBlock ?? entry.Ipv6CidrBlock;
          if (entry.RuleNumber === undefined || cidr === undefined) continue;
          entries[entry.Egress ? "egress" : "ingress"].push({
            ruleNumber: entry.RuleNumber,
            cidr: parseCidr(cidr),
            kind: kindOf(entry),
          });
        }
        return { vpcId: found.VpcId, entries, subnets: found.Associations?.length ?? 0 };
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

    apply: (direction, { kind, ruleNumber, cidr, ours }) =>
      withNamedErrors(async () => {
        if (cidr === null) {
          await orElse("InvalidNetworkAclEntry.NotFound", remove(direction, ruleNumber), () => {});
        } else if (kind === "create") {
          await create(direction, ruleNumber, cidr, ours);
        } else {
          await orElse(
            "InvalidNetworkAclEntry.NotFound",
            replace(direction, ruleNumber, cidr),
            () => create(direction, ruleNumber, cidr, ours),
          );
        }
      }),
  };
  return acl;
}

function kindOf({ RuleAction, Protocol }: NetworkAclEntry): AclEntry["kind"] {
  if (RuleAction === "allow") return "allow";
  return Protocol === ALL_PROTOCOLS ? "deny" : "partial deny";
}

function denyAll(aclId: string, direction: Direction, ruleNumber: number, cidr: Cidr) {
  return {
    NetworkAclId: aclId,
    Egress: direction === "egress",
    RuleNumber: ruleNumber,
    RuleAction: "deny" as const,
    Protocol: ALL_PROTOCOLS,
    ...(cidr.family === 4 ? { CidrBlock: cidr.text } : { Ipv6CidrBlock: cidr.text }),
  };
}

/** Awaits the call; if EC2 answers with `code`, does `otherwise` instead. */
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
        throw new TargetMissingError(cause.message, { cause });
      case "NetworkAclEntryLimitExceeded":
        throw new QuotaError(cause.message, { cause });
      case "RequestLimitExceeded":
        throw new ThrottledError(cause.message, { cause });
      default: {
        // A 4xx call certainly had no effect; after a 5xx or a lost answer it may have had one.
        const status = cause.$metadata.httpStatusCode ?? 500;
        if (status >= 500) throw cause;
        throw new RefusedError(cause.name, FORBIDDEN.has(cause.name), cause);
      }
    }
  }
}

/**
 * Error codes that say that the caller may not make such calls at all.
 *
 * @see https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
 */
const FORBIDDEN = new Set([
  "UnauthorizedOperation",
  "AuthFailure",
  "Blocked",
  "OptInRequired",
  "PendingVerification",
]);
