import { converge, type Enforcer } from "../../../services/enforcer/converge.ts";
import type { Logger } from "../../../shared/aws/log.ts";
import { EntryLimitError, type NetworkAcl } from "../../../shared/aws/networkAcl.ts";
import { ConflictError, EMPTY_STATE, type State, type Table } from "../../../shared/aws/table.ts";
import { applyReport, type Block, isExpired, type Report } from "../../../shared/domain/block.ts";
import { type Cidr, contains, overlaps, parseCidr, widen } from "../../../shared/domain/cidr.ts";
import { type NeverBlock, protect } from "../../../shared/domain/neverBlock.ts";
import type { AclEntry, Direction } from "../../../shared/domain/plan.ts";

/** The addresses that histories play with: few, so that they meet. */
export const UNIVERSES = [parseCidr("203.0.113.0/28"), parseCidr("2001:db8::/125")] as const;
export const ADDRESSES: readonly Cidr[] = UNIVERSES.flatMap((universe) => addressesOf(universe));

/** Each address, and the ranges of two and of four around some of them. */
export const RANGES: readonly string[] = UNIVERSES.flatMap((universe) =>
  addressesOf(universe).flatMap((address, index) => [
    address.text,
    ...(index % 2 === 0 ? [widen(address, address.prefix - 1).text] : []),
    ...(index % 4 === 0 ? [widen(address, address.prefix - 2).text] : []),
  ]),
);

type Entry = {
  cidr: string;
  isPlainDeny: boolean;
  isPersons: boolean;
  /** A person changed our entry; we may not have seen it yet. */
  isChangedByHand?: boolean;
};

/** A converge that is killed stops here: its promise never settles. */
const never = () => new Promise<never>(() => {});

/**
 * A table, an ACL and a clock in memory, and beside them what the laws say. Every EC2 call is checked
 * against the laws at the moment it takes effect.
 */
