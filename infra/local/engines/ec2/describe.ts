import type { Entry } from "./entry.ts";
import { Ec2Error, invalidValue } from "./errors.ts";
import { list, optionalInteger, optionalText, type Query, structures } from "./protocol.ts";
import type { NetworkAcl, PrefixList, Subnet, Vpc } from "./state.ts";
import type { Association } from "./subnets.ts";

/** The account that owns everything here. */
export const OWNER_ID = "123456789012";

/** An ACL as DescribeNetworkAcls shows it. */
export type ShownAcl = NetworkAcl & { readonly associations: readonly Association[] };

/** What a filter looks at: the values that a resource has under the filter's name. */
type Filters<Resource> = Readonly<Record<string, (resource: Resource) => readonly string[]>>;

const PROTOCOL_NAMES: Readonly<Record<string, string>> = { "1": "icmp", "6": "tcp", "17": "udp" };

/** The filters of DescribeNetworkAcls. */
export const ACL_FILTERS: Filters<ShownAcl> = {
  "association.association-id": ofAssociations((each) => each.networkAclAssociationId),
  "association.network-acl-id": ofAssociations((each) => each.networkAclId),
  "association.subnet-id": ofAssociations((each) => each.subnetId),
  default: (acl) => [`${acl.isDefault}`],
  "entry.cidr": ofEntries((entry) => entry.cidrBlock),
  "entry.egress": ofEntries((entry) => `${entry.egress}`),
  "entry.icmp.code": ofEntries((entry) => entry.icmpTypeCode?.code),
  "entry.icmp.type": ofEntries((entry) => entry.icmpTypeCode?.type),
  "entry.ipv6-cidr": ofEntries((entry) => entry.ipv6CidrBlock),
  "entry.port-range.from": ofEntries((entry) => entry.portRange?.from),
  "entry.port-range.to": ofEntries((entry) => entry.portRange?.to),
  "entry.protocol": (acl) =>
    acl.entries.flatMap(({ protocol }) => [protocol, PROTOCOL_NAMES[protocol] ?? []].flat()),
  "entry.rule-action": ofEntries((entry) => entry.ruleAction),
  "entry.rule-number": ofEntries((entry) => entry.ruleNumber),
  "network-acl-id": (acl) => [acl.networkAclId],
  "owner-id": () => [OWNER_ID],
  "tag-key": (acl) => acl.tags.map((tag) => tag.key),
  "vpc-id": (acl) => [acl.vpcId],
};

/** The filters of DescribeVpcs. */
export const VPC_FILTERS: Filters<Vpc> = {
  cidr: (vpc) => vpc.cidrBlocks.slice(0, 1),
  "cidr-block-association.cidr-block": (vpc) => vpc.cidrBlocks,
  "ipv6-cidr-block-association.ipv6-cidr-block": (vpc) => vpc.ipv6CidrBlocks,
  "is-default": () => ["false"],
  "owner-id": () => [OWNER_ID],
  state: () => ["available"],
  "tag-key": () => [],
  "vpc-id": (vpc) => [vpc.vpcId],
};

/** The filters of DescribeSubnets that have an answer here. */
export const SUBNET_FILTERS: Filters<Subnet> = {
  "cidr-block": (subnet) => [subnet.cidrBlock],
  "owner-id": () => [OWNER_ID],
  state: () => ["available"],
  "subnet-id": (subnet) => [subnet.subnetId],
  "tag-key": () => [],
  "vpc-id": (subnet) => [subnet.vpcId],
};

/** The filters of DescribeManagedPrefixLists. */
export const PREFIX_LIST_FILTERS: Filters<PrefixList> = {
  "owner-id": () => [OWNER_ID],
  "prefix-list-id": (prefixList) => [prefixList.prefixListId],
  "prefix-list-name": (prefixList) => [prefixList.name],
};

/**
 * The resources that match every filter of the request; a filter matches when any of its values
 * does, with `*` and `?` as wildcards ("Filtering", EC2 API reference: Filter).
 */
export function filtered<Resource>(
  query: Query,
  resources: readonly Resource[],
  filters: Filters<Resource>,
): Resource[] {
  const wanted = structures(query, "Filter").map((path) => {
    const name = query.get(`${path}.Name`) ?? "";
    if (!Object.hasOwn(filters, name)) {
      throw new Ec2Error("InvalidParameterValue", `The filter '${name}' is invalid`);
    }
    return { read: filters[name], patterns: list(query, `${path}.Value`).map(pattern) };
  });
  return resources.filter((resource) =>
    wanted.every(({ read, patterns }) =>
      read?.(resource).some((value) => patterns.some((regexp) => regexp.test(value))),
    ),
  );
}

/** One page: MaxResults is mostly 5 to 1000, NextToken goes on ("Pagination", EC2 Developer Guide). */
export function page<Item>(
  query: Query,
  items: readonly Item[],
  { least = 5, most = 1000 } = {},
): { items: readonly Item[]; nextToken?: string } {
  const size = optionalInteger(query, "MaxResults");
  if (size !== undefined && (size < least || size > most)) {
    throw invalidValue(`${size}`, "maxResults", `It must be from ${least} to ${most}.`);
  }
  const token = optionalText(query, "NextToken") ?? "0";
  if (!/^\d{1,9}$/.test(token)) throw invalidValue(token, "nextToken");
  const start = Number(token);
  const end = start + (size ?? items.length);
  const rest = end < items.length ? { nextToken: `${end}` } : {};
  return { items: items.slice(start, end), ...rest };
}

function ofAssociations(read: (association: Association) => string) {
  return (acl: ShownAcl): string[] => acl.associations.map(read);
}

function ofEntries(read: (entry: Entry) => string | number | undefined) {
  return (acl: NetworkAcl): string[] =>
    acl.entries.flatMap((entry) => {
      const value = read(entry);
      return value === undefined ? [] : [`${value}`];
    });
}

function pattern(value: string): RegExp {
  const source = value
    .replaceAll(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${source}$`, "s");
}
