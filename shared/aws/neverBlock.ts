import { isDeepStrictEqual } from "node:util";
import { LRUCache } from "lru-cache";
import { BITS, type Cidr, parseCidr } from "../domain/cidr.ts";
import { type NeverBlock, protect, SPECIAL_RANGES } from "../domain/neverBlock.ts";
import type { EpochMillis, Millis } from "../domain/time.ts";
import type { Added } from "./added.ts";
import type { Logger } from "./log.ts";
import { createParsed, type Parameters, remembering } from "./parameters.ts";
import { isPrefixList, type PrefixLists, type PrefixRanges } from "./prefixLists.ts";
import type { Addition } from "./table/additions.ts";
import type { OwnersList, TargetStates } from "./table/targetStates.ts";

/** The parameter's value for an empty list, as SSM stores no empty value. */
const EMPTY = "none";

/** At most this many ranges in each of the owner's lists. */
export const MAX_NEVER_BLOCK = 10_000;

const NEVER_BLOCK_KEY = "never-block#";
/** @param entry a range, or a prefix list's id */
export const neverBlockKey = (entry: string) => NEVER_BLOCK_KEY + entry;

/** The entry that an operator has added, as text; undefined if the item is something else. */
export const entryOf = ({ sk }: Addition): string | undefined =>
  sk.startsWith(NEVER_BLOCK_KEY) ? sk.slice(NEVER_BLOCK_KEY.length) : undefined;

/** The entries in a parameter's value (ranges and prefix list ids), as text. */
export const listedIn = (value: string): string[] =>
  value.split(/[\s,]+/).filter((entry) => entry !== "" && entry !== EMPTY);

/** The owner's list, from both sources: ranges, and each prefix list's id once. */
function ownersEntries(value: string, additions: readonly Addition[]) {
  const all = [...listedIn(value), ...additions.flatMap((item) => entryOf(item) ?? [])];
  const ranges = all.filter((entry) => !isPrefixList(entry));
  const prefixLists = [...new Set(all.filter(isPrefixList))].toSorted();
  return { ranges, prefixLists };
}

/** How many networks' lists are kept in memory. */
const MAX_NETWORKS = 10;

const NO_PREFIX_LISTS: PrefixRanges = new Map();

/**
 * Makes the list of ranges that must not be blocked: the special ones, the owner's list (the parameter's
 * comma- or space-separated entries, and what operators have added), and our own ranges. An entry is a CIDR,
 * or the id of a managed prefix list, which stands for that list's ranges. Every request asks for the list,
 * and it rarely changes, so each version is parsed once.
 *
 * @returns a function of the parameter's value, the additions, our own ranges, and the ranges of prefix
 *   lists, as EC2 shows them or as the enforcer recorded them. It throws InvalidAddressError if the owner's
 *   list has any other entry: a list that cannot be trusted must not pass for an empty one. A prefix list
 *   that is not among those given adds no ranges.
 */
export function createNeverBlockParser(): (
  value: string,
  additions: readonly Addition[],
  ownRanges: readonly string[],
  prefixRanges?: PrefixRanges,
) => NeverBlock {
  const ownersList = remembering((value: string) =>
    remembering((additions: readonly Addition[]) => {
      const { ranges, prefixLists } = ownersEntries(value, additions);
      const why = "on the never-block list";
      const fixed = [...SPECIAL_RANGES, ...protect(ranges.map((cidr) => [cidr, why]))];
      return remembering((prefixRanges: PrefixRanges) => {
        const theirs = prefixLists.flatMap((id) =>
          protect((prefixRanges.get(id) ?? []).map((cidr) => [cidr, `${why}: in ${id}`])),
        );
        const owners = [...fixed, ...theirs];
        return { owners, lists: new LRUCache<string, NeverBlock>({ max: MAX_NETWORKS }) };
      });
    }),
  );
  return (value, additions, ownRanges, prefixRanges = NO_PREFIX_LISTS) => {
    const { owners, lists } = ownersList(value)(additions)(prefixRanges);
    const network = ownRanges.join();
    const known = lists.get(network);
    if (known) return known;
    const list = [
      ...owners,
      ...ownRanges.map(parseCidr).map((cidr) => ({ cidr, why: whyOwn(cidr) })),
    ];
    lists.set(network, list);
    return list;
  };
}

/** Why one of our own ranges is protected. EC2 makes no VPC of a single address. */
function whyOwn({ prefix, family }: Cidr): string {
  return prefix === BITS[family] ? "the account's own address" : "the VPC's own range";
}

/** How long the list that was read last applies while the parameter store cannot be read. */
const MAX_AGE: Millis = 86_400_000;

/** How often an unchanged list is written to the table again, with its new time of reading. */
const CONFIRM_EVERY: Millis = 3_600_000;

