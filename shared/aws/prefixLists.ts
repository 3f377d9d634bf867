import { isDeepStrictEqual } from "node:util";
import {
  type EC2Client,
  type ManagedPrefixList,
  paginateDescribeManagedPrefixLists,
  paginateGetManagedPrefixListEntries,
} from "@aws-sdk/client-ec2";
import type { EpochMillis, Millis } from "../domain/time.ts";
import type { Logger } from "./log.ts";
import type { TargetStates } from "./table/targetStates.ts";

/** At most this many prefix lists in the owner's list. */
export const MAX_PREFIX_LISTS = 10;

/**
 * At most this many entries per prefix list, EC2's default quota: ten lists make as many ranges as the
 * owner's list may have anyway.
 */
export const MAX_ENTRIES = 1_000;

/** Both calls return a hundred at a time. */
const PAGE_SIZE = 100;

/** How often EC2 is asked whether they have changed. */
const READ_EVERY: Millis = 60_000;

/** How soon EC2 is asked again if a list could not be read: new blocks may wait for it. */
const RETRY_AFTER: Millis = 5_000;

/** How long a converge waits for them, as it waits for the account's addresses. */
const PATIENCE: Millis = 2_000;

/** Whether an entry of the owner's list is a managed prefix list's id, not a range. */
export const isPrefixList = (text: string): boolean => /^pl-[0-9a-f]{8,17}$/.test(text);

/** The ranges of prefix lists, by id. The same map object means the same ranges. */
export type PrefixRanges = ReadonlyMap<string, readonly string[]>;

/** What is known about prefix lists, and whether it is current. */
export type KnownPrefixLists = { readonly ranges: PrefixRanges; readonly isCurrent: boolean };

/** Reads the prefix lists with these ids. @throws Error if one of them has never been read */
export type PrefixLists = (ids: readonly string[]) => Promise<KnownPrefixLists>;

/** One list as it was read. */
type Held = {
  readonly ranges: readonly string[];
  /** The same version means the same ranges; undefined if EC2 states none, or is changing the list. */
  readonly version: number | undefined;
  readonly isRecorded: boolean;
};

/**
 * The managed prefix lists that the owner's never-block list names. Each is recorded under its id, beside
 * the targets' networks, for the endpoint and the worker, which may not ask EC2. If a list cannot be read,
 * what was read last applies, even in an instance that has never read it. So does a list that no longer
 * exists, until it is taken off the owner's list; the result says that it is not current, and the log why.
 */
