import * as v from "valibot";
import { cidr } from "../../aws/schemas.ts";
import type { EpochMillis } from "../../domain/time.ts";
import type { Entry, RecordOf } from "../target.ts";
import { type AclEntry, DIRECTIONS, type Direction, type Slots } from "./rules.ts";

/** What is recorded for an ACL: our rule numbers in it, and the quotas that were met. */
export type AclRecord = {
  readonly slots: Readonly<Record<Direction, Slots>>;
  /** By direction and family (`ingress/4`). */
  readonly learntLimits: Readonly<Record<string, { limit: number; learntAt: EpochMillis }>>;
};

const empty: AclRecord = { slots: { ingress: {}, egress: {} }, learntLimits: {} };

const slots = v.record(
  v.pipe(v.string(), v.transform(Number)),
  v.object({
    cidr: v.nullable(cidr),
    confirmedAt: v.exactOptional(v.number()),
    was: v.exactOptional(v.array(cidr)),
  }),
);

const schema: v.GenericSchema<unknown, AclRecord> = v.object({
  slots: v.object({ ingress: slots, egress: slots }),
  // Learnt limits are only advice: they must not stop the enforcer if they cannot be read.
  learntLimits: v.fallback(
    v.record(v.string(), v.object({ limit: v.number(), learntAt: v.number() })),
    {},
  ),
});

/** The record as the table holds it: plain JSON. */
function stored({ slots, learntLimits }: AclRecord): object {
  const storedSlots = (list: Slots) =>
    Object.fromEntries(
      Object.entries(list).map(([number, { cidr, was, ...rest }]) => [
        number,
        {
          ...rest,
          cidr: cidr?.text ?? null,
          ...(was && { was: was.map(({ text }) => text) }),
        },
      ]),
    );
  return {
    slots: { ingress: storedSlots(slots.ingress), egress: storedSlots(slots.egress) },
    learntLimits,
  };
}

/** The entries that EC2 has confirmed: inbound, or outbound if there are none inbound. */
function entries({ slots }: AclRecord): Entry[] {
  const confirmed = (list: Slots) =>
    Object.entries(list).flatMap(([number, { cidr, confirmedAt }]) =>
      cidr && confirmedAt !== undefined ? [{ cidr, ruleNumber: Number(number) }] : [],
    );
  const inbound = confirmed(slots.ingress);
  return inbound.length > 0 ? inbound : confirmed(slots.egress);
}

function ours({ slots }: AclRecord): string[] {
  const lists = [slots.ingress, slots.egress].flatMap((list) => Object.values(list));
  return lists.flatMap(({ cidr }) => cidr?.text ?? []);
}

/** How the table holds the record of an ACL. */
export const aclRecord: RecordOf<AclRecord> = { schema, empty, stored, entries, ours };

/**
 * Adds to the record what an older one proves to be ours: the numbers at which EC2 shows the very deny that
 * the older record has there. At the older record's other numbers nothing is ours any more: the entry is
 * gone, or a person's has taken its place.
 */
export function reclaimAcl(
  record: AclRecord,
  older: AclRecord,
  shown: Readonly<Record<Direction, readonly AclEntry[]>>,
  now: EpochMillis,
): AclRecord {
  const slots = { ingress: record.slots.ingress, egress: record.slots.egress };
  for (const direction of DIRECTIONS) {
    const proven = shown[direction].flatMap(({ kind, ruleNumber, cidr }) => {
      const isAsRecorded = older.slots[direction][ruleNumber]?.cidr?.text === cidr.text;
      return kind === "deny" && isAsRecorded
        ? [[ruleNumber, { cidr, confirmedAt: now }] as const]
        : [];
    });
    slots[direction] = { ...Object.fromEntries(proven), ...slots[direction] };
  }
  return { ...record, slots };
}
