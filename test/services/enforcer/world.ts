import fc from "fast-check";
import {
  CANDIDATES_PER_SLOT,
  converge,
  type Enforcer,
  type Outcome,
} from "../../../services/enforcer/converge.ts";
import type { Logger } from "../../../shared/aws/log.ts";
import { EntryLimitError, type NetworkAcl } from "../../../shared/aws/networkAcl.ts";
import type { Table } from "../../../shared/aws/table.ts";
import { applyReport, type Block, isExpired, type Report } from "../../../shared/domain/block.ts";
import { type Cidr, contains, overlaps } from "../../../shared/domain/cidr.ts";
import { type NeverBlock, protect } from "../../../shared/domain/neverBlock.ts";
import {
  type AclEntry,
  type Change,
  type Direction,
  SETTLE_MS,
} from "../../../shared/domain/plan.ts";
import { createMemoryTable } from "../../support/memoryTable.ts";
import { ADDRESSES, cidrOf, strongestThatFit, UNIVERSES } from "../../support/ranges.ts";
import { NOW } from "../../support/reports.ts";

type Entry = {
  cidr: string;
  isPlainDeny: boolean;
  isPersons: boolean;
};
type Shown = Record<Direction, AclEntry[]>;
type Call = Change & { readonly direction: Direction };

/** A converge that is killed stops here: its promise never settles. */
const never = () => new Promise<never>(() => {});

/** How far EC2's reads lag behind its writes: less than a confirmed write is believed. */
export const lagMs = fc.option(fc.integer({ min: 1, max: SETTLE_MS - 1 }), { nil: 0, freq: 1 });

/**
 * A table, an ACL and a clock in memory, and beside them what the laws say. Every EC2 call is checked
 * against the laws at the moment it takes effect.
 */
export class World {
  now = NOW;
  limit = 3;
  quota = 100;
  maxInnocents = 0;
  mode: Enforcer["mode"] = "enforce";
  directions: readonly Direction[] = ["ingress"];
  neverBlock: NeverBlock | undefined = [];
  /** Undefined where EC2 does not tell. */
  vpcCidrs: readonly string[] | undefined = [];
  /** DescribeNetworkAcls shows the ACL as it was so many milliseconds ago. */
  lagMs = 0;
  /** So long does an EC2 call take. */
  callMs = 0;
  /** What EC2 answers to a call instead of doing it. */
  refuse: (call: Call) => Error | undefined = () => undefined;
  /** What DescribeNetworkAcls fails with. */
  describeFailure: Error | undefined;
  hasCrashed = false;
  /** When a person last changed one of our entries. */
  driftedAt = Number.NEGATIVE_INFINITY;
  private hadProtected = false;
  private past: { at: number; shown: Shown }[] = [];
  readonly table = createMemoryTable();
  readonly blocks: Map<string, Block> = this.table.blocks;
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

  constructor() {
    // What the enforcer does with a block that leaves the table when its time is over.
    this.table.onRemove = (block) => {
      if (isExpired(block, this.now)) this.table.remember(block);
    };
  }

  /** DynamoDB deletes what has expired, some time or other. */
  deleteExpired(): void {
    for (const block of [...this.blocks.values()].filter((one) => isExpired(one, this.now))) {
      this.blocks.delete(block.cidr);
      this.table.onRemove(block);
    }
  }

  report(report: Report): void {
    const existing = this.blocks.get(report.cidr);
    const next = applyReport(existing, report, 0, { factor: 1, maxSeconds: 1 }, this.now);
    if (next) this.blocks.set(report.cidr, { ...next, wake: false });
  }

  /** Our entries: what we remember as ours and what is a plain deny. */
  ours(direction: Direction = "ingress"): [number, Entry][] {
    return [...this.acl[direction]].filter(([, entry]) => !entry.isPersons);
  }

  ownedNumbers(): number[] {
    return Object.keys(this.table.state.slots.ingress).map(Number);
  }

  /**
   * Runs converge; killed after so many steps, where a step is a write to the table or to EC2.
   * @returns undefined where it was killed
   */
  async converge(
    stepsToCrash = Number.POSITIVE_INFINITY,
    timeMs = 60_000,
  ): Promise<Outcome | undefined> {
    this.stepsToCrash = stepsToCrash;
    this.before = this.covered();
    this.hadProtected = this.protectedAndCovered().size > 0;
    const callsBefore = this.calls.length;
    const was = new Map([...this.acl.ingress].map(([number, { cidr }]) => [number, cidr]));
    const crashed = new Promise<undefined>((resolve) => {
      this.crash = () => resolve(undefined);
    });
    try {
      return await Promise.race([crashed, converge(this.enforcer(), this.now + timeMs)]);
    } finally {
      this.lastCalls = this.calls.length - callsBefore;
      const numbers = new Set([...was.keys(), ...this.acl.ingress.keys()]);
      this.changedNumbers = [...numbers].filter(
        (number) => was.get(number) !== this.acl.ingress.get(number)?.cidr,
      ).length;
    }
  }

