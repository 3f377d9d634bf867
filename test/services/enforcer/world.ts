import {
  type CreateNetworkAclEntryCommand,
  DeleteNetworkAclEntryCommand,
  DescribeNetworkAclsCommand,
  type EC2Client,
  EC2ServiceException,
  ReplaceNetworkAclEntryCommand,
} from "@aws-sdk/client-ec2";
import fc from "fast-check";
import type { Converged, Enforcer } from "../../../services/enforcer/converge.ts";
import { convergenceOf, createConvergeAll } from "../../../services/enforcer/convergeAll.ts";
import { createTimeToEntry } from "../../../services/enforcer/timeToEntry.ts";
import type { Logger } from "../../../shared/aws/log.ts";
import { applyReport, type Block, type Report } from "../../../shared/domain/block.ts";
import { type Cidr, contains, overlaps } from "../../../shared/domain/cidr.ts";
import { type NeverBlock, protect } from "../../../shared/domain/neverBlock.ts";
import { isExpired } from "../../../shared/domain/time.ts";
import { createNetworkAcl, type NetworkAcl } from "../../../shared/targets/networkAcl/ec2.ts";
import { SETTLE } from "../../../shared/targets/networkAcl/plan.ts";
import {
  type AclEntry,
  ceilingOf,
  DIRECTIONS,
  type Direction,
  mayDeny,
  type Slot,
  type Slots,
} from "../../../shared/targets/networkAcl/rules.ts";
import type { Change } from "../../../shared/targets/networkAcl/schedule.ts";
import {
  CANDIDATES_PER_SLOT,
  createNetworkAclTarget,
} from "../../../shared/targets/networkAcl/target.ts";
import { newTargetState, type TargetState } from "../../../shared/targets/state.ts";
import { QuotaError } from "../../../shared/targets/target.ts";
import { createMemoryTable } from "../../support/memoryTable.ts";
import { ADDRESSES, cidrOf, strongestThatFit, UNIVERSES } from "../../support/ranges.ts";
import { NOW } from "../../support/reports.ts";

/** The one target of this world. */
export const ACL_ID = "acl-0123456789abcdef0";

type Entry = {
  cidr: string;
  kind: AclEntry["kind"];
  isPersons: boolean;
  /** Ours, which a person made another: theirs as soon as the number is off the record. */
  isChanged?: boolean;
};
type Shown = Record<Direction, AclEntry[]>;
type Call = Pick<Change, "kind" | "ruleNumber"> & {
  readonly direction: Direction;
  readonly cidr: string | null;
};

/** The enforcer's timeout. */
const FUNCTION_LIFE = 60_000;

/** A converge that is killed stops here: its promise never settles. */
const never = () => new Promise<never>(() => {});

/** How far EC2's reads lag behind its writes: less than a confirmed write is believed. */
export const lagMs = fc.option(fc.integer({ min: 1, max: SETTLE - 1 }), { nil: 0, freq: 1 });

/**
 * A table, an ACL and a clock in memory, and beside them what the laws say. Every EC2 call is checked
 * against the laws at the moment it takes effect.
 */
