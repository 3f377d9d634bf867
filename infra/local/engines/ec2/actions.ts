import { randomBytes } from "node:crypto";
import type { Ec2State, NetworkAcl, Vpc } from "./acls.ts";
import {
  createAcl,
  createEntry,
  deleteAcl,
  deleteEntry,
  findAcl,
  findVpc,
  replaceEntry,
} from "./acls.ts";
import { ACL_FILTERS, filtered, OWNER_ID, page, VPC_FILTERS } from "./describe.ts";
import { checkRuleNumber, type Entry, toEntry } from "./entry.ts";
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

/** What an action may know besides the state. */
export type Settings = { readonly quota: number; readonly region: string };

/** What an action does: its answer and, if it is a mutation, the state after it. */
export type Outcome = {
  readonly answer: Readonly<Record<string, XmlValue>>;
  readonly state?: Ec2State;
};

type Action = (query: Query, state: Ec2State, settings: Settings) => Outcome;

const DONE = { return: true };

/** Each action reads its parameters, makes one call, shapes the answer. */
const actions: Readonly<Record<string, Action>> = {
  DescribeNetworkAcls(query, state) {
    const ids = list(query, "NetworkAclId");
    const acls = ids.length > 0 ? ids.map((id) => findAcl(state, id)) : state.acls;
    const { items, nextToken } = page(query, filtered(query, acls, ACL_FILTERS));
    return { answer: { networkAclSet: itemsXml(items, aclXml), nextToken } };
  },

  DescribeVpcs(query, state, { region }) {
    const ids = list(query, "VpcId");
    const vpcs = ids.length > 0 ? ids.map((id) => findVpc(state, id)) : state.vpcs;
    const { items, nextToken } = page(query, filtered(query, vpcs, VPC_FILTERS));
    return { answer: { vpcSet: itemsXml(items, (vpc) => vpcXml(vpc, region)), nextToken } };
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
    return { state, answer: { networkAcl: aclXml(acl), clientToken } };
  },

  DeleteNetworkAcl(query, state) {
    return { state: deleteAcl(state, text(query, "NetworkAclId")), answer: DONE };
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

function itemsXml<Item>(items: readonly Item[], toXml: (item: Item) => XmlValue): XmlValue {
  return { item: items.map(toXml) };
}

function aclXml(acl: NetworkAcl): XmlValue {
  return {
    networkAclId: acl.networkAclId,
    vpcId: acl.vpcId,
    default: acl.isDefault,
    entrySet: itemsXml(acl.entries, (entry) => ({ ...entry })),
    associationSet: "",
    tagSet: itemsXml(acl.tags, (tag) => ({ ...tag })),
    ownerId: OWNER_ID,
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
