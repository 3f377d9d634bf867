import { isIPv4, isIPv6 } from "node:net";
import ipaddr from "ipaddr.js";
import { invalidParameter } from "./errors.ts";

/** The family of an IP set: a set has one only. */
export type IpAddressVersion = "IPV4" | "IPV6";

const MALFORMED = "The parameter contains formatting that is not valid.";
const DUPLICATE = "The parameter contains a value more than once.";

/**
 * Checks the addresses of a set and puts them in the form in which WAF answers them.
 *
 * - CIDR notation only, every prefix length but /0 (API reference: CreateIPSet, Addresses;
 *   0.0.0.0/0 is refused in aws-samples/dcv-web-portal#10).
 * - The network's own address: host bits are refused (aws/aws-cdk#20003, reported for IPv4; that
 *   IPv6 is refused likewise is an assumption).
 * - IPv6 is written out in full, lower case with leading zeros: `2001:db8::/32` comes back as
 *   `2001:0db8:0000:0000:0000:0000:0000:0000/32` (aws-amplify/amplify-hosting#36, seen on the
 *   console; hashicorp/terraform-provider-aws#31178 compares CIDRs by value for this reason).
 * - No range twice, in whatever spelling. AWS does not document this case; it is refused here, the
 *   stricter choice.
 */
export function storedAddresses(
  addresses: readonly string[],
  version: IpAddressVersion,
): readonly string[] {
  const stored = new Set<string>();
  for (const address of addresses) {
    const form = storedForm(address, version);
    if (form === undefined) throw invalidParameter("IP_ADDRESS", address, MALFORMED);
    if (stored.has(form)) throw invalidParameter("IP_ADDRESS", address, DUPLICATE);
    stored.add(form);
  }
  return [...stored];
}

/** One range as WAF answers it, or undefined if WAF does not accept it. */
function storedForm(address: string, version: IpAddressVersion): string | undefined {
  const [, ip = "", prefix = ""] = /^([^/%]+)\/([1-9]\d{0,2})$/.exec(address) ?? [];
  if (version === "IPV4") {
    if (!isIPv4(ip) || Number(prefix) > 32) return undefined;
    const network = ipaddr.IPv4.networkAddressFromCIDR(address).toString();
    return network === ip ? address : undefined;
  }
  if (!isIPv6(ip) || Number(prefix) > 128) return undefined;
  const network = inFull(ipaddr.IPv6.networkAddressFromCIDR(address));
  return network === inFull(ipaddr.IPv6.parse(ip)) ? `${network}/${prefix}` : undefined;
}

function inFull({ parts }: ipaddr.IPv6): string {
  return parts.map((part) => part.toString(16).padStart(4, "0")).join(":");
}