export function createPrefixLists(
  ec2: EC2Client,
  states: Pick<TargetStates, "readNetworks" | "writeNetwork">,
  log: Pick<Logger, "warn" | "error">,
  clock: () => EpochMillis,
): PrefixLists {
  let named: readonly string[] = [];
  let held: ReadonlyMap<string, Held> = new Map();
  let ranges: PrefixRanges = new Map();
  let isCurrent = true;
  let dueAt = Number.NEGATIVE_INFINITY;
  /** One look at a time; each call waits for those before it. */
  let looking = Promise.resolve();

  async function look(ids: readonly string[]): Promise<void> {
    const abortSignal = AbortSignal.timeout(PATIENCE);
    const read = await readAll(ids, abortSignal);
    const isAnyUnread = ids.some((id) => !read.has(id));
    const isAnyUnknown = ids.some((id) => !read.has(id) && !held.has(id));
    const recorded = isAnyUnknown ? await states.readNetworks().catch(() => undefined) : undefined;
    const next = ids.flatMap((id): [string, Held][] => {
      const one = read.get(id) ?? held.get(id);
      if (one) return [[id, one]];
      const last = recorded?.get(id);
      return last ? [[id, { ranges: last, version: undefined, isRecorded: true }]] : [];
    });
    held = new Map(next);
    const all = new Map(next.map(([id, one]) => [id, one.ranges]));
    if (!isDeepStrictEqual(all, ranges)) ranges = all;
    named = ids;
    isCurrent = !isAnyUnread;
    dueAt = clock() + (isCurrent ? READ_EVERY : RETRY_AFTER);
  }

  /** Returns those that could be read. */
  async function readAll(ids: readonly string[], abortSignal: AbortSignal) {
    const read = new Map<string, Held>();
    const unread = (prefixList: string, error: unknown) =>
      log.error("A prefix list on the never-block list cannot be read", {
        prefixList,
        error: error as Error,
      });
    try {
      const found = await findPrefixLists(ec2, ids, abortSignal);
      await Promise.all(
        ids.map(async (id) => {
          try {
            read.set(id, await readOne(id, found.get(id), abortSignal));
          } catch (error) {
            unread(id, error);
          }
        }),
      );
    } catch (error) {
      unread(ids.join(), error);
    }
    return read;
  }

  async function readOne(
    id: string,
    found: ManagedPrefixList | undefined,
    abortSignal: AbortSignal,
  ): Promise<Held> {
    if (!found) throw new Error(`There is no prefix list ${id} in this region.`);
    const version = settledVersion(found);
    const before = held.get(id);
    const isSame = version !== undefined && version === before?.version;
    const now = isSame ? before.ranges : await entriesOf(ec2, id, abortSignal);
    const isRecorded = before?.isRecorded && isDeepStrictEqual(now, before.ranges);
    return { ranges: now, version, isRecorded: isRecorded || (await record(id, now)) };
  }

  async function record(id: string, of: readonly string[]): Promise<boolean> {
    try {
      await states.writeNetwork(id, of);
      return true;
    } catch (error) {
      log.warn("A prefix list could not be recorded", { prefixList: id, error: error as Error });
      return false;
    }
  }

  return async (ids) => {
    if (ids.length > MAX_PREFIX_LISTS) {
      throw new Error(`Of prefix lists ${MAX_PREFIX_LISTS} are read at most, not ${ids.length}.`);
    }
    looking = looking.then(async () => {
      if (clock() >= dueAt || !isDeepStrictEqual(ids, named)) await look(ids);
    });
    await looking;
    const unknown = ids.filter((id) => !ranges.has(id));
    if (unknown.length > 0) throw new Error(`Never read: ${unknown.join(", ")}.`);
    return { ranges, isCurrent };
  };
}

/** The prefix lists among these that exist, by id. */
export async function findPrefixLists(
  ec2: EC2Client,
  ids: readonly string[],
  abortSignal: AbortSignal,
): Promise<ReadonlyMap<string, ManagedPrefixList>> {
  const found = new Map<string, ManagedPrefixList>();
  if (ids.length === 0) return found;
  // By a filter, because one id that does not exist would fail the whole call.
  const Filters = [{ Name: "prefix-list-id", Values: [...ids] }];
  for await (const { PrefixLists = [] } of paginateDescribeManagedPrefixLists(
    { client: ec2, pageSize: PAGE_SIZE },
    { Filters },
    { abortSignal },
  )) {
    for (const one of PrefixLists) {
      const isGone = one.State === "delete-in-progress" || one.State === "delete-complete";
      if (one.PrefixListId !== undefined && !isGone) found.set(one.PrefixListId, one);
    }
  }
  return found;
}

/** A version whose entries no longer change; AWS's own lists have none. */
function settledVersion({ Version, State }: ManagedPrefixList): number | undefined {
  return State?.endsWith("-complete") ? Version : undefined;
}

async function entriesOf(ec2: EC2Client, id: string, abortSignal: AbortSignal): Promise<string[]> {
  const cidrs: string[] = [];
  for await (const { Entries = [] } of paginateGetManagedPrefixListEntries(
    { client: ec2, pageSize: PAGE_SIZE },
    { PrefixListId: id },
    { abortSignal },
  )) {
    cidrs.push(...Entries.flatMap(({ Cidr }) => Cidr ?? []));
    if (cidrs.length > MAX_ENTRIES) {
      throw new Error(`The prefix list ${id} has more than ${MAX_ENTRIES} entries.`);
    }
  }
  return cidrs.toSorted();
}
