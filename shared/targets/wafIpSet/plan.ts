import { choose } from "../../domain/choose.ts";
import { type Cidr, contains, type Family } from "../../domain/cidr.ts";
import { protectedBy } from "../../domain/neverBlock.ts";
import { isExpired } from "../../domain/time.ts";
import type { Applied, PlanInput, TargetChange, TargetPlan } from "../target.ts";
import type { WafRecord } from "./record.ts";

// A set is replaced as a whole. Whatever in it is not recorded as ours is a person's:
//
//   address in the set     wanted     → what happens
//   ──────────────────────────────────────────────────────────────────
//   ours                   yes          stays
//   ours                   no           is removed
//   a person's             yes or no    stays, and takes room
//   not in it              yes          is added
//   not in it, but may     no           stays ours, and the set is replaced anyway
//   still appear
//
// An address may still appear if WAF has not answered a replacement. The next replacement settles that:
// either it is refused, because the other was first, or it spends the lock token that the other holds too.
//
// `ours` is recorded before WAF is called: everything of ours in the set, and everything to be added.

/** The ranges that WAF shows in a pair of sets. */
export type ShownSets = Readonly<Record<Family, readonly Cidr[]>>;

/** The replacement of one set. */
export type SetChange = TargetChange & {
  readonly family: Family;
  /** All addresses in the set afterwards, people's included. */
  readonly addresses: readonly string[];
  readonly comes: number;
  readonly leaves: number;
};

/** Ranges per set. @see https://docs.aws.amazon.com/waf/latest/developerguide/limits.html */
export const MAX_ADDRESSES = 10_000;

/** Per family. More occur only if WAF fails for long, and the record must fit into its item. */
const MAX_PENDING = 1_000;

/**
 * Ranges of a family that the record names at most, what leaves and what comes together: a pair of full sets
 * of random addresses packs into some 270 KB, and DynamoDB takes 400 KB.
 */
const MAX_RECORDED = 12_000;

const FAMILIES = [4, 6] as const satisfies readonly Family[];

export const familyOf = (text: string): Family => (text.includes(":") ? 6 : 4);

/** Plans at most one replacement for each set of the pair. Pure. */
export function plan(input: PlanInput<WafRecord, ShownSets>): TargetPlan<WafRecord, SetChange> {
  const plans = FAMILIES.map((family) => planSet(family, input));
  const ours = new Set(plans.flatMap((one) => [...one.ours]));
  const shown = new Set(FAMILIES.flatMap((family) => input.actual[family].map(({ text }) => text)));
  const staying = plans.flatMap(({ next }) => [...next].filter((text) => shown.has(text)));
  return {
    record: { ours, confirmed: new Set(staying) },
    changes: plans.flatMap(({ change }) => change ?? []),
    chosen: plans.flatMap(({ chosen }) => chosen),
    free: { 4: plans[0]?.free ?? 0, 6: plans[1]?.free ?? 0 },
    isPartial: plans.some(({ isPartial }) => isPartial),
    shadowed: [],
    foreign: plans.reduce((sum, { foreign }) => sum + foreign, 0),
    drifted: [...input.record.confirmed].filter((text) => !shown.has(text)).length,
  };
}

function planSet(
  family: Family,
  { wanted, record, actual, neverBlock, now }: PlanInput<WafRecord, ShownSets>,
) {
  const shown = new Map(actual[family].map((cidr) => [cidr.text, cidr]));
  const foreign = actual[family].filter(({ text }) => !record.ours.has(text));
  const mine = actual[family].filter(({ text }) => record.ours.has(text));
  const isMine = new Set(mine.map(({ text }) => text));
  const isAllowed = (cidr: Cidr) =>
    neverBlock
      ? !protectedBy(neverBlock, cidr)
      : isMine.has(cidr.text) || mine.some((there) => contains(there, cidr));
  const candidates = wanted.filter(
    (one) => one.cidr.family === family && !isExpired(one, now) && isAllowed(one.cidr),
  );
  const isForeign = new Set(foreign.map(({ text }) => text));
  // What a person already denies there takes no room of its own.
  const chosen = choose(
    candidates.filter(({ cidr }) => !isForeign.has(cidr.text)),
    { ranges: MAX_ADDRESSES - foreign.length },
  );
  const missing = chosen.filter(({ text }) => !shown.has(text));
  const comes = missing.slice(0, Math.max(0, MAX_RECORDED - mine.length));
  const isLater = new Set(missing.slice(comes.length).map(({ text }) => text));
  // Siblings may merge into exactly the range that a person denies: it stays the person's.
  const next = new Set(
    chosen.map(({ text }) => text).filter((text) => !isForeign.has(text) && !isLater.has(text)),
  );
  const leaves = mine.filter(({ text }) => !next.has(text));
  const pending = [...record.ours]
    .filter((text) => familyOf(text) === family && !record.confirmed.has(text))
    .filter((text) => !shown.has(text) && !next.has(text))
    .slice(0, MAX_PENDING);
  const ours = new Set([...isMine, ...next, ...pending]);
  const change: SetChange | undefined =
    comes.length + leaves.length + pending.length > 0
      ? {
          key: `v${family}`,
          needs: [],
          denies: comes,
          family,
          addresses: [...isForeign, ...next],
          comes: comes.length,
          leaves: leaves.length,
        }
      : undefined;
  const covered = candidates.flatMap(({ cidr }) => (isForeign.has(cidr.text) ? [cidr] : []));
  const free = Math.max(0, MAX_ADDRESSES - foreign.length - chosen.length);
  const isPartial = isLater.size > 0;
  return {
    ...{ chosen: [...chosen, ...covered], free, ours, next, change, isPartial },
    foreign: foreign.length,
  };
}

/** What is ours once the replacements have been tried. */
export function settle(
  planned: WafRecord,
  before: WafRecord,
  { done, notDone }: Applied<SetChange>,
): WafRecord {
  const of = (texts: ReadonlySet<string>, family: Family) =>
    [...texts].filter((text) => familyOf(text) === family);
  const settled = FAMILIES.map((family): { ours: string[]; confirmed: string[] } => {
    const replaced = done.find((change) => change.family === family);
    if (replaced) {
      const there = new Set(replaced.addresses);
      const ours = of(planned.ours, family).filter((text) => there.has(text));
      return { ours, confirmed: ours };
    }
    const isUntouched = notDone.some((change) => change.family === family);
    const { ours, confirmed } = isUntouched ? before : planned;
    return { ours: of(ours, family), confirmed: of(confirmed, family) };
  });
  return {
    ours: new Set(settled.flatMap(({ ours }) => ours)),
    confirmed: new Set(settled.flatMap(({ confirmed }) => confirmed)),
  };
}
