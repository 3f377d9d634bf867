import { isDeepStrictEqual } from "node:util";
import type { Logger } from "../../shared/aws/log.ts";
import {
  AclNotFoundError,
  EntryLimitError,
  type NetworkAcl,
  ThrottledError,
} from "../../shared/aws/networkAcl.ts";
import type { State, Table } from "../../shared/aws/table.ts";
import type { Block } from "../../shared/domain/block.ts";
import { contains, type Family, parseCidr } from "../../shared/domain/cidr.ts";
import type { NeverBlock } from "../../shared/domain/neverBlock.ts";
import {
  type AclEntry,
  type Change,
  type Direction,
  inTurn,
  type NumberRange,
  type Plan,
  plan,
} from "../../shared/domain/plan.ts";

// converge, the whole algorithm:
//
//   desired  what the table wants now          ranked, unexpired, as many as could ever fit
//   actual   what the ACL has now              DescribeNetworkAcls
//   changes  plan(desired, slots, actual)      pure
//   record   our numbers after the changes     before EC2 is called, so that a crash forgets nothing
//   apply    one EC2 call for each change      idempotent; what EC2 does not grant now is planned anew

export type Enforcer = {
  readonly table: Table;
  readonly acl: NetworkAcl;
  /** The current list with the given ranges of the VPC. @throws where it cannot be read */
  readonly neverBlock: (vpcCidrs: readonly string[]) => Promise<NeverBlock>;
  readonly directions: readonly Direction[];
  readonly ruleLimit: number;
  readonly numbers: NumberRange;
  readonly maxInnocents: number;
  readonly mode: "enforce" | "monitor";
  readonly log: Logger;
  /** Epoch milliseconds. */
  readonly clock: () => number;
};

/** What a converge did, for log and metrics. */
export type Outcome = {
  readonly applied: number;
  /** Changes left for the next converge: out of time, or failed. */
  readonly left: number;
  /** Entries of ours that a person removed or changed, and that were repaired. */
  readonly drifted: number;
  /** Entries of persons in our number range. */
  readonly foreign: number;
  readonly enforced: number;
  /** Wanted blocks that no entry covers; of each family counted up to five for each slot. */
  readonly waiting: number;
  readonly isNeverBlockReadable: boolean;
};

const FAMILIES = [4, 6] as const satisfies readonly Family[];
const DIRECTIONS = ["ingress", "egress"] as const satisfies readonly Direction[];
type Plans = Readonly<Record<Direction, Plan>>;
type Entries = Readonly<Record<Direction, readonly AclEntry[]>>;

/** How many blocks are read for each slot: enough for merging to fill the slots. */
export const CANDIDATES_PER_SLOT = 5;

/** A quota that EC2 enforced is believed for so long, in milliseconds: it may have been raised. */
const LEARNT_LIMIT_TTL_MS = 600_000;

/** A converge that meets a quota plans once more with what it learnt; persons may take slots too. */
const MAX_QUOTA_ROUNDS = 3;

/**
 * How long a plan is worked off before a new one is made, in milliseconds. Under EC2's throttle the
 * changes of a full ACL take many seconds, in which stronger blocks come and others end.
 */
const PLAN_AGE_MS = 2_000;

/** Plans that one converge makes at most; the deadline comes first. */
const MAX_ROUNDS = 40;

/** Expired blocks that one converge removes. */
const MAX_SWEPT = 100;

/** The record is written at least this often, in milliseconds, even if nothing changes. */
const RECORD_EVERY_MS = 30_000;

/**
 * Makes the ACL what the table wants. Whatever woke it, it looks at everything, so it may be run any
 * number of times, by anyone, at any time. Where EC2 throttles it goes on, with a new plan every two
 * seconds, until all is done or its time is up.
 *
 * @param deadline epoch milliseconds after which no further EC2 call is begun
 * @throws AclNotFoundError, ThrottledError (while describing), ConflictError
 */
export async function converge(enforcer: Enforcer, deadline: number): Promise<Outcome> {
  let applied = 0;
  for (let round = 1; ; round++) {
    const { outcome, isInterrupted, hasLearnt } = await convergeOnce(enforcer, deadline);
    applied += outcome.applied;
    const isUnfinished = isInterrupted || (hasLearnt && round < MAX_QUOTA_ROUNDS);
    if (!isUnfinished || round === MAX_ROUNDS || enforcer.clock() >= deadline) {
      return { ...outcome, applied };
    }
  }
}

type Round = {
  readonly outcome: Outcome;
  /** Changes were left because EC2 throttled or the plan had grown old. */
  readonly isInterrupted: boolean;
  /** A quota was met. */
  readonly hasLearnt: boolean;
};

