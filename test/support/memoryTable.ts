import { type Addresses, hasChanged } from "../../shared/aws/table/addresses.ts";
import type { Blocks } from "../../shared/aws/table/blocks.ts";
import { ConflictError } from "../../shared/aws/table/items.ts";
import type { EndedBlock, Offenders } from "../../shared/aws/table/offenders.ts";
import type { OrderBook } from "../../shared/aws/table/orders.ts";
import type { Outstanding } from "../../shared/aws/table/outstanding.ts";
import type { OwnersList, TargetStates } from "../../shared/aws/table/targetStates.ts";
import type { Block } from "../../shared/domain/block.ts";
import { type Cidr, type Family, parseCidr } from "../../shared/domain/cidr.ts";
import type { Suspect } from "../../shared/domain/corroboration.ts";
import type { Known, Unblock, Withdrawals } from "../../shared/domain/decide.ts";
import type { Hold, Mode, Undo, Withdrawer } from "../../shared/domain/orders.ts";
import { countOutstanding } from "../../shared/domain/outstanding.ts";
import { levelOf, rankOf } from "../../shared/domain/rank.ts";
import type { Score } from "../../shared/domain/score.ts";
import { type EpochMillis, isExpired } from "../../shared/domain/time.ts";
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
      const { block, suspect, unblock, withdrawals } = next;
      if (unblock && unblock.requestedAt !== before.unblock?.requestedAt) {
        const known = table.unblocks.get(cidr.text);
        if (known && known.requestedAt > unblock.requestedAt) throw conflict();
        table.unblocks.set(cidr.text, { ...unblock });
        await table.betweenWrites();
      }
      if (withdrawals && withdrawals !== before.withdrawals) {
        const version = table.withdrawals.get(cidr.text)?.version ?? 0;
        if (version !== withdrawals.version) throw conflict();
        table.withdrawals.set(cidr.text, { ...copyOf(withdrawals), version: version + 1 });
        await table.betweenWrites();
      }
      if (suspect && suspect !== before.suspect) {
        if ((table.suspects.get(cidr.text)?.version ?? 0) !== suspect.version) throw conflict();
        table.suspects.set(cidr.text, { ...copyOf(suspect), version: suspect.version + 1 });
        await table.betweenWrites();
      }
      if (block && hasChanged(block, before.block)) {
        const isNew = before.block && before.block.requestId !== block.requestId;
        if (isNew) {
          removeBlock(before.block);
          await table.betweenWrites();
        }
        writeBlock(block, isNew ? undefined : before.block);
      }
      if (!block && before.block) removeBlock(before.block);
      if (before.suspect && !suspect) table.suspects.delete(cidr.text);
    },
  };

  const blocks: Open<Blocks> = {
    async readStrongest(family, { count, leastSeverity = 0 }, now) {
      const blocks = table
        .ranked(family)
        .filter(({ severity, byOperator }) => byOperator || severity >= leastSeverity);
      const strongest: Block[] = [];
      const expiredBy = new Map<string, number>();
      let looked = 0;
      let first: Block | undefined;
      let isPartial = false;
      for (const block of blocks) {
        const level = levelOf(rankOf(block));
        const before = expiredBy.get(level) ?? 0;
        if (strongest.length === count) break;
        if (before >= table.passed) isPartial = true;
        if (before >= table.passed) continue;
        looked++;
        if (!isExpired(block, now)) strongest.push(block);
        else expiredBy.set(level, before + 1);
        if (isExpired(block, now)) first ??= block;
      }
      const expiredFrom = first && looked > count ? [rankOf(first)] : [];
      return { strongest, expiredFrom, isPartial };
    },
    async removeExpired(from, now) {
      const { family } = parseCidr(from.split("#").at(-1) ?? "");
      const page = table.ranked(family).filter((block) => rankOf(block) <= from);
      const expired = page.filter((block) => isExpired(block, now)).slice(0, table.sweptPage);
      for (const block of expired) removeBlock(block);
      const last = expired.at(-1);
      return { removed: expired.length, next: last && rankOf(last) };
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
    async readAfter(after, count) {
      failIfUnreadable();
      const all = [...table.blockItems.values()].toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
      const rest = all.filter((block) => after === undefined || keyOf(block) > after);
      const page = rest.slice(0, count);
      const last = page.at(-1);
      return { blocks: page, next: last && rest.length > count ? keyOf(last) : undefined };
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
      return new Map(table.networks);
    },
    async writeNetwork(id, ranges) {
      table.networks.set(id, [...ranges]);
    },
    async readOwnersList() {
      failIfUnreadable();
      return table.ownersList;
    },
    async writeOwnersList(list) {
      table.ownersList = list;
    },
  };

  const offenders: Open<Offenders> = {
    async remember(ended) {
      table.remember(ended);
    },
  };

  const orders: Open<OrderBook> = {
    async read(now) {
      failIfUnreadable();
      return {
        unblocks: table.unblocksCounted,
        holds: [...table.holds.values()].filter(({ until }) => until * 1000 > now - 60_000),
        undos: [...table.undos],
        withdrawers: [...table.withdrawers.values()].filter(({ until }) => until * 1000 > now),
        mode: table.mode,
      };
    },
    async countUnblock() {
      failIfUnreadable();
      table.unblocksCounted++;
    },
    async readCount() {
      failIfUnreadable();
      return table.unblocksCounted;
    },
    async hold(hold) {
      const known = table.holds.get(hold.cidr.text);
      if (known && known.requestedAt > hold.requestedAt) throw conflict();
      table.holds.set(hold.cidr.text, hold);
    },
    async lift({ cidr, requestedAt }) {
      if (table.holds.get(cidr.text)?.requestedAt === requestedAt) table.holds.delete(cidr.text);
    },
    async undo(undo) {
      table.undos.push(undo);
    },
    async markWithdrawer(withdrawer) {
      failIfUnreadable();
      table.withdrawers.set(withdrawer.detector, withdrawer);
    },
    async setMode(mode) {
      table.mode = mode;
    },
  };

  const outstanding: Open<Pick<Outstanding, "count" | "read">> = {
    async count(shifts, now) {
      for (const { caller, span, by } of shifts) {
        for (const name of [caller, "*"]) {
          const counts = table.outstandingBy.get(name) ?? {};
          table.outstandingBy.set(name, { ...counts, [span]: (counts[span] ?? 0) + by });
        }
      }
      return countOutstanding(table.outstandingBy.get("*") ?? {}, now);
    },
    async read(caller, now) {
      const of = (name: string) => countOutstanding(table.outstandingBy.get(name) ?? {}, now);
      return { own: of(caller), all: of("*") };
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
    withdrawals: new Map<string, Withdrawals>(),
    /** By the ids of the targets. */
    targetStates: new Map<string, TargetState>(),
    networks: new Map<string, readonly string[]>(),
    ownersList: undefined as OwnersList | undefined,
    /** Expired blocks of a level that are read past, and that are removed at once. */
    passed: 100,
    sweptPage: 500,
    unblocksCounted: 0,
    holds: new Map<string, Hold>(),
    undos: [] as Undo[],
    withdrawers: new Map<string, Withdrawer>(),
    mode: undefined as Mode | undefined,
    /** By the names of the callers, and "*" for all. */
    outstandingBy: new Map<string, Readonly<Record<string, number>>>(),
    /** The writes and removals of blocks, in order. */
    writes: [] as { kind: "write" | "remove"; cidr: string }[],
    /** The addresses whose writes fail, and with what. */
    failures: new Map<string, Error>(),
    isUnreadable: false,
    /** What comes in between the writes of one address. */
    betweenWrites: async (): Promise<void> => {},
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
    orders,
    outstanding,
  };

  function knownOf(cidr: string, now: EpochMillis): Known {
    const current = <T extends { expiresAt: number }>(item: T | undefined) =>
      item && !isExpired(item, now) ? item : undefined;
    const suspect = table.suspects.get(cidr);
    return {
      block: table.blockItems.get(cidr),
      strikes: table.strikes.get(cidr) ?? 0,
      score: table.scores.get(cidr),
      suspect: suspect && (current(suspect) ?? { ...suspect, reports: {} }),
      unblock: table.unblocks.get(cidr),
      withdrawals: table.withdrawals.get(cidr),
    };
  }

  function writeBlock(block: Block, before: Block | undefined): void {
    change("write", block.cidr, before);
    const isNew = block.requestId !== before?.requestId;
    table.blockItems.set(block.cidr.text, { ...block, version: isNew ? 1 : block.version + 1 });
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
    const isGone = !there && before && kind === "write";
    if (isGone || (there && (!isSame || there.version !== before?.version))) throw conflict();
    table.writes.push({ kind, cidr: text });
  }

  function failIfUnreadable(): void {
    if (table.isUnreadable) throw new Error("The table is down.");
  }

  return table;
}

const keyOf = ({ cidr: { text } }: Block) => `block#${text}`;

const conflict = () => new ConflictError("Another writer changed the item meanwhile.");

/** Unlike structuredClone's, whose objects are of another realm than the tests' and so equal to none. */
const copyOf = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;