export class World {
  now = NOW;
  limit = 3;
  quota = 100;
  maxInnocents = 0;
  /** How much a challenger must outscore a block that holds a slot. */
  margin = 0;
  leastSeverity = 1;
  /** The rule numbers that may be ours. */
  numbers = { first: 1, last: 20 };
  subnets = 1;
  mode: Enforcer["mode"] = "enforce";
  directions: readonly Direction[] = ["ingress"];
  neverBlock: NeverBlock | undefined = [];
  isNeverBlockCurrent = true;
  /** The port itself, where a test brings its own. */
  lastKnown: Enforcer["neverBlock"] | undefined;
  /** Where callers have called from lately. */
  sources: Enforcer["sources"] = { recent: async () => [] };
  /** What a converge asks to be swept, rank by rank. */
  readonly swept: string[] = [];
  sweeper: Enforcer["sweeper"] = { begin: (from) => void this.swept.push(...from) };
  timeToEntry: Enforcer["timeToEntry"] = createTimeToEntry();
  /** Undefined where EC2 does not tell. */
  vpcCidrs: readonly string[] | undefined = [];
  /** DescribeNetworkAcls shows the ACL as it was that long ago. */
  lagMs = 0;
  /** So long does an EC2 call take. */
  callMs = 0;
  /** What a person does once the next converge has made its plan, before its first call. */
  meanwhile: (() => void) | undefined;
  /** The call that a converge was killed in: it may still take effect, if nobody has had a hand in. */
  underWay: (Call & { readonly since: number }) | undefined;
  /** What EC2 answers to a call instead of doing it. */
  refuse: (call: Call) => Error | undefined = () => undefined;
  /** What DescribeNetworkAcls fails with. */
  describeFailure: Error | undefined;
  hasCrashed = false;
  /** When one of our entries was last changed by another than a converge. */
  driftedAt = Number.NEGATIVE_INFINITY;
  private hadProtected = false;
  private past: { at: number; shown: Shown }[] = [];
  readonly table = createMemoryTable();
  readonly blocks: Map<string, Block> = this.table.blockItems;
  readonly acl: Record<Direction, Map<number, Entry>> = { ingress: new Map(), egress: new Map() };
  readonly broken: string[] = [];
  /** Every EC2 call that took effect, in order. */
  readonly calls: Call[] = [];
  /** The messages of the log. */
  readonly logged: string[] = [];
  lastCalls = 0;
  changedNumbers = 0;
  private stepsToCrash = Number.POSITIVE_INFINITY;
  private crash: () => void = () => {};
  private before = new Set<string>();
  /** The numbers on record when converge began. */
  private slotsBefore: Slots = {};
  /** A person put an entry there while it ran. */
  private wasDisturbed = false;
  /** The allows that the plan in force was made with. */
  private knownAllows: Record<Direction, AclEntry[]> = { ingress: [], egress: [] };
  /** Addresses that were denied when converge began, and for a while were not. */
  private uncovered = new Set<string>();

  constructor() {
    // What the enforcer does with a block that leaves the table when its time is over.
    this.table.onRemove = (block) => {
      if (isExpired(block, this.now)) this.table.remember(block);
    };
  }

  /** DynamoDB deletes what has expired, some time or other. */
  deleteExpired(): void {
    for (const block of [...this.blocks.values()].filter((one) => isExpired(one, this.now))) {
      this.blocks.delete(block.cidr.text);
      this.table.onRemove(block);
    }
  }

  report(report: Report): void {
    const { text } = report.cidr;
    const policy = { escalation: { factor: 1, max: 1 }, threshold: 0, halfLife: 300_000 };
    const next = applyReport(this.blocks.get(text), report, 0, policy, this.now);
    if (next) this.blocks.set(text, { ...next, wake: false });
  }

  /** The state item of the ACL, as it is stored. */
  get state(): TargetState {
    return this.table.targetStates.get(ACL_ID) ?? newTargetState("networkAcl");
  }

  /** The quotas that were met, as they are stored. */
  get learntLimits(): unknown {
    return (this.state.record as { learntLimits?: unknown } | null)?.learntLimits;
  }

  /** Our rule numbers as they are stored: ranges by their texts. */
  slots(direction: Direction = "ingress"): Slots {
    return slotsIn(this.state.record)[direction];
  }

  /** Our entries: what we remember as ours and what is a plain deny. */
  ours(direction: Direction = "ingress"): [number, Entry][] {
    const isOnRecord = (number: number) => this.slots(direction)[number] !== undefined;
    return [...this.acl[direction]].filter(
      ([number, { isPersons, isChanged }]) => !isPersons && (!isChanged || isOnRecord(number)),
    );
  }

  ownedNumbers(): number[] {
    return Object.keys(this.slots()).map(Number);
  }

  /**
   * Whether a deny that a person puts there is to be told from ours: the number is free, or we have left it
   * or are about to, and it was never this that stood there.
   */
  isOpenTo(number: number, cidr: string): boolean {
    if (this.acl.ingress.has(number)) return false;
    const slot = this.slots()[number];
    if (!slot) return true;
    // Where EC2 still shows ours, nobody can see that another's stands there.
    return this.lagMs === 0 && slot.cidr === null && !textsOf(slot).includes(cidr);
  }

