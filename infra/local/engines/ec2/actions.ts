import { randomBytes } from "node:crypto";
import { createAcl, createEntry, deleteAcl, deleteEntry, replaceEntry } from "./acls.ts";
import { allocateAddress, createNatGateway } from "./addresses.ts";
import {
  ACL_FILTERS,
  filtered,
  OWNER_ID,
  PREFIX_LIST_FILTERS,
  page,
  type ShownAcl,
  SUBNET_FILTERS,
  VPC_FILTERS,
} from "./describe.ts";
import { checkRuleNumber, type Entry, toEntry } from "./entry.ts";
import {
  createPrefixList,
  deletePrefixList,
  findPrefixList,
  modifyPrefixList,
} from "./prefixLists.ts";
import {
  boolean,
  integer,
  list,
  optionalInteger,
  optionalText,
  type Query,
  structures,
  text,
  type XmlValue,
} from "./protocol.ts";
import {
  type Ec2State,
  type ElasticIp,
  findAcl,
  findVpc,
  type NatGateway,
  type NetworkAcl,
  type PrefixList,
  type Subnet,
  type Vpc,
} from "./state.ts";
import { associationsOf, findSubnet, replaceAssociation } from "./subnets.ts";

/** What an action may know besides the state. */
export type Settings = { readonly quota: number; readonly region: string };

/** What an action does: its answer and, if it is a mutation, the state after it. */
export type Outcome = {
  readonly answer: Readonly<Record<string, XmlValue>>;
  readonly state?: Ec2State;
};

type Action = (query: Query, state: Ec2State, settings: Settings) => Outcome;

const DONE = { return: true };

/** Prefix lists and their entries are answered by 100 (API reference). */
const BY_HUNDRED = { least: 1, most: 100 };

