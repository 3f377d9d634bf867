import type { Cidr, Family } from "../../domain/cidr.ts";
import type { EpochMillis, Millis, Seconds } from "../../domain/time.ts";
import type { Applied, Target, TargetChange } from "../target.ts";
import type { NetworkAcl, ShownAcl } from "./ec2.ts";
import { type Plan, plan } from "./plan.ts";
import { type AclRecord, aclRecord } from "./record.ts";
import {
  type AclEntry,
  ceilingOf,
  type Direction,
  inTurn,
  mayDeny,
  type NumberRange,
  type Slot,
  type Slots,
} from "./rules.ts";
import type { Change } from "./schedule.ts";

/** How a network ACL is to be used. */
export type NetworkAclSettings = {
  readonly id: string;
  readonly leastSeverity: number;
  readonly directions: readonly Direction[];
  /** Entries per family and direction. */
  readonly ruleLimit: number;
  readonly numbers: NumberRange;
  readonly maxInnocents: number;
  readonly margin: Millis;
};

/** One EC2 call on one of the two rule lists. */
export type AclChange = TargetChange &
  Omit<Change, "needs"> & {
    readonly direction: Direction;
    /** What an entry of our own may deny at the number before the call, by the record. */
    readonly ours: readonly Cidr[];
    /** The range recorded at the number was there, and no earlier allow let it in. */
    readonly wasDenied: boolean;
  };

/** Blocks that are read for each slot: enough for merging to fill the slots. */
export const CANDIDATES_PER_SLOT = 5;

/** How long a quota that EC2 enforced is assumed to hold: it may be raised. */
const LEARNT_LIMIT_LIFE: Seconds = 600;

/** The network ACL of a VPC as a target: one EC2 call for each entry that changes. */
export function createNetworkAclTarget(
  acl: NetworkAcl,
  settings: NetworkAclSettings,
): Target<AclRecord, ShownAcl, AclChange> {
  const { id, leastSeverity, margin, ruleLimit, directions } = settings;

  function limitsIn({ learntLimits }: AclRecord, direction: Direction, now: EpochMillis) {
    const limitOf = (family: Family) => {
      const learnt = learntLimits[quotaOf(direction, family)];
      const isBelieved = learnt && now - learnt.learntAt < LEARNT_LIMIT_LIFE * 1000;
      return isBelieved ? Math.min(ruleLimit, learnt.limit) : ruleLimit;
    };
    return { 4: limitOf(4), 6: limitOf(6) };
  }

  return {
    id,
    kind: "networkAcl",
    leastSeverity,
    margin,
    interval: 0,
    record: aclRecord,
    capacity: { ranges: ruleLimit, candidates: ruleLimit * CANDIDATES_PER_SLOT },

    async read() {
      const actual = await acl.describe();
      const ownRanges = await acl.vpcCidrs(actual.vpcId).catch((error: Error) => error);
      return { actual, ownRanges, isInUse: actual.subnets > 0 };
    },

    plan({ wanted, record, actual, neverBlock, spared, now }) {
      const planOf = (direction: Direction) =>
        plan({
          // A direction that is no longer configured wants nothing: our entries there are removed.
          wanted: directions.includes(direction) ? wanted : [],
          slots: record.slots[direction],
          actual: actual.entries[direction],
          limits: limitsIn(record, direction, now),
          numbers: settings.numbers,
          neverBlock,
          spared,
          maxInnocents: settings.maxInnocents,
          now,
        });
      const plans = { ingress: planOf("ingress"), egress: planOf("egress") };
      const { slots } = plans[directions[0] ?? "ingress"];
      const changesIn = (direction: Direction) =>
        changesOf(direction, plans[direction], record.slots[direction], actual.entries[direction]);
      return {
        record: { ...record, slots: { ingress: plans.ingress.slots, egress: plans.egress.slots } },
        changes: inTurn(changesIn("ingress"), changesIn("egress")),
        chosen: Object.values(slots).flatMap(({ cidr }) => cidr ?? []),
        isPartial: false,
        free: plans[directions[0] ?? "ingress"].free,
        shadowed: directions.flatMap((direction) => plans[direction].shadowed),
        foreign: plans.ingress.foreign.length + plans.egress.foreign.length,
        drifted: plans.ingress.drifted.length + plans.egress.drifted.length,
      };
    },

    apply: (change) => acl.apply(change.direction, change),

    settle: (planned, before, applied, now) => ({
      slots: settleSlots(planned.slots, before.slots, applied, now),
      learntLimits: { ...before.learntLimits, ...learn(before, applied, now) },
    }),

    assumeConfirmed(record, actual, confirmedAt) {
      const assumed = (slots: Slots) =>
        Object.fromEntries(
          Object.entries(slots).map(([number, { cidr }]) => [number, { cidr, confirmedAt }]),
        );
      const { ingress, egress } = record.slots;
      const slots = { ingress: assumed(ingress), egress: assumed(egress) };
      return { record: { ...record, slots }, actual };
    },

    describe: ({ direction, kind, ruleNumber, cidr, before }) => ({
      direction,
      kind,
      ruleNumber,
      cidr: cidr?.text,
      before: before?.text,
    }),
  };
}

