import type { Addresses } from "../../shared/aws/table/addresses.ts";
import type { Blocks } from "../../shared/aws/table/blocks.ts";
import { ConflictError } from "../../shared/aws/table/items.ts";
import type { EndedBlock, Offenders } from "../../shared/aws/table/offenders.ts";
import type { TargetStates } from "../../shared/aws/table/targetStates.ts";
import type { UnblockCount } from "../../shared/aws/table/unblockCount.ts";
import type { Block } from "../../shared/domain/block.ts";
import type { Cidr, Family } from "../../shared/domain/cidr.ts";
import type { Suspect } from "../../shared/domain/corroboration.ts";
import type { Known } from "../../shared/domain/decide.ts";
import { rankOf } from "../../shared/domain/rank.ts";
import type { Score } from "../../shared/domain/score.ts";
import { type EpochMillis, isExpired } from "../../shared/domain/time.ts";
import type { Unblock } from "../../shared/domain/unblock.ts";
import { newTargetState, type TargetState } from "../../shared/targets/state.ts";

/** A port whose methods tests may replace. */
type Open<Port> = { -readonly [Method in keyof Port]: Port[Method] };

/**
 * The table in memory, as the ports of one list see it: what test/contract says of the real one holds
 * of it, as far as tests need it. They look into it and break it.
 */
export function createMemoryTable() {
  const addresses: Open<Addresses> = {
    async read(cidrs, now) {
      if (cidrs.length > 0) failIfUnreadable();
      return new Map(cidrs.map((cidr) => [cidr, knownOf(cidr, now)]));
    },
    async write(cidr, before, next) {
      const { block, suspect, unblock } = next;
      if (unblock && unblock !== before.unblock) table.unblocks.set(cidr.text, { ...unblock });
      if (suspect && suspect !== before.suspect) table.suspects.set(cidr.text, copyOf(suspect));
      if (block && hasChanged(block, before.block)) writeBlock(block, before.block);
      if (!block && before.block) removeBlock(before.block);
      if (before.suspect && !suspect) table.suspects.delete(cidr.text);
    },
  };

  const blocks: Open<Blocks> = {
    async readStrongest(family, { count, leastSeverity = 0 }, now) {
      const blocks = table.ranked(family).filter(({ severity }) => severity >= leastSeverity);
      const live = blocks.filter((block) => !isExpired(block, now));
      const ended = blocks.filter((block) => isExpired(block, now));
      const isInTheWay = blocks.slice(0, count).some((block) => isExpired(block, now));
      return {
        strongest: live.slice(0, count),
        inTheWay: isInTheWay && blocks.length > count ? ended : [],
      };
    },
    async readBlocks(cidrs, now) {
      failIfUnreadable();
      return cidrs
        .flatMap((cidr) => table.blockItems.get(cidr) ?? [])
        .filter((block) => !isExpired(block, now));
    },
    async readPage(family, limit, after) {
      const all = table.ranked(family);
      const rest = all.filter((block) => after === undefined || rankOf(block) < after);
      const blocks = rest.slice(0, limit);
      const last = blocks.at(-1);
      return { blocks, next: last && rest.length > limit ? rankOf(last) : undefined };
    },
    async remove(block) {
      removeBlock(block);
    },
  };

  const states: Open<TargetStates> = {
    async read(id, kind) {
      failIfUnreadable();
      return table.targetStates.get(id) ?? newTargetState(kind);
    },
    async write(id, state) {
      if (state.version !== (table.targetStates.get(id)?.version ?? 0)) throw conflict();
      const written = { ...copyOf(state), version: state.version + 1 };
      table.targetStates.set(id, written);
      return written;
    },
    async readNetworks() {
      failIfUnreadable();
      return [...table.networks.values()].flat();
    },
    async writeNetwork(id, ranges) {
      table.networks.set(id, [...ranges]);
    },
  };

  const offenders: Open<Offenders> = {
    async remember(ended) {
      table.remember(ended);
    },
  };

  const unblockCount: Open<UnblockCount> = {
    async read() {
      failIfUnreadable();
      return table.unblocksCounted;
    },
    async increment() {
      failIfUnreadable();
      table.unblocksCounted++;
    },
  };

  const table = {
    /** All by the texts of the addresses. */
    blockItems: new Map<string, Block>(),
    strikes: new Map<string, number>(),
    /** Of blocks that have ended. */
    scores: new Map<string, Score>(),
    suspects: new Map<string, Suspect>(),
    unblocks: new Map<string, Unblock>(),
    /** By the ids of the targets. */
    targetStates: new Map<string, TargetState>(),
    networks: new Map<string, readonly string[]>(),
    unblocksCounted: 0,
    /** The writes and removals of blocks, in order. */
    writes: [] as { kind: "write" | "remove"; cidr: string }[],
    /** The addresses whose writes fail, and with what. */
    failures: new Map<string, Error>(),
    isUnreadable: false,
    /** Called with each block that leaves, as the stream calls the enforcer. */
    onRemove: (_block: Block): void => {},

    /** Strongest first. */
    ranked(family: Family): Block[] {
      return [...table.blockItems.values()]
        .filter(({ cidr }) => cidr.family === family)
        .toSorted((a, b) => (rankOf(a) < rankOf(b) ? 1 : -1));
    },
    remember({ cidr: { text }, strikes, score }: EndedBlock): void {
      if (strikes < (table.strikes.get(text) ?? 0)) return;
      table.strikes.set(text, strikes);
      table.scores.set(text, score);
    },

    addresses,
    blocks,
    states,
    offenders,
    unblockCount,
  };

  function knownOf(cidr: string, now: EpochMillis): Known {
    const current = <T extends { expiresAt: number }>(item: T | undefined) =>
      item && !isExpired(item, now) ? item : undefined;
    return {
      block: table.blockItems.get(cidr),
      strikes: table.strikes.get(cidr) ?? 0,
      score: table.scores.get(cidr),
      suspect: current(table.suspects.get(cidr)),
      unblock: table.unblocks.get(cidr),
    };
  }

  function writeBlock(block: Block, before: Block | undefined): void {
    change("write", block.cidr, before);
    if (before && before.requestId !== block.requestId) table.onRemove(before);
    table.blockItems.set(block.cidr.text, { ...block });
  }

  function removeBlock(block: Block): void {
    change("remove", block.cidr, block);
    if (table.blockItems.delete(block.cidr.text)) table.onRemove(block);
  }

  function change(kind: "write" | "remove", { text }: Cidr, before: Block | undefined): void {
    const failure = table.failures.get(text);
    if (failure) throw failure;
    const there = table.blockItems.get(text);
    const isSame = there?.requestId === before?.requestId;
    if (there && (!isSame || (kind === "write" && there.hits !== before?.hits))) throw conflict();
    table.writes.push({ kind, cidr: text });
  }

  function failIfUnreadable(): void {
    if (table.isUnreadable) throw new Error("The table is down.");
  }

  return table;
}

/** Every report counts as a hit, and a new block has another first request. */
function hasChanged(block: Block, before: Block | undefined): boolean {
  return block.requestId !== before?.requestId || block.hits !== before.hits;
}

const conflict = () => new ConflictError("Another writer changed the item meanwhile.");

/** Unlike structuredClone's, whose objects are of another realm than the tests' and so equal to none. */
const copyOf = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;