  /** Lets EC2's reads settle and converges undisturbed. */
  async settle(): Promise<void> {
    this.neverBlock ??= [];
    this.now += SETTLE_MS;
    await this.converge();
  }

  /** The addresses that our entries deny. */
  covered(): Set<string> {
    const denied = this.ours().map(([, { cidr }]) => cidrOf(cidr));
    return new Set(
      ADDRESSES.filter((address) => denied.some((range) => contains(range, address))).map(
        ({ text }) => text,
      ),
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
        .map(({ cidr }) => cidrOf(cidr))
        .filter((cidr) => !this.neverBlock?.some((range) => overlaps(range.cidr, cidr))),
    );
  }

  enforcer(): Enforcer {
    const line = (message: unknown) => void this.logged.push(String(message));
    const log = { info: line, warn: line, error: line, debug: line } as unknown as Logger;
    return {
      table: this.steppedTable(),
      acl: this.networkAcl(),
      neverBlock: async (vpcCidrs) => {
        if (!this.neverBlock) throw new Error("unreadable");
        return [...this.neverBlock, ...protectAll(vpcCidrs)];
      },
      directions: this.directions,
      ruleLimit: this.limit,
      numbers: { first: 1, last: 20 },
      maxInnocents: this.maxInnocents,
      mode: this.mode,
      log,
      clock: () => this.now,
    };
  }

  /** The table, whose writes are steps. */
  private steppedTable(): Table {
    const { table } = this;
    return {
      ...table,
      readState: () => table.readState(),
      writeState: (state) => this.step(() => table.writeState(state)),
      removeBlock: (block) => this.step(() => table.removeBlock(block)),
    };
  }

  private networkAcl(): NetworkAcl {
    return {
      describe: async () => {
        if (this.describeFailure) throw this.describeFailure;
        return { vpcId: "vpc-1", entries: this.shown() };
      },
      vpcCidrs: async () => {
        if (!this.vpcCidrs) throw new Error("unreadable");
        return [...this.vpcCidrs];
      },
      apply: (direction, change) =>
        this.step(() => {
          const { ruleNumber, cidr } = change;
          const refusal = this.refuse({ direction, ...change });
          if (refusal) throw refusal;
          const entries = this.acl[direction];
          const there = entries.get(ruleNumber);
          if (there?.isPersons) this.broken.push(`touched a person's entry ${ruleNumber}`);
          const countBefore = this.countBy(direction, cidr ?? there?.cidr);
          if (cidr && !there && countBefore >= this.quota) throw new EntryLimitError("quota");
          this.calls.push({ direction, ...change });
          this.remember();
          this.now += this.callMs;
          const protectedBefore = this.protectedAndCovered();
          if (cidr === null) entries.delete(ruleNumber);
          else entries.set(ruleNumber, { cidr, isPlainDeny: true, isPersons: false });
          this.checkLaws(direction, countBefore, protectedBefore, cidr ?? there?.cidr);
        }),
    };
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
    if (this.now - this.driftedAt < SETTLE_MS) return;
    const count = this.countBy(direction, cidr);
    if (count > Math.max(this.limit, countBefore)) this.broken.push(`${count} entries`);
    const covered = this.covered();
    const staying = this.expected().map(cidrOf);
    for (const address of this.before) {
      if (covered.has(address)) continue;
      if (this.lagMs > 0 && this.hasCrashed) continue; // nobody can know what is there
      if (this.hadProtected) continue; // the owner's access goes first
      const cidr = cidrOf(address);
      if (this.neverBlock && staying.some((range) => contains(range, cidr))) {
        this.broken.push(`a gap for ${address}`);
      }
    }
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
      [...this.acl[direction]].map(([ruleNumber, { cidr, isPlainDeny }]) => ({
        ruleNumber,
        cidr,
        isPlainDeny,
      }));
    return { ingress: entriesOf("ingress"), egress: entriesOf("egress") };
  }

  private async step<T>(effect: () => T | Promise<T>): Promise<T> {
    if (this.stepsToCrash-- <= 0) return this.die();
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

export function protectAll(cidrs: readonly string[]): NeverBlock {
  return protect(cidrs.map((cidr) => [cidr, "test"]));
}