  /**
   * A person puts an entry at a number that is not in use by us, between a plan and its calls; not
   * where the plan has a delete, which nobody can take back, nor what the plan puts there itself.
   */
  putBetween(number: number, entry: Entry): void {
    const before = this.slotsBefore[number];
    const planned = this.slots()[number];
    const isDelete = planned?.cidr === null && planned.confirmedAt === undefined;
    if (this.acl.ingress.has(number) || (before?.cidr && before.confirmedAt) || isDelete) return;
    if (this.lagMs > 0 && before) return; // nobody can see it, as above
    if (textsOf(planned).includes(entry.cidr) || textsOf(before).includes(entry.cidr)) return;
    this.remember();
    this.wasDisturbed = true;
    this.acl.ingress.set(number, entry);
  }

  /** A create of a converge that was not killed, but slow, beside those that came after it. */
  land(): void {
    const { since = 0, kind, direction = "ingress", ruleNumber = 0, cidr } = this.underWay ?? {};
    this.underWay = undefined;
    if (kind !== "create" || !cidr || this.now - since > FUNCTION_LIFE) return;
    if (this.acl[direction].has(ruleNumber) || this.countBy(direction, cidr) >= this.quota) return;
    this.remember();
    this.driftedAt = this.now;
    this.acl[direction].set(ruleNumber, { cidr, kind: "deny", isPersons: false });
  }

  /**
   * Runs converge; killed after that many steps, where a step is a write to the table or to EC2. After
   * half a step more, the next one is under way.
   * @returns undefined where it was killed
   */
  async converge(
    stepsToCrash = Number.POSITIVE_INFINITY,
    timeMs = 60_000,
  ): Promise<Converged | undefined> {
    this.stepsToCrash = stepsToCrash;
    this.before = this.covered();
    this.uncovered.clear();
    this.slotsBefore = this.slots();
    this.wasDisturbed = false;
    const canMove = !this.hasPartialAllow() && !this.isFull();
    this.hadProtected = this.protectedAndCovered().size > 0;
    const callsBefore = this.calls.length;
    const was = new Map([...this.acl.ingress].map(([number, { cidr }]) => [number, cidr]));
    const crashed = new Promise<undefined>((resolve) => {
      this.crash = () => resolve(undefined);
    });
    try {
      const converged = await Promise.race([crashed, this.convergeAll(this.now + timeMs)]);
      if (converged && canMove && !this.wasDisturbed) this.checkMoves();
      return converged;
    } finally {
      this.meanwhile = undefined;
      this.lastCalls = this.calls.length - callsBefore;
      const numbers = new Set([...was.keys(), ...this.acl.ingress.keys()]);
      this.changedNumbers = [...numbers].filter(
        (number) => was.get(number) !== this.acl.ingress.get(number)?.cidr,
      ).length;
    }
  }

  /** Lets EC2's reads settle and converges undisturbed. */
  async settle(): Promise<Converged | undefined> {
    this.neverBlock ??= [];
    this.now += SETTLE;
    return this.converge();
  }

  /** The addresses that entries deny which were ours once, and that no allow lets in before. */
  covered(): Set<string> {
    const denies = [...this.acl.ingress]
      .filter(([, { isPersons }]) => !isPersons)
      .map(([number, { cidr }]) => ({ number, range: cidrOf(cidr) }));
    const allows = this.allows();
    const letIn = (address: Cidr) =>
      allows.reduce(
        (lowest, [number, { cidr }]) =>
          contains(cidrOf(cidr), address) ? Math.min(lowest, number) : lowest,
        Number.POSITIVE_INFINITY,
      );
    return new Set(
      ADDRESSES.filter((address) =>
        denies.some(({ number, range }) => contains(range, address) && number < letIn(address)),
      ).map(({ text }) => text),
    );
  }

  /** A person's allows. */
  allows(direction: Direction = "ingress"): [number, Entry][] {
    return [...this.acl[direction]].filter(([, { kind }]) => kind === "allow");
  }