/** Each action reads its parameters, makes one call, shapes the answer. */
const actions: Readonly<Record<string, Action>> = {
  DescribeNetworkAcls(query, state) {
    const ids = list(query, "NetworkAclId");
    const found = ids.length > 0 ? ids.map((id) => findAcl(state, id)) : state.acls;
    const acls = found.map((acl) => shown(acl, state));
    const { items, nextToken } = page(query, filtered(query, acls, ACL_FILTERS));
    return { answer: { networkAclSet: itemsXml(items, aclXml), nextToken } };
  },

  DescribeVpcs(query, state, { region }) {
    const ids = list(query, "VpcId");
    const vpcs = ids.length > 0 ? ids.map((id) => findVpc(state, id)) : state.vpcs;
    const { items, nextToken } = page(query, filtered(query, vpcs, VPC_FILTERS));
    return { answer: { vpcSet: itemsXml(items, (vpc) => vpcXml(vpc, region)), nextToken } };
  },

  DescribeSubnets(query, state, { region }) {
    const ids = list(query, "SubnetId");
    const subnets = ids.length > 0 ? ids.map((id) => findSubnet(state, id)) : state.subnets;
    const { items, nextToken } = page(query, filtered(query, subnets, SUBNET_FILTERS));
    const subnetSet = itemsXml(items, (subnet) => subnetXml(subnet, region));
    return { answer: { subnetSet, nextToken } };
  },

  AllocateAddress(_query, before) {
    const { state, address } = allocateAddress(before);
    return { state, answer: addressXml(address) };
  },

  DescribeAddresses(query, { addresses }) {
    const ids = list(query, "AllocationId");
    const found = addresses.filter(
      ({ allocationId }) => ids.length === 0 || ids.includes(allocationId),
    );
    return { answer: { addressesSet: itemsXml(found, addressXml) } };
  },

  CreateNatGateway(query, before) {
    const { state, gateway } = createNatGateway(before, {
      subnetId: text(query, "SubnetId"),
      allocationId: text(query, "AllocationId"),
    });
    return { state, answer: { natGateway: natGatewayXml(gateway) } };
  },

  DescribeNatGateways(query, { natGateways }) {
    const { items, nextToken } = page(query, natGateways);
    return { answer: { natGatewaySet: itemsXml(items, natGatewayXml), nextToken } };
  },

  CreateManagedPrefixList(query, before, { region }) {
    const { state, prefixList } = createPrefixList(before, {
      name: text(query, "PrefixListName"),
      addressFamily: text(query, "AddressFamily"),
      maxEntries: integer(query, "MaxEntries"),
      entries: readEntries(query, "Entry"),
    });
    return { state, answer: { prefixList: prefixListXml(prefixList, region) } };
  },

  ModifyManagedPrefixList(query, before, { region }) {
    const { state, prefixList } = modifyPrefixList(before, text(query, "PrefixListId"), {
      add: readEntries(query, "AddEntry"),
      remove: readEntries(query, "RemoveEntry").map(({ cidr }) => cidr),
      version: integer(query, "CurrentVersion"),
    });
    return { state, answer: { prefixList: prefixListXml(prefixList, region) } };
  },

  DeleteManagedPrefixList(query, before, { region }) {
    const { state, prefixList } = deletePrefixList(before, text(query, "PrefixListId"));
    return { state, answer: { prefixList: prefixListXml(prefixList, region) } };
  },

  DescribeManagedPrefixLists(query, state, { region }) {
    const ids = list(query, "PrefixListId");
    const found = ids.length > 0 ? ids.map((id) => findPrefixList(state, id)) : state.prefixLists;
    const wanted = filtered(query, found, PREFIX_LIST_FILTERS);
    const { items, nextToken } = page(query, wanted, BY_HUNDRED);
    const prefixListSet = itemsXml(items, (prefixList) => prefixListXml(prefixList, region));
    return { answer: { prefixListSet, nextToken } };
  },

  GetManagedPrefixListEntries(query, state) {
    const { entries } = findPrefixList(state, text(query, "PrefixListId"));
    const { items, nextToken } = page(query, entries, BY_HUNDRED);
    return { answer: { entrySet: itemsXml(items, (entry) => ({ ...entry })), nextToken } };
  },

  CreateNetworkAcl(query, before) {
    const clientToken = optionalText(query, "ClientToken");
    const { state, acl } = createAcl(before, {
      networkAclId: `acl-0${randomBytes(8).toString("hex")}`,
      vpcId: text(query, "VpcId"),
      tags: structures(query, "TagSpecification")
        .flatMap((path) => structures(query, `${path}.Tag`))
        .map((path) => ({
          key: text(query, `${path}.Key`),
          value: optionalText(query, `${path}.Value`) ?? "",
        })),
      ...(clientToken === undefined ? {} : { clientToken }),
    });
    return { state, answer: { networkAcl: aclXml(shown(acl, state)), clientToken } };
  },

  DeleteNetworkAcl(query, state) {
    return { state: deleteAcl(state, text(query, "NetworkAclId")), answer: DONE };
  },

  ReplaceNetworkAclAssociation(query, before) {
    const { state, newAssociationId } = replaceAssociation(before, {
      networkAclAssociationId: text(query, "AssociationId"),
      networkAclId: text(query, "NetworkAclId"),
    });
    return { state, answer: { newAssociationId } };
  },

  CreateNetworkAclEntry(query, state, { quota }) {
    const id = text(query, "NetworkAclId");
    return { state: createEntry(state, id, readEntry(query), quota), answer: DONE };
  },

  ReplaceNetworkAclEntry(query, state, { quota }) {
    const id = text(query, "NetworkAclId");
    return { state: replaceEntry(state, id, readEntry(query), quota), answer: DONE };
  },

  DeleteNetworkAclEntry(query, state) {
    const id = text(query, "NetworkAclId");
    const key = { ruleNumber: integer(query, "RuleNumber"), egress: boolean(query, "Egress") };
    checkRuleNumber(key.ruleNumber);
    return { state: deleteEntry(state, id, key), answer: DONE };
  },
};

/** The action with this name, if EC2's emulator has it. */
export function findAction(name: string): Action | undefined {
  return Object.hasOwn(actions, name) ? actions[name] : undefined;
}

function readEntry(query: Query): Entry {
  return toEntry({
    ruleNumber: integer(query, "RuleNumber"),
    egress: boolean(query, "Egress"),
    protocol: text(query, "Protocol"),
    ruleAction: text(query, "RuleAction"),
    cidrBlock: optionalText(query, "CidrBlock"),
    ipv6CidrBlock: optionalText(query, "Ipv6CidrBlock"),
    portFrom: optionalInteger(query, "PortRange.From"),
    portTo: optionalInteger(query, "PortRange.To"),
    icmpType: optionalInteger(query, "Icmp.Type"),
    icmpCode: optionalInteger(query, "Icmp.Code"),
  });
}