async function convergeOnce(enforcer: Enforcer, deadline: number): Promise<Round> {
  const { table, acl, mode, log, clock } = enforcer;
  const [state, { vpcId, entries }, ...families] = await Promise.all([
    table.readState(),
    acl.describe(),
    ...FAMILIES.map((family) =>
      table.readStrongest(family, enforcer.ruleLimit * CANDIDATES_PER_SLOT, clock()),
    ),
  ]);
  const wanted = families.flatMap(({ strongest }) => strongest);
  const vpcCidrs = await acl.vpcCidrs(vpcId).catch(reportUnreadable(log));
  const neverBlock = vpcCidrs && (await enforcer.neverBlock(vpcCidrs).catch(reportUnreadable(log)));

  const plans = makePlans(enforcer, state, entries, wanted, neverBlock ?? undefined);
  logPlans(enforcer, plans);
  const planned = { ingress: plans.ingress.slots, egress: plans.egress.slots };
  const outcome = {
    drifted: sum(plans, ({ drifted }) => drifted.length),
    foreign: sum(plans, ({ foreign }) => foreign.length),
    enforced: countEnforced(planned),
    waiting: countWaiting(wanted, plans, enforcer.directions[0] ?? "ingress"),
    isNeverBlockReadable: neverBlock !== undefined,
  };
  await sweep(
    enforcer,
    families.flatMap(({ inTheWay }) => inTheWay),
  );
  const { waiting } = outcome;
  const seen = { ...state, mode, waiting, vpcCidrs: vpcCidrs ?? state.vpcCidrs };
  if (mode === "monitor") {
    await record(enforcer, state, { ...seen, monitored: planned });
    const done = { ...outcome, applied: 0, left: 0 };
    return { outcome: done, isInterrupted: false, hasLearnt: false };
  }

  const before = { ...seen, slots: planned, monitored: { ingress: {}, egress: {} } };
  const isChanging = DIRECTIONS.some((direction) => plans[direction].changes.length > 0);
  const recorded = isChanging ? await table.writeState(before) : before;
  const applied = await apply(plans, enforcer, deadline);
  const slots = settle(recorded.slots, state.slots, applied, clock());
  const after = {
    ...recorded,
    slots,
    learntLimits: { ...recorded.learntLimits, ...learn(entries, recorded, applied, clock()) },
  };
  await record(enforcer, isChanging ? recorded : state, after);
  if (applied.error) throw applied.error;
  const { done, left, isInterrupted, limitMet } = applied;
  return {
    outcome: { ...outcome, enforced: countEnforced(slots), applied: done.length, left },
    isInterrupted,
    hasLearnt: limitMet.length > 0,
  };
}

function makePlans(
  enforcer: Enforcer,
  state: State,
  entries: Entries,
  wanted: readonly Block[],
  neverBlock: NeverBlock | undefined,
): Plans {
  const planOf = (direction: Direction) =>
    plan({
      // A direction that is no longer configured wants nothing: what is there of ours goes.
      wanted: enforcer.directions.includes(direction) ? wanted : [],
      slots: state.slots[direction],
      actual: entries[direction],
      limits: {
        4: limitOf(enforcer, state, direction, 4),
        6: limitOf(enforcer, state, direction, 6),
      },
      numbers: enforcer.numbers,
      neverBlock,
      maxInnocents: enforcer.maxInnocents,
      now: enforcer.clock(),
    });
  return { ingress: planOf("ingress"), egress: planOf("egress") };
}

function limitOf(enforcer: Enforcer, state: State, direction: Direction, family: Family): number {
  const learnt = state.learntLimits[`${direction}/${family}`];
  return learnt && enforcer.clock() - learnt.learntAt < LEARNT_LIMIT_TTL_MS
    ? Math.min(enforcer.ruleLimit, learnt.limit)
    : enforcer.ruleLimit;
}

type Directed = Change & { readonly direction: Direction };

type Applied = {
  readonly done: Directed[];
  /** Changes that EC2 was not even asked for. */
  readonly skipped: Directed[];
  readonly limitMet: { readonly direction: Direction; readonly family: Family }[];
  left: number;
  isInterrupted: boolean;
  error?: Error;
};

/** Applies the changes in their order. What cannot be done now is left for the next plan. */
async function apply(plans: Plans, enforcer: Enforcer, deadline: number): Promise<Applied> {
  const { acl, log, clock } = enforcer;
  const applied: Applied = { done: [], skipped: [], limitMet: [], left: 0, isInterrupted: false };
  const stopAt = Math.min(deadline, clock() + PLAN_AGE_MS);
  const notDone = { ingress: new Set<number>(), egress: new Set<number>() };
  const isPossible = ({ direction, kind, cidr, needs }: Directed) =>
    !applied.isInterrupted &&
    !applied.error &&
    !needs.some((number) => notDone[direction].has(number)) &&
    !(kind === "create" && applied.limitMet.some(isOf(direction, cidr)));
  for (const change of inTurn(directed(plans, "ingress"), directed(plans, "egress"))) {
    if (clock() >= stopAt) applied.isInterrupted = true;
    if (!isPossible(change)) {
      applied.skipped.push(change);
    } else {
      try {
        await acl.apply(change.direction, change);
        applied.done.push(change);
        log.info("Changed the ACL", describe(change));
        continue;
      } catch (error) {
        if (error instanceof ThrottledError) {
          applied.isInterrupted = true;
          log.warn("EC2 throttles", error);
        } else if (error instanceof EntryLimitError && change.cidr) {
          applied.limitMet.push({
            direction: change.direction,
            family: parseCidr(change.cidr).family,
          });
          log.warn("EC2's quota of entries is met", describe(change));
        } else if (error instanceof AclNotFoundError) {
          applied.error = error;
        } else {
          // One entry that EC2 refuses must not keep the others out.
          log.error("A change failed", { ...describe(change), error: error as Error });
        }
      }
    }
    notDone[change.direction].add(change.ruleNumber);
    applied.left++;
  }
  return applied;
}