const quotaOf = (direction: Direction, family: Family) => `${direction}/${family}`;

function changesOf(
  direction: Direction,
  { changes }: Plan,
  slots: Slots,
  actual: readonly AclEntry[],
): AclChange[] {
  const allows = actual.filter(({ kind }) => kind === "allow");
  const wasDenied = ({ ruleNumber, before }: Change) =>
    before !== null &&
    before.text === slots[ruleNumber]?.cidr?.text &&
    ruleNumber < ceilingOf(before, allows);
  const keyOf = (ruleNumber: number) => `${direction}/${ruleNumber}`;
  return changes.map(({ needs, ...change }) => ({
    ...change,
    direction,
    ours: mayDeny(slots[change.ruleNumber]),
    wasDenied: wasDenied({ needs, ...change }),
    key: keyOf(change.ruleNumber),
    needs: needs.map(keyOf),
    denies: change.cidr ? [change.cidr] : [],
    ...(change.cidr &&
      change.kind === "create" && { quota: quotaOf(direction, change.cidr.family) }),
  }));
}

/**
 * Our numbers once the changes have been tried. What EC2 confirmed is marked as such. What was certainly
 * not done is as it was before the plan, but unconfirmed if it no longer denied anything. What failed stays
 * as planned, unconfirmed: it may have been done.
 */
function settleSlots(
  planned: AclRecord["slots"],
  before: AclRecord["slots"],
  { done, notDone }: Applied<AclChange>,
  now: EpochMillis,
): AclRecord["slots"] {
  const slots: Record<Direction, Record<number, Slot>> = {
    ingress: { ...planned.ingress },
    egress: { ...planned.egress },
  };
  for (const { direction, ruleNumber, cidr } of done) {
    slots[direction][ruleNumber] = { ...slots[direction][ruleNumber], cidr, confirmedAt: now };
  }
  for (const { direction, ruleNumber, wasDenied } of notDone) {
    const slot = before[direction][ruleNumber];
    const hasChanged = slot?.cidr && slot.confirmedAt !== undefined && !wasDenied;
    if (hasChanged) slots[direction][ruleNumber] = { cidr: slot.cidr };
    else if (slot) slots[direction][ruleNumber] = slot;
    else delete slots[direction][ruleNumber];
  }
  return slots;
}

/** The limit of each quota that was met: the number of entries that we hold under it now. */
function learn(
  before: AclRecord,
  { done, quotasMet }: Applied<AclChange>,
  now: EpochMillis,
): AclRecord["learntLimits"] {
  const held = new Map<string, Cidr>();
  for (const direction of ["ingress", "egress"] as const) {
    for (const [number, { cidr, confirmedAt }] of Object.entries(before.slots[direction])) {
      if (cidr && confirmedAt !== undefined) held.set(`${direction}/${number}`, cidr);
    }
  }
  for (const { key, cidr } of done) {
    if (cidr) held.set(key, cidr);
    else held.delete(key);
  }
  const countOf = (quota: string) =>
    [...held].filter(
      ([key, { family }]) => quotaOf(key.split("/")[0] as Direction, family) === quota,
    ).length;
  return Object.fromEntries(
    [...quotasMet].map((quota) => [quota, { limit: countOf(quota), learntAt: now }]),
  );
}