/** The never-block list, and whether the owner's part of it is current. */
export type LastKnown = { readonly list: NeverBlock; readonly isCurrent: boolean };

/**
 * The list as the enforcer reads it. Anyone may keep the parameter store busy, and new blocks must not wait
 * for it: while it cannot be read, what was read last applies for a day, even in an instance that has never
 * read it, which takes it from the table. What operators have added is in the table anyway. A malformed
 * list never applies.
 *
 * @returns a function of the ranges of the network behind the target; it throws if the list, or a prefix
 *   list on it, cannot be read and none that is recent enough is known
 */
export function createLastKnown(
  parameters: Parameters,
  parameterName: string,
  added: Added,
  prefixLists: PrefixLists,
  states: Pick<TargetStates, "readOwnersList" | "writeOwnersList">,
  log: Pick<Logger, "warn" | "error">,
  clock: () => EpochMillis,
): (ownRanges: readonly string[]) => Promise<LastKnown> {
  const parse = createNeverBlockParser();
  let known: OwnersList | undefined;
  /** What the table has. */
  let written: OwnersList | undefined;

  async function remember(value: string): Promise<void> {
    known = { value, readAt: clock() };
    const isFresh = written && known.readAt - written.readAt < CONFIRM_EVERY;
    if (isFresh && written?.value === value) return;
    const before = written;
    written = known;
    await states.writeOwnersList(known).catch((error: Error) => {
      written = before;
      log.warn("The never-block list could not be recorded", error);
    });
  }

  /** The list of what the parameter has, or had. */
  async function listOf(
    value: string,
    additions: readonly Addition[],
    ownRanges: readonly string[],
  ): Promise<LastKnown> {
    const { ranges, isCurrent } = await prefixLists(ownersEntries(value, additions).prefixLists);
    return { list: parse(value, additions, ownRanges, ranges), isCurrent };
  }

  return async (ownRanges) => {
    const additions = await added();
    let value: string;
    try {
      value = await parameters.get(parameterName);
    } catch (error) {
      log.error("The never-block list cannot be read", error as Error);
      known ??= await states.readOwnersList();
      if (!known || clock() - known.readAt > MAX_AGE) throw error;
      return { ...(await listOf(known.value, additions, ownRanges)), isCurrent: false };
    }
    const list = await listOf(value, additions, ownRanges);
    await remember(value);
    return list;
  };
}

const RECORDED_TTL_MS = 60_000;

/** How long a failing table is left alone, so that not every request waits for it to fail. */
const FAILURE_TTL_MS = 2_000;

/** While no ranges are recorded, the table is asked again after this time: WAF sets alone have none. */
const NONE_TTL_MS = 1_000;

/** What the enforcer has recorded: our own ranges and those of prefix lists. */
type Recorded = { readonly ownRanges: readonly string[]; readonly prefixRanges: PrefixRanges };

const NONE_RECORDED: Recorded = { ownRanges: [], prefixRanges: NO_PREFIX_LISTS };

/**
 * The list as the worker and the endpoint read it: the ranges of VPCs and prefix lists are those recorded by
 * the enforcer, which alone may ask EC2.
 */
export function createNeverBlock(
  parameters: Parameters,
  parameterName: string,
  added: Added,
  states: Pick<TargetStates, "readNetworks">,
  log: Pick<Logger, "error">,
  clock: () => EpochMillis,
): () => Promise<NeverBlock> {
  const parse = createNeverBlockParser();
  const readParameter = createParsed(parameters, parameterName, (value) => value, log, clock);
  const recorded = new LRUCache<"recorded", Recorded>({
    max: 1,
    ttl: RECORDED_TTL_MS,
    noDeleteOnStaleGet: true,
    fetchMethod: async (_key, before, { options }) => {
      try {
        const networks = [...(await states.readNetworks())];
        // Nothing is recorded before the enforcer's first look, which may come soon.
        const isSeen = networks.some(([id, { length }]) => id.startsWith("acl-") && length > 0);
        if (!isSeen) options.ttl = NONE_TTL_MS;
        const read = {
          ownRanges: networks.flatMap(([id, ranges]) => (isPrefixList(id) ? [] : ranges)),
          prefixRanges: new Map(networks.filter(([id]) => isPrefixList(id))),
        };
        return isDeepStrictEqual(read, before) ? before : read;
      } catch {
        // What was known still applies. With nothing recorded, the owner's ranges still apply; `plan` asks
        // for everything again.
        options.ttl = FAILURE_TTL_MS;
        return before ?? NONE_RECORDED;
      }
    },
  });
  return async () => {
    const { ownRanges, prefixRanges } =
      recorded.get("recorded") ?? (await recorded.fetch("recorded")) ?? NONE_RECORDED;
    const [value, additions] = await Promise.all([readParameter(), added()]);
    return parse(value, additions, ownRanges, prefixRanges);
  };
}