function readEntries(query: Query, name: string): PrefixList["entries"] {
  return structures(query, name).map((path) => {
    const description = optionalText(query, `${path}.Description`);
    return { cidr: text(query, `${path}.Cidr`), ...(description !== undefined && { description }) };
  });
}

function itemsXml<Item>(items: readonly Item[], toXml: (item: Item) => XmlValue): XmlValue {
  return { item: items.map(toXml) };
}

function shown(acl: NetworkAcl, state: Ec2State): ShownAcl {
  return { ...acl, associations: associationsOf(state, acl) };
}

function aclXml(acl: ShownAcl): XmlValue {
  return {
    networkAclId: acl.networkAclId,
    vpcId: acl.vpcId,
    default: acl.isDefault,
    entrySet: itemsXml(acl.entries, (entry) => ({ ...entry })),
    associationSet: itemsXml(
      acl.associations,
      ({ networkAclAssociationId, networkAclId, subnetId }) => ({
        networkAclAssociationId,
        networkAclId,
        subnetId,
      }),
    ),
    tagSet: itemsXml(acl.tags, (tag) => ({ ...tag })),
    ownerId: OWNER_ID,
  };
}

function addressXml({ allocationId, publicIp }: ElasticIp): Record<string, XmlValue> {
  return { publicIp, allocationId, domain: "vpc" };
}

function natGatewayXml(gateway: NatGateway): XmlValue {
  const { natGatewayId, subnetId, vpcId, allocationId, publicIp } = gateway;
  return {
    natGatewayId,
    subnetId,
    vpcId,
    state: "available",
    connectivityType: "public",
    natGatewayAddressSet: itemsXml([{ allocationId, publicIp }], (address) => address),
    tagSet: "",
  };
}

function prefixListXml(prefixList: PrefixList, region: string): XmlValue {
  const { prefixListId, name, addressFamily, maxEntries, state, version } = prefixList;
  return {
    prefixListId,
    prefixListName: name,
    prefixListArn: `arn:aws:ec2:${region}:${OWNER_ID}:prefix-list/${prefixListId}`,
    addressFamily,
    maxEntries,
    state,
    version,
    ownerId: OWNER_ID,
    tagSet: "",
  };
}

function subnetXml({ subnetId, vpcId, cidrBlock }: Subnet, region: string): XmlValue {
  return {
    subnetId,
    subnetArn: `arn:aws:ec2:${region}:${OWNER_ID}:subnet/${subnetId}`,
    state: "available",
    ownerId: OWNER_ID,
    vpcId,
    cidrBlock,
    ipv6CidrBlockAssociationSet: "",
    assignIpv6AddressOnCreation: false,
    availableIpAddressCount: 251,
    availabilityZone: `${region}a`,
    defaultForAz: false,
    mapPublicIpOnLaunch: false,
    tagSet: "",
  };
}

function vpcXml(vpc: Vpc, region: string): XmlValue {
  const associated = { state: "associated" };
  const suffix = vpc.vpcId.slice("vpc-".length, -1);
  return {
    vpcId: vpc.vpcId,
    ownerId: OWNER_ID,
    state: "available",
    cidrBlock: vpc.cidrBlocks[0],
    cidrBlockAssociationSet: {
      item: vpc.cidrBlocks.map((cidrBlock, index) => ({
        associationId: `vpc-cidr-assoc-${suffix}${index}`,
        cidrBlock,
        cidrBlockState: associated,
      })),
    },
    ipv6CidrBlockAssociationSet: {
      item: vpc.ipv6CidrBlocks.map((ipv6CidrBlock, index) => ({
        associationId: `vpc-cidr-assoc-${suffix}${vpc.cidrBlocks.length + index}`,
        ipv6CidrBlock,
        ipv6CidrBlockState: associated,
        networkBorderGroup: region,
        ipv6Pool: "Amazon",
      })),
    },
    dhcpOptionsId: "default",
    instanceTenancy: "default",
    isDefault: false,
    tagSet: "",
  };
}