  /** Allows that our ranges may have to go below. */
  hasAllows(): boolean {
    return this.allows().some(([number]) => number <= this.numbers.last);
  }

  /** Our entries that stand behind an allow that overlaps them, with its number. */
  shadowed(): string[] {
    return this.ours().flatMap(([number, { cidr }]) =>
      this.allows()
        .filter(([other, allow]) => other < number && overlaps(cidrOf(allow.cidr), cidrOf(cidr)))
        .map(([other]) => `${number} ${cidr} behind ${other}`),
    );
  }

  /** What our entries deny, sorted. */
  denied(direction: Direction = "ingress"): string[] {
    return this.ours(direction)
      .map(([, { cidr }]) => cidr)
      .toSorted();
  }

  /** What must be denied in the end, by brute force over single addresses. */
  expected(): string[] {
    const limit = Math.min(this.limit, this.quota);
    return UNIVERSES.flatMap((universe) => {
      const wanted = this.wanted().filter((cidr) => contains(universe, cidr));
      return strongestThatFit(universe, wanted, limit);
    }).toSorted();
  }

  /** The blocks that may be enforced, strongest first in each family. */
  wanted(): Cidr[] {
    return ([4, 6] as const).flatMap((family) =>
      this.table
        .ranked(family)
        .filter((block) => !isExpired(block, this.now))
        .slice(0, this.limit * CANDIDATES_PER_SLOT)
        .map(({ cidr }) => cidr)
        .filter((cidr) => !this.neverBlock?.some((range) => overlaps(range.cidr, cidr))),
    );
  }

  private async convergeAll(deadline: number): Promise<Converged | undefined> {
    const enforcer = this.enforcer();
    const target = createNetworkAclTarget(this.networkAcl(), {
      id: ACL_ID,
      leastSeverity: this.leastSeverity,
      directions: this.directions,
      ruleLimit: this.limit,
      numbers: this.numbers,
      maxInnocents: this.maxInnocents,
      margin: this.margin,
    });
    const all = createConvergeAll([convergenceOf(enforcer, target)], () => this.now);
    const { converged, failed } = await all(deadline);
    const [failure] = failed.values();
    if (failure) throw failure;
    return converged.get(ACL_ID);
  }

  /** The enforcer over this world. */
  enforcer(): Enforcer {
    const { blocks, states, orders } = this.table;
    const line = (message: unknown) => void this.logged.push(String(message));
    return {
      blocks,
      orders,
      sources: this.sources,
      sweeper: this.sweeper,
      timeToEntry: this.timeToEntry,
      // Writes to the table are steps.
      states: { ...states, write: (id, state) => this.step(() => states.write(id, state)) },
      neverBlock: async (vpcCidrs) => {
        if (this.lastKnown) return this.lastKnown(vpcCidrs);
        if (!this.neverBlock) throw new Error("unreadable");
        const list = [...this.neverBlock, ...protectAll(vpcCidrs)];
        return { list, isCurrent: this.isNeverBlockCurrent };
      },
      mode: this.mode,
      log: { info: line, warn: line, error: line, debug: line } as unknown as Logger,
      clock: () => this.now,
    };
  }

  /** The adapter, over the ACL as this world has it. */
  networkAcl(): NetworkAcl {
    const send = async (command: AclCommand) =>
      command instanceof DescribeNetworkAclsCommand
        ? this.describe()
        : this.step(
            () => this.change(command),
            () => {
              this.underWay = { ...callOf(command), since: this.now };
            },
          );
    return {
      ...createNetworkAcl({ send } as unknown as EC2Client, ACL_ID),
      vpcCidrs: async () => {
        if (!this.vpcCidrs) throw new Error("unreadable");
        return [...this.vpcCidrs];
      },
    };
  }

