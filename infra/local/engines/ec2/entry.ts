import ipaddr from "ipaddr.js";
import { Ec2Error, invalidValue, missingParameter } from "./errors.ts";

/** One rule of a network ACL (API reference: NetworkAclEntry). */
export type Entry = {
  readonly ruleNumber: number;
  readonly egress: boolean;
  readonly protocol: string;
  readonly ruleAction: "allow" | "deny";
  readonly cidrBlock?: string;
  readonly ipv6CidrBlock?: string;
  readonly portRange?: { readonly from: number; readonly to: number };
  readonly icmpTypeCode?: { readonly type: number; readonly code: number };
};

/** Which rule: numbers are unique in an ACL per direction, across IPv4 and IPv6. */
export type EntryKey = Pick<Entry, "ruleNumber" | "egress">;

/** A rule as a request asks for it, unchecked. */
export type EntryDraft = EntryKey & {
  readonly protocol: string;
  readonly ruleAction: string;
  readonly cidrBlock: string | undefined;
  readonly ipv6CidrBlock: string | undefined;
  readonly portFrom: number | undefined;
  readonly portTo: number | undefined;
  readonly icmpType: number | undefined;
  readonly icmpCode: number | undefined;
};

const ICMP = "1";
const TCP = "6";
const UDP = "17";
const ICMPV6 = "58";

/**
 * Checks a rule and puts it in the form in which EC2 keeps it (API reference:
 * CreateNetworkAclEntry): CIDRs canonical; ports only for TCP and UDP, ICMP type and code only for
 * ICMP and for ICMPv6 with an IPv6 CIDR, each required there and ignored elsewhere.
 */
export function toEntry(draft: EntryDraft): Entry {
  checkRuleNumber(draft.ruleNumber);
  const { ruleNumber, egress, ruleAction } = draft;
  if (ruleAction !== "allow" && ruleAction !== "deny") {
    throw invalidValue(ruleAction, "ruleAction", "It must be allow or deny.");
  }
  const protocol = canonicalProtocol(draft.protocol);
  const entry: Entry = { ruleNumber, egress, protocol, ruleAction, ...cidrOf(draft) };
  if (protocol === TCP || protocol === UDP) return { ...entry, portRange: portRangeOf(draft) };
  const hasIcmp = protocol === ICMP || (protocol === ICMPV6 && entry.ipv6CidrBlock !== undefined);
  return hasIcmp ? { ...entry, icmpTypeCode: icmpTypeCodeOf(draft) } : entry;
}

/** 1 to 32766; 32767 and above are reserved (API reference: CreateNetworkAclEntry, RuleNumber). */
export function checkRuleNumber(ruleNumber: number): void {
  if (ruleNumber < 1 || ruleNumber > 32766) {
    throw invalidValue(`${ruleNumber}`, "ruleNumber", "It must be from 1 to 32766.");
  }
}

/** -1 or the number of an IP protocol; names are for the AWS CLI, which translates them. */
function canonicalProtocol(protocol: string): string {
  if (protocol === "-1") return protocol;
  if (/^\d{1,3}$/.test(protocol) && Number(protocol) <= 255) return `${Number(protocol)}`;
  throw new Ec2Error(
    "InvalidParameterValue",
    `Invalid value '${protocol}' for IP protocol. Unknown protocol.`,
  );
}

function cidrOf(draft: EntryDraft): Pick<Entry, "cidrBlock" | "ipv6CidrBlock"> {
  const { cidrBlock, ipv6CidrBlock } = draft;
  if (cidrBlock !== undefined && ipv6CidrBlock !== undefined) {
    throw new Ec2Error(
      "InvalidParameterCombination",
      "The parameters cidrBlock and ipv6CidrBlock cannot be used together",
    );
  }
  if (cidrBlock !== undefined) return { cidrBlock: canonicalIpv4(cidrBlock) };
  if (ipv6CidrBlock !== undefined) return { ipv6CidrBlock: canonicalIpv6(ipv6CidrBlock) };
  throw missingParameter("cidrBlock or ipv6CidrBlock");
}

/** 100.68.0.18/18 is kept as 100.68.0.0/18 (API reference: CreateNetworkAclEntry, CidrBlock). */
function canonicalIpv4(cidr: string): string {
  const [address = "", prefix = ""] = cidr.split(/\/(?=\d{1,2}$)/);
  if (!ipaddr.IPv4.isValidFourPartDecimal(address) || prefix === "" || Number(prefix) > 32) {
    throw malformedCidr(cidr);
  }
  return `${ipaddr.IPv4.networkAddressFromCIDR(cidr)}/${Number(prefix)}`;
}

function canonicalIpv6(cidr: string): string {
  const [address = "", prefix = ""] = cidr.split(/\/(?=\d{1,3}$)/);
  const valid = !address.includes("%") && ipaddr.IPv6.isValid(address);
  if (!valid || prefix === "" || Number(prefix) > 128) throw malformedCidr(cidr);
  return `${ipaddr.IPv6.networkAddressFromCIDR(cidr)}/${Number(prefix)}`;
}

function malformedCidr(cidr: string): Ec2Error {
  return new Ec2Error("InvalidParameterValue", `CIDR block ${cidr} is malformed`);
}

function portRangeOf(draft: EntryDraft): { from: number; to: number } {
  const { portFrom: from, portTo: to } = draft;
  if (from === undefined) throw missingParameter("portRange.from");
  if (to === undefined) throw missingParameter("portRange.to");
  if (from < 0 || to > 65535 || from > to) throw invalidValue(`${from}-${to}`, "portRange");
  return { from, to };
}

function icmpTypeCodeOf(draft: EntryDraft): { type: number; code: number } {
  const { icmpType: type, icmpCode: code } = draft;
  if (type === undefined) throw missingParameter("icmpTypeCode.type");
  if (code === undefined) throw missingParameter("icmpTypeCode.code");
  if (Math.min(type, code) < -1 || Math.max(type, code) > 255) {
    throw invalidValue(`${type}, ${code}`, "icmpTypeCode");
  }
  return { type, code };
}