export class World {
  now = 1_800_000_000_000;
  limit = 3;
  quota = 100;
  maxInnocents = 0;
  neverBlock: NeverBlock | undefined = [];
  /** DescribeNetworkAcls shows the ACL as it was so many milliseconds ago. */
  lagMs = 0;
  hasCrashed = false;
  private hadProtected = false;
  private past: { at: number; entries: AclEntry[] }[] = [];
  readonly blocks = new Map<string, Block>();
  readonly acl: Record<Direction, Map<number, Entry>> = { ingress: new Map(), egress: new Map() };
  readonly broken: string[] = [];
  calls = 0;
  lastCalls = 0;
  changedNumbers = 0;
  private state: State = EMPTY_STATE;
  private stepsToCrash = Number.POSITIVE_INFINITY;
  private crash: () => void = () => {};
  private before = new Set<string>();

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
    return Object.keys(this.state.slots.ingress).map(Number);
  }

  /** Runs converge; killed after so many steps, where a step is a write to the table or to EC2. */
  async converge(stepsToCrash = Number.POSITIVE_INFINITY): Promise<void> {
    this.stepsToCrash = stepsToCrash;
    this.before = this.covered();
    this.hadProtected = this.protectedAndCovered().size > 0;
    this.lastCalls = 0;
    const was = new Map([...this.acl.ingress].map(([number, { cidr }]) => [number, cidr]));
    const crashed = new Promise<void>((resolve) => {
      this.crash = resolve;
    });
    await Promise.race([crashed, converge(this.enforcer(), this.now + 60_000)]);
    const numbers = new Set([...was.keys(), ...this.acl.ingress.keys()]);
    this.changedNumbers = [...numbers].filter(
      (number) => was.get(number) !== this.acl.ingress.get(number)?.cidr,
    ).length;
  }

  /** The addresses that our entries deny. */
  covered(): Set<string> {
    const denied = this.ours().map(([, { cidr }]) => parseCidr(cidr));
    return new Set(
      ADDRESSES.filter((address) => denied.some((range) => contains(range, address))).map(
        ({ text }) => text,
      ),
    );
  }

  /** What must be denied in the end, by brute force over single addresses. */
  expected(): string[] {
    const limit = Math.min(this.limit, this.quota);
    return UNIVERSES.flatMap((universe) => {
      const wanted = this.wanted().filter((cidr) => contains(universe, cidr));
      if (wanted.length <= limit) return wanted.map(({ text }) => text);
      let chosen = new Set<string>();
      for (const cidr of wanted) {
        const more = new Set([...chosen, ...addressesOf(cidr).map(({ text }) => text)]);
        if (fewestRanges(universe, more).length <= limit) chosen = more;
      }
      return fewestRanges(universe, chosen);
    }).toSorted();
  }

  /** The blocks that may be enforced, strongest first. */
  wanted(): Cidr[] {
    return [...this.blocks.values()]
      .filter((block) => !isExpired(block, this.now))
      .toSorted((a, b) => (a.rank < b.rank ? 1 : -1))
      .map(({ cidr }) => parseCidr(cidr))
      .filter((cidr) => !this.neverBlock?.some((range) => overlaps(range.cidr, cidr)));
  }

  private enforcer(): Enforcer {
    const log = { info() {}, warn() {}, error() {}, debug() {} } as unknown as Logger;
    return {
      table: {
        readState: async () => this.state,
        writeState: async (state) => {
          if (state.version !== this.state.version) throw new ConflictError("conflict");
          return this.step(() => {
            this.state = { ...structuredClone(state), version: state.version + 1 };
            return this.state;
          });
        },
        readStrongest: async (family, count) =>
          [...this.blocks.values()]
            .filter((block) => block.family === family && !isExpired(block, this.now))
            .toSorted((a, b) => (a.rank < b.rank ? 1 : -1))
            .slice(0, count),
      } as Partial<Table> as Table,
      acl: this.networkAcl(),
      neverBlock: async () => {
        if (!this.neverBlock) throw new Error("unreadable");
        return this.neverBlock;
      },
      directions: ["ingress"],
      ruleLimit: this.limit,
      numbers: { first: 1, last: 20 },
      maxInnocents: this.maxInnocents,
      mode: "enforce",
      log,
      clock: () => this.now,
    };
  }

  private networkAcl(): NetworkAcl {
    return {
      describe: async () => ({
        vpcId: "vpc-1",
        entries: { ingress: this.shownEntries(), egress: [] },
      }),
      vpcCidrs: async () => [],
      apply: (direction, { ruleNumber, cidr }) =>
        this.step(() => {
          const entries = this.acl[direction];
          const there = entries.get(ruleNumber);
          if (there?.isPersons) this.broken.push(`touched a person's entry ${ruleNumber}`);
          const countBefore = this.countBy(cidr ?? there?.cidr);
          if (cidr && !there && countBefore >= this.quota) throw new EntryLimitError("quota");
          this.calls++;
          this.lastCalls++;
          this.remember();
          const protectedBefore = this.protectedAndCovered();
          if (cidr === null) entries.delete(ruleNumber);
          else entries.set(ruleNumber, { cidr, isPlainDeny: true, isPersons: false });
          this.checkLaws(countBefore, protectedBefore, cidr ?? there?.cidr);
        }),
    };
  }

  private checkLaws(countBefore: number, protectedBefore: Set<string>, cidr?: string): void {
    const count = this.countBy(cidr);
    // What a person put at our numbers counts only once we could see it.
    const isOver = count > Math.max(this.limit, countBefore);
    if (isOver && this.countBy(cidr, false) > this.limit) this.broken.push(`${count} entries`);
    const covered = this.covered();
    for (const address of this.protectedAndCovered()) {
      if (!protectedBefore.has(address)) this.broken.push(`blocked protected ${address}`);
    }
    const staying = this.expected().map(parseCidr);
    for (const address of this.before) {
      if (covered.has(address)) continue;
      if (this.lagMs > 0 && this.hasCrashed) continue; // nobody can know what is there
      if (this.hadProtected) continue; // the owner's access goes first
      const cidr = parseCidr(address);
      if (this.neverBlock && staying.some((range) => contains(range, cidr))) {
        this.broken.push(`a gap for ${address}`);
      }
    }
  }

  private countBy(cidr: string | undefined, withChangedByHand = true): number {
    const family = cidr?.includes(":");
    return this.ours().filter(
      ([, entry]) =>
        (withChangedByHand || !entry.isChangedByHand) && entry.cidr.includes(":") === family,
    ).length;
  }

  private protectedAndCovered(): Set<string> {
    const covered = [...this.covered()].map(parseCidr);
    return new Set(
      covered
        .filter((address) => this.neverBlock?.some((range) => overlaps(range.cidr, address)))
        .map(({ text }) => text),
    );
  }

  /** To be called before the ACL changes. */
  remember(): void {
    this.past.push({ at: this.now, entries: this.entries() });
  }

  private shownEntries(): AclEntry[] {
    if (this.lagMs === 0) return this.entries();
    // What was there then is what was there before the first change since.
    return this.past.find(({ at }) => at > this.now - this.lagMs)?.entries ?? this.entries();
  }

  private entries(): AclEntry[] {
    return [...this.acl.ingress].map(([ruleNumber, { cidr, isPlainDeny }]) => ({
      ruleNumber,
      cidr,
      isPlainDeny,
    }));
  }

  private step<T>(effect: () => T): Promise<T> {
    if (this.stepsToCrash-- <= 0) {
      this.hasCrashed = true;
      this.crash();
      return never();
    }
    try {
      const result = effect();
      if (this.stepsToCrash <= 0) {
        this.hasCrashed = true;
        // Killed after the effect took place, before the answer came back.
        this.crash();
        return never();
      }
      return Promise.resolve(result);
    } catch (error) {
      return Promise.reject(error);
    }
  }
}

export function protectAll(cidrs: readonly string[]): NeverBlock {
  return protect(cidrs.map((cidr) => [cidr, "test"]));
}

export function addressesOf(cidr: Cidr): Cidr[] {
  const bits = cidr.family === 4 ? 32 : 128;
  const halves = (range: Cidr): Cidr[] => {
    if (range.prefix === bits) return [range];
    const left = parseCidr(`${range.text.split("/")[0]}/${range.prefix + 1}`);
    const right = rangeAt(left.last + 1n, range.prefix + 1, cidr.family);
    return [...halves(left), ...halves(right)];
  };
  return halves(cidr);
}

function rangeAt(address: bigint, prefix: number, family: 4 | 6): Cidr {
  if (family === 4) {
    const octets = [24n, 16n, 8n, 0n].map((shift) => (address >> shift) & 255n);
    return parseCidr(`${octets.join(".")}/${prefix}`);
  }
  const groups = Array.from({ length: 8 }, (_, i) =>
    ((address >> BigInt(112 - 16 * i)) & 0xffffn).toString(16),
  );
  return parseCidr(`${groups.join(":")}/${prefix}`);
}

/** The fewest ranges that cover exactly these addresses. */
function fewestRanges(range: Cidr, addresses: ReadonlySet<string>): string[] {
  const inside = addressesOf(range);
  const wanted = inside.filter(({ text }) => addresses.has(text)).length;
  if (wanted === 0) return [];
  if (wanted === inside.length) return [range.text];
  const first = inside[0] as Cidr;
  const middle = inside[inside.length / 2] as Cidr;
  return [
    ...fewestRanges(widen(first, range.prefix + 1), addresses),
    ...fewestRanges(widen(middle, range.prefix + 1), addresses),
  ];
}
