import { ConflictError, EMPTY_STATE, type Known, type Table } from "../../shared/aws/table.ts";
import type { Block } from "../../shared/domain/block.ts";

/** The part of the table that the worker uses, in memory. Tests look into it and break it. */
export function createMemoryTable() {
  const table = {
    blocks: new Map<string, Block>(),
    strikes: new Map<string, number>(),
    /** The writes and removals, in order. */
    writes: [] as { kind: "write" | "remove"; cidr: string }[],
    /** The addresses whose writes fail, and with what. */
    failures: new Map<string, Error>(),
    isUnreadable: false,

    async readKnown(cidrs: readonly string[]): Promise<Map<string, Known>> {
      if (table.isUnreadable && cidrs.length > 0) throw new Error("The table is down.");
      return new Map(
        cidrs.map((cidr) => [
          cidr,
          { block: table.blocks.get(cidr), strikes: table.strikes.get(cidr) ?? 0 },
        ]),
      );
    },
    async writeBlock(block: Block, before: Block | undefined): Promise<void> {
      table.change("write", block.cidr, before);
      table.blocks.set(block.cidr, structuredClone(block));
    },
    async removeBlock(block: Block): Promise<void> {
      table.change("remove", block.cidr, block);
      table.blocks.delete(block.cidr);
    },
    async readState() {
      return EMPTY_STATE;
    },

    change(kind: "write" | "remove", cidr: string, before: Block | undefined): void {
      const failure = table.failures.get(cidr);
      if (failure) throw failure;
      const there = table.blocks.get(cidr);
      if (there?.firstSeenAt !== before?.firstSeenAt || there?.hits !== before?.hits) {
        throw new ConflictError("Another writer changed the item meanwhile.");
      }
      table.writes.push({ kind, cidr });
    },
  };
  return table satisfies Partial<Table> as typeof table & Table;
}
