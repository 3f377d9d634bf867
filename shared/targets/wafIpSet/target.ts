import { type Cidr, type Family, parseCidr } from "../../domain/cidr.ts";
import type { Millis } from "../../domain/time.ts";
import type { Target } from "../target.ts";
import { familyOf, MAX_ADDRESSES, plan, type SetChange, type ShownSets, settle } from "./plan.ts";
import { type WafRecord, wafRecord } from "./record.ts";
import type { IpSets } from "./wafv2.ts";

type Shown = ShownSets & { readonly lockTokens: { readonly 4: string; readonly 6: string } };

/** How many blocks are read beyond the room, so that some are seen to wait. */
const BEYOND = 100;

/** WAF grants five reads of sets a second per account and region, and each pair takes two. */
const READ_EVERY: Millis = 1_000;

/**
 * A pair of WAF IP sets, `<name>-v4` and `<name>-v6`, as a target: each is replaced as a whole, under its
 * lock token. A swap costs no call of its own, so no block holds its place against a stronger one.
 */
export function createWafIpSetTarget(
  sets: IpSets,
  { id, leastSeverity }: { readonly id: string; readonly leastSeverity: number },
): Target<WafRecord, Shown, SetChange> {
  const nameOf = (family: Cidr["family"]) => `${id}-v${family}`;
  return {
    id,
    kind: "wafIpSet",
    leastSeverity,
    margin: 0,
    interval: READ_EVERY,
    record: wafRecord,
    capacity: { ranges: MAX_ADDRESSES, candidates: MAX_ADDRESSES + BEYOND },

    async read() {
      const [four, six] = await Promise.all([sets.read(nameOf(4)), sets.read(nameOf(6))]);
      const lockTokens = { 4: four.lockToken, 6: six.lockToken };
      const actual = { 4: four.addresses, 6: six.addresses, lockTokens };
      return { actual, ownRanges: [], isInUse: true };
    },

    plan,

    apply: ({ family, addresses }, { lockTokens }) =>
      sets.update(nameOf(family), addresses, lockTokens[family]),

    settle: (planned, before, applied) => settle(planned, before, applied),
    assumeConfirmed({ ours }, actual) {
      const assumed = (family: Family) => {
        const shown = new Set(actual[family].map(({ text }) => text));
        const missing = [...ours].filter((text) => familyOf(text) === family && !shown.has(text));
        return [...actual[family], ...missing.map(parseCidr)];
      };
      return {
        record: { ours, confirmed: ours },
        actual: { ...actual, 4: assumed(4), 6: assumed(6) },
      };
    },

    describe: ({ family, comes, leaves, addresses }) => ({
      set: nameOf(family),
      comes,
      leaves,
      addresses: addresses.length,
    }),
  };
}