  private describe(): object {
    if (this.describeFailure) throw this.describeFailure;
    const shown = this.shown();
    this.knownAllows = { ingress: allowsIn(shown.ingress), egress: allowsIn(shown.egress) };
    const Entries = DIRECTIONS.flatMap((direction) =>
      shown[direction].map(({ ruleNumber, cidr, kind }) => ({
        RuleNumber: ruleNumber,
        Egress: direction === "egress",
        RuleAction: kind === "allow" ? "allow" : "deny",
        Protocol: kind === "partial deny" ? "6" : "-1",
        ...(cidr.family === 4 ? { CidrBlock: cidr.text } : { Ipv6CidrBlock: cidr.text }),
      })),
    );
    const Associations = Array.from({ length: this.subnets }, () => ({}));
    return { NetworkAcls: [{ VpcId: "vpc-1", Entries, Associations }] };
  }

  /** What EC2 does with a call that changes the ACL. */
  private change(command: Exclude<AclCommand, DescribeNetworkAclsCommand>): object {
    this.meanwhile?.();
    this.meanwhile = undefined;
    const { direction, kind, ruleNumber, cidr } = callOf(command);
    const refusal = this.refuse({ direction, kind, ruleNumber, cidr });
    if (refusal) throw refusal;
    const entries = this.acl[direction];
    const there = entries.get(ruleNumber);
    if (kind === "create" && there) throw refusalOf("NetworkAclEntryAlreadyExists");
    if (kind !== "create" && !there) throw refusalOf("InvalidNetworkAclEntry.NotFound");
    if (there?.isPersons) this.broken.push(`touched a person's entry ${ruleNumber}`);
    const countBefore = this.countBy(direction, cidr ?? there?.cidr);
    if (cidr && !there && countBefore >= this.quota) throw new QuotaError("quota");
    this.calls.push({ direction, kind, ruleNumber, cidr });
    this.remember();
    this.now += this.callMs;
    const protectedBefore = this.protectedAndCovered();
    if (cidr && ruleNumber >= ceilingOf(cidrOf(cidr), this.knownAllows[direction])) {
      this.broken.push(`${cidr} was put at ${ruleNumber}, behind an allow`);
    }
    if (cidr === null) entries.delete(ruleNumber);
    else entries.set(ruleNumber, { cidr, kind: "deny", isPersons: false });
    this.checkLaws(direction, countBefore, protectedBefore, cidr ?? there?.cidr);
    return {};
  }

  private checkLaws(
    direction: Direction,
    countBefore: number,
    protectedBefore: Set<string>,
    cidr?: string,
  ): void {
    for (const address of this.protectedAndCovered()) {
      if (!protectedBefore.has(address)) this.broken.push(`blocked protected ${address}`);
    }
    // What a person has just done at our numbers is believed only after a while.
    if (this.now - this.driftedAt < SETTLE) return;
    const count = this.countBy(direction, cidr);
    if (count > Math.max(this.limit, countBefore)) this.broken.push(`${count} entries`);
    const covered = this.covered();
    const isShadowing = this.hasAllows() || this.knownAllows.ingress.length > 0;
    const staying = isShadowing ? [] : this.expected().map(cidrOf);
    for (const address of this.before) {
      if (covered.has(address)) continue;
      if (this.lagMs > 0 && this.hasCrashed) continue; // nobody can know what is there
      // Nor here; and with more than the limit there, what may be there leaves no room to put first.
      if (this.hasCrashed && countBefore > this.limit) continue;
      if (this.hadProtected) continue; // the owner's access goes first
      this.uncovered.add(address);
      const cidr = cidrOf(address);
      if (this.neverBlock && staying.some((range) => contains(range, cidr))) {
        this.broken.push(`a gap for ${address}`);
      }
    }
  }

  /** With allows about, what is denied before and after must have been denied all the time. */
  private checkMoves(): void {
    if (!this.hasAllows() || this.hasPartialAllow()) return;
    const covered = this.covered();
    for (const address of this.uncovered) {
      if (covered.has(address)) this.broken.push(`a gap for ${address}, which only moved`);
    }
  }

  /** An allow lets in a part of one of our entries: where both parts must move, no order avoids a gap. */
  private hasPartialAllow(): boolean {
    return this.ours().some(([, { cidr }]) =>
      this.allows().some(
        ([, allow]) =>
          overlaps(cidrOf(allow.cidr), cidrOf(cidr)) && !contains(cidrOf(allow.cidr), cidrOf(cidr)),
      ),
    );
  }