const directed = (plans: Plans, direction: Direction): Directed[] =>
  plans[direction].changes.map((change) => ({ ...change, direction }));

const isOf = (direction: Direction, cidr: string | null) => (met: Applied["limitMet"][number]) =>
  met.direction === direction && cidr !== null && met.family === parseCidr(cidr).family;

/**
 * Our numbers once the changes have been tried: what EC2 confirmed is marked; what it was not asked
 * for is as it was before the plan; what failed stays as planned, unconfirmed: it may have been done.
 */
function settle(
  planned: State["slots"],
  before: State["slots"],
  { done, skipped }: Applied,
  now: number,
): State["slots"] {
  const slots = { ingress: { ...planned.ingress }, egress: { ...planned.egress } };
  for (const { direction, ruleNumber, cidr } of done) {
    slots[direction][ruleNumber] = { cidr, confirmedAt: now };
  }
  for (const { direction, ruleNumber } of skipped) {
    const slot = before[direction][ruleNumber];
    if (slot) slots[direction][ruleNumber] = slot;
    else delete slots[direction][ruleNumber];
  }
  return slots;
}

/** The quota of each family and direction that met it: as many entries as we hold there now. */
function learn(
  entries: Entries,
  state: State,
  { done, limitMet }: Applied,
  now: number,
): State["learntLimits"] {
  return Object.fromEntries(
    limitMet.map(({ direction, family }) => {
      const held = new Set(
        entries[direction]
          .filter(({ ruleNumber, cidr }) => {
            return state.slots[direction][ruleNumber] && parseCidr(cidr).family === family;
          })
          .map(({ ruleNumber }) => ruleNumber),
      );
      for (const change of done) {
        if (change.direction !== direction) continue;
        if (change.cidr === null) held.delete(change.ruleNumber);
        else if (parseCidr(change.cidr).family === family) held.add(change.ruleNumber);
      }
      return [`${direction}/${family}`, { limit: held.size, learntAt: now }];
    }),
  );
}

/** Writes the state where it says something new, or has not been written for a while. */
async function record({ table, clock }: Enforcer, before: State, after: State): Promise<void> {
  const isFresh = clock() - before.convergedAt < RECORD_EVERY_MS;
  if (isFresh && isDeepStrictEqual(before, after)) return;
  await table.writeState({ ...after, convergedAt: clock() });
}

function countEnforced(slots: State["slots"]): number {
  return DIRECTIONS.flatMap((direction) => Object.values(slots[direction])).filter(
    ({ cidr }) => cidr !== null,
  ).length;
}

function countWaiting(wanted: readonly Block[], plans: Plans, direction: Direction): number {
  const ranges = Object.values(plans[direction].slots).flatMap(({ cidr }) =>
    cidr === null ? [] : [parseCidr(cidr)],
  );
  return wanted
    .map(({ cidr }) => parseCidr(cidr))
    .filter((cidr) => !ranges.some((range) => contains(range, cidr))).length;
}

/**
 * Removes expired blocks that TTL leaves lying before live ones, some at each converge: reading past
 * them again and again would cost more than the blocks themselves.
 */
async function sweep({ table, log }: Enforcer, inTheWay: readonly Block[]): Promise<void> {
  const removals = inTheWay.slice(0, MAX_SWEPT).map((block) => table.removeBlock(block));
  const failed = (await Promise.allSettled(removals)).filter(({ status }) => status === "rejected");
  if (inTheWay.length > 0) {
    log.info("Swept expired blocks", {
      swept: removals.length - failed.length,
      of: inTheWay.length,
    });
  }
}

function logPlans({ log, mode }: Enforcer, plans: Plans): void {
  for (const direction of DIRECTIONS) {
    const { changes, foreign, drifted } = plans[direction];
    if (drifted.length > 0) log.warn("Entries were changed by hand", { direction, drifted });
    if (foreign.length > 0) log.info("Entries of a person in our range", { direction, foreign });
    if (mode !== "monitor") continue;
    for (const change of changes) {
      log.info("Would change the ACL", describe({ ...change, direction }));
    }
  }
}

function describe({ direction, kind, ruleNumber, cidr, before }: Directed) {
  return { direction, kind, ruleNumber, cidr: cidr ?? undefined, before: before ?? undefined };
}

function reportUnreadable(log: Logger) {
  return (error: Error) => {
    log.error("The never-block list cannot be read: nothing new is blocked", error);
  };
}

function sum(plans: Plans, count: (plan: Plan) => number): number {
  return count(plans.ingress) + count(plans.egress);
}
