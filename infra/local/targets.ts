import { DescribeNetworkAclsCommand, type EC2Client } from "@aws-sdk/client-ec2";
import {
  CreateIPSetCommand,
  type IPAddressVersion,
  ListIPSetsCommand,
  type WAFV2Client,
} from "@aws-sdk/client-wafv2";
import { SetupError } from "./errors.ts";

/** A place that denies: a network ACL by its id, or a pair of WAF IP sets by its name. */
export type Target = { id: string; kind: "networkAcl" | "wafIpSet" };

/** The description of an IP set that Portcullis may write to. */
const MANAGED = "Managed by Portcullis";

/** Creates the ACLs that the emulator lacks, like default ACLs and each with a subnet of its own. */
export async function provideAcls(ec2Url: string, aclIds: readonly string[]): Promise<void> {
  for (const networkAclId of aclIds) {
    const answer = await control(ec2Url, { createAcl: { networkAclId, allowAll: true } });
    if (!answer.ok) throw new SetupError(`ACL_ID: ${networkAclId} is not the id of an ACL.`);
  }
}

/** The local VPC's default ACL, which the emulator starts with. */
export async function defaultAcl(ec2: EC2Client): Promise<string> {
  const { NetworkAcls = [] } = await ec2.send(new DescribeNetworkAclsCommand({}));
  const id = NetworkAcls.find(({ IsDefault }) => IsDefault)?.NetworkAclId;
  if (!id) throw new SetupError("There is no default network ACL: name one with ACL_ID.");
  return id;
}

/** Creates the IP sets that the emulator lacks: `<name>-v4` and `<name>-v6` of each pair, regional. */
export async function provideIpSets(
  wafv2: WAFV2Client,
  wafv2Url: string,
  pairs: readonly string[],
): Promise<void> {
  if (pairs.length === 0) return;
  const there = await ipSetNames(wafv2);
  const missing = pairs.flatMap(ipSetsOf).filter(({ name }) => !there.has(name));
  if (missing.length === 0) return;
  // WAF grants one creation a second.
  await control(wafv2Url, { throttle: false });
  for (const { name, version } of missing) {
    await wafv2.send(
      new CreateIPSetCommand({
        Name: name,
        Scope: "REGIONAL",
        Description: MANAGED,
        IPAddressVersion: version,
        Addresses: [],
      }),
    );
  }
  await control(wafv2Url, { throttle: true });
}

const ipSetsOf = (pair: string): { name: string; version: IPAddressVersion }[] => [
  { name: `${pair}-v4`, version: "IPV4" },
  { name: `${pair}-v6`, version: "IPV6" },
];

async function ipSetNames(wafv2: WAFV2Client): Promise<ReadonlySet<string>> {
  const names = new Set<string>();
  let NextMarker: string | undefined;
  do {
    const page = await wafv2.send(
      new ListIPSetsCommand({ Scope: "REGIONAL", Limit: 100, ...(NextMarker && { NextMarker }) }),
    );
    for (const { Name } of page.IPSets ?? []) names.add(String(Name));
    NextMarker = page.IPSets?.length ? page.NextMarker : undefined;
  } while (NextMarker);
  return names;
}

const control = (engineUrl: string, body: object): Promise<Response> =>
  fetch(new URL("/_control", engineUrl), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(10_000),
  });
