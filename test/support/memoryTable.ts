import {
  ConflictError,
  EMPTY_STATE,
  type EndedBlock,
  type Known,
  type State,
  type Table,
} from "../../shared/aws/table.ts";
import { type Block, isExpired } from "../../shared/domain/block.ts";
import type { Family } from "../../shared/domain/cidr.ts";
import type { Suspect } from "../../shared/domain/corroboration.ts";
import type { Unblock } from "../../shared/domain/unblock.ts";

/**
 * The table in memory, as one ACL sees it: what test/contract says of the real one holds of it, as far
 * as tests need it. They look into it and break it.
 */
export function createMemoryTable() {
  const table = {
    blocks: new Map<string, Block>(),
    strikes: new Map<string, number>(),
    suspects: new Map<string, Suspect>(),
    lastUnblocks: new Map<string, Unblock>(),
    state: EMPTY_STATE,
    /** The writes and removals of blocks, in order. */
    writes: [] as { kind: "write" | "remove"; cidr: string }[],
    /** The addresses whose writes fail, and with what. */
    failures: new Map<string, Error>(),
    isUnreadable: false,
    unblocks: 0,
    /** Told of each block that leaves, as the stream tells the enforcer. */
    onRemove: (_block: Block): void => {},

    async readKnown(cidrs: readonly string[], now: number): Promise<Map<string, Known>> {
      if (cidrs.length > 0) table.failIfUnreadable();
      return new Map(
        cidrs.map((cidr) => {
          const suspect = table.suspects.get(cidr);
          return [
            cidr,
            {
              block: table.blocks.get(cidr),
              strikes: table.strikes.get(cidr) ?? 0,
              suspect: suspect && !isExpired(suspect, now) ? suspect : undefined,
              unblock: table.lastUnblocks.get(cidr),
            },
          ];
        }),
      );
    },
    async writeBlock(block: Block, before: Block | undefined): Promise<void> {
      table.change("write", block.cidr, before);
      if (before && before.requestId !== block.requestId) table.onRemove(before);
      table.blocks.set(block.cidr, copyOf(block));
    },
    async removeBlock(block: Block): Promise<void> {
      table.change("remove", block.cidr, block);
      if (table.blocks.delete(block.cidr)) table.onRemove(block);
    },
    async writeSuspect(cidr: string, suspect: Suspect): Promise<void> {
      table.suspects.set(cidr, copyOf(suspect));
    },
    async removeSuspect(cidr: string): Promise<void> {
      table.suspects.delete(cidr);
    },
    async writeUnblock(cidr: string, unblock: Unblock): Promise<void> {
      table.lastUnblocks.set(cidr, unblock);
    },
    async readStrongest(family: Family, count: number, now: number) {
      const blocks = table.ranked(family);
      const live = blocks.filter((block) => !isExpired(block, now));
      const ended = blocks.filter((block) => isExpired(block, now));
      const isInTheWay = blocks.slice(0, count).some((block) => isExpired(block, now));
      return {
        strongest: live.slice(0, count),
        inTheWay: isInTheWay && blocks.length > count ? ended : [],
      };
    },
    async readBlocks(cidrs: readonly string[], now: number): Promise<Block[]> {
      table.failIfUnreadable();
      return cidrs
        .flatMap((cidr) => table.blocks.get(cidr) ?? [])
        .filter((block) => !isExpired(block, now));
    },
    async readPage(family: Family, limit: number, after: string | undefined) {
      const rest = table.ranked(family).filter(({ rank }) => after === undefined || rank < after);
      const blocks = rest.slice(0, limit);
      return { blocks, next: rest.length > limit ? blocks.at(-1)?.rank : undefined };
    },
    async readState(): Promise<State> {
      table.failIfUnreadable();
      return table.state;
    },
    async writeState(state: State): Promise<State> {
      if (state.version !== table.state.version) throw conflict();
      table.state = { ...copyOf(state), version: state.version + 1 };
      return table.state;
    },
    async readUnblocks(): Promise<number> {
      table.failIfUnreadable();
      return table.unblocks;
    },
    async countUnblock(): Promise<void> {
      table.failIfUnreadable();
      table.unblocks++;
    },
    async rememberOffender(block: EndedBlock): Promise<void> {
      table.remember(block);
    },

    remember({ cidr, strikes }: EndedBlock): void {
      table.strikes.set(cidr, Math.max(strikes, table.strikes.get(cidr) ?? 0));
    },
    /** Strongest first. */
    ranked(family: Family): Block[] {
      return [...table.blocks.values()]
        .filter((block) => block.family === family)
        .toSorted((a, b) => (a.rank < b.rank ? 1 : -1));
    },
    change(kind: "write" | "remove", cidr: string, before: Block | undefined): void {
      const failure = table.failures.get(cidr);
      if (failure) throw failure;
      const there = table.blocks.get(cidr);
      const isSame = there?.requestId === before?.requestId;
      if (there && (!isSame || (kind === "write" && there.hits !== before?.hits))) throw conflict();
      table.writes.push({ kind, cidr });
    },
    failIfUnreadable(): void {
      if (table.isUnreadable) throw new Error("The table is down.");
    },
  };
  return table satisfies Table as typeof table & Table;
}

const conflict = () => new ConflictError("Another writer changed the item meanwhile.");

/** Unlike structuredClone's, whose objects are of another realm than the tests' and so equal to none. */
const copyOf = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;