  /**
   * Without room for one entry more, what must make room for the other family leaves a gap. Room is what
   * no entry takes, nor may take that is on record.
   */
  private isFull(): boolean {
    const limit = Math.min(this.limit, this.quota);
    const places = new Map(this.ours().map(([number, { cidr }]) => [number, cidr]));
    for (const [number, slot] of Object.entries(this.slots())) {
      const [first] = textsOf(slot);
      if (first && !places.has(Number(number))) places.set(Number(number), first);
    }
    return [true, false].some(
      (isSix) =>
        [...places.values()].filter((cidr) => cidr.includes(":") === isSix).length >= limit,
    );
  }

  private countBy(direction: Direction, cidr: string | undefined): number {
    const family = cidr?.includes(":");
    return this.ours(direction).filter(([, entry]) => entry.cidr.includes(":") === family).length;
  }

  private protectedAndCovered(): Set<string> {
    const covered = [...this.covered()].map(cidrOf);
    return new Set(
      covered
        .filter((address) => this.neverBlock?.some((range) => overlaps(range.cidr, address)))
        .map(({ text }) => text),
    );
  }

  /** To be called before the ACL changes. */
  remember(): void {
    this.past.push({ at: this.now, shown: this.entries() });
  }

  private shown(): Shown {
    if (this.lagMs === 0) return this.entries();
    // What was there then is what was there before the first change since.
    return this.past.find(({ at }) => at > this.now - this.lagMs)?.shown ?? this.entries();
  }

  private entries(): Shown {
    const entriesOf = (direction: Direction) =>
      [...this.acl[direction]].map(([ruleNumber, { cidr, kind }]) => ({
        ruleNumber,
        cidr: cidrOf(cidr),
        kind,
      }));
    return { ingress: entriesOf("ingress"), egress: entriesOf("egress") };
  }

  private async step<T>(effect: () => T | Promise<T>, onKilled = () => {}): Promise<T> {
    if (this.stepsToCrash < 1) {
      onKilled();
      return this.die();
    }
    this.stepsToCrash--;
    const result = effect();
    // Killed after the effect took place, before the answer came back.
    return this.stepsToCrash <= 0 ? this.die() : result;
  }

  private die(): Promise<never> {
    this.hasCrashed = true;
    this.crash();
    return never();
  }
}

type AclCommand =
  | DescribeNetworkAclsCommand
  | CreateNetworkAclEntryCommand
  | ReplaceNetworkAclEntryCommand
  | DeleteNetworkAclEntryCommand;

function callOf(command: Exclude<AclCommand, DescribeNetworkAclsCommand>): Call {
  const { Egress, RuleNumber } = command.input;
  const at = {
    direction: Egress ? ("egress" as const) : ("ingress" as const),
    ruleNumber: RuleNumber as number,
  };
  if (command instanceof DeleteNetworkAclEntryCommand) return { ...at, kind: "delete", cidr: null };
  const { CidrBlock, Ipv6CidrBlock } = command.input;
  const kind = command instanceof ReplaceNetworkAclEntryCommand ? "replace" : "create";
  return { ...at, kind, cidr: CidrBlock ?? Ipv6CidrBlock ?? null };
}

const refusalOf = (name: string) =>
  new EC2ServiceException({ name, $fault: "client", $metadata: { httpStatusCode: 400 } });

const allowsIn = (entries: readonly AclEntry[]) => entries.filter(({ kind }) => kind === "allow");

/** Our rule numbers in the record of an ACL, as it is stored. */
export function slotsIn(record: unknown): Readonly<Record<Direction, Slots>> {
  const { slots } = (record ?? {}) as { slots?: Record<Direction, Slots> };
  return slots ?? { ingress: {}, egress: {} };
}

/** What may stand at a slot as it is stored: ranges by their texts. */
const textsOf = (slot: Slot | undefined) => mayDeny(slot) as unknown as string[];

export function protectAll(cidrs: readonly string[]): NeverBlock {
  return protect(cidrs.map((cidr) => [cidr, "test"]));
}
