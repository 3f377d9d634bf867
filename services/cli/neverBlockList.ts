import { entryOf, listedIn, MAX_NEVER_BLOCK, neverBlockKey } from "../../shared/aws/neverBlock.ts";
import { findPrefixLists, isPrefixList, MAX_PREFIX_LISTS } from "../../shared/aws/prefixLists.ts";
import {
  type Addition,
  createAdditions,
  writeAdditions,
} from "../../shared/aws/table/additions.ts";
import { partition } from "../../shared/aws/table/items.ts";
import { createTargetStates } from "../../shared/aws/table/targetStates.ts";
import { InvalidAddressError, parseCidr } from "../../shared/domain/cidr.ts";
import type { EpochMillis, Millis } from "../../shared/domain/time.ts";
import { readParameter } from "./callers.ts";
import { FailedError, UsageError } from "./errors.ts";
import { numberOf } from "./output.ts";
import type { Deployment, Stage } from "./stage.ts";

/** A range that is never blocked, or a prefix list of such ranges, as shown to the operator. */
export type ShownEntry = {
  /** For a prefix list, its id. */
  readonly cidr: string;
  readonly addedBy: string;
  readonly why: string;
  /** ISO 8601. */
  readonly since: string;
  /** What the enforcer knows about a prefix list; empty for a range. */
  readonly state: string;
};

/** The owner's never-block list, as operators list and change it. */
export type NeverBlockList = {
  list(): Promise<ShownEntry[]>;
  /** @returns how many are new. @throws UsageError, FailedError */
  add(texts: readonly string[], note: Note, now: EpochMillis): Promise<number>;
  /** @returns how many were on the list. @throws UsageError, FailedError */
  remove(texts: readonly string[]): Promise<number>;
};

/** Why a range was added, and by whom. */
export type Note = { readonly why: string; readonly addedBy: string };

/** How long EC2 may take to say which prefix lists exist. */
const ANSWER_WITHIN: Millis = 10_000;

export function createNeverBlockList(
  { dynamo, ssm, ec2 }: Pick<Stage, "dynamo" | "ssm" | "ec2">,
  { tableName, list, parameters }: Pick<Deployment, "tableName" | "list" | "parameters">,
): NeverBlockList {
  const config = { tableName };
  const settings = partition.settings(list);
  const own = async () => {
    const items = await createAdditions(dynamo, config, settings).items();
    return items.flatMap((item): (Addition & { cidr: string })[] => {
      const cidr = entryOf(item);
      return cidr === undefined ? [] : [{ ...item, cidr }];
    });
  };
  const deployed = async () => listedIn(await readParameter(ssm, parameters.neverBlock));
  const existing = (ids: readonly string[]) =>
    findPrefixLists(ec2, ids, AbortSignal.timeout(ANSWER_WITHIN));

  /** What is known about the prefix lists among the entries, by id. */
  async function statesOf(entries: readonly string[]): Promise<ReadonlyMap<string, string>> {
    const ids = [...new Set(entries.filter(isPrefixList))];
    if (ids.length === 0) return new Map();
    const [found, networks] = await Promise.all([
      existing(ids),
      createTargetStates(dynamo, { tableName, list }).readNetworks(),
    ]);
    return new Map(ids.map((id) => [id, stateOf(found.has(id), networks.get(id)?.length)]));
  }

  /** @throws UsageError, FailedError */
  async function checkPrefixLists(fresh: readonly string[], known: readonly string[]) {
    const ids = fresh.filter(isPrefixList);
    const all = new Set([...known, ...ids].filter(isPrefixList));
    if (all.size > MAX_PREFIX_LISTS)
      throw new FailedError(`The list takes ${MAX_PREFIX_LISTS} prefix lists, not ${all.size}.`);
    const found = await existing(ids);
    const missing = ids.find((id) => !found.has(id));
    if (missing) throw new FailedError(`There is no prefix list ${missing} in this region.`);
  }

  return {
    async list() {
      const [ours, theirs] = await Promise.all([own(), deployed()]);
      const states = await statesOf([...theirs, ...ours.map(({ cidr }) => cidr)]);
      const stateIn = (cidr: string) => states.get(cidr) ?? "";
      const text = (value: unknown) => (typeof value === "string" ? value : "");
      return [
        ...theirs.map((cidr) => ({
          ...{ cidr, addedBy: "deployment", why: "", since: "" },
          state: stateIn(cidr),
        })),
        ...ours.map(({ cidr, addedBy, why, addedAt }) => ({
          cidr,
          addedBy: text(addedBy) || "operator",
          why: text(why),
          since: typeof addedAt === "number" ? new Date(addedAt).toISOString() : "",
          state: stateIn(cidr),
        })),
      ];
    },

    async add(texts, note, now) {
      const known = new Set((await own()).map(({ cidr }) => cidr));
      const fresh = parseAll(texts).filter((entry) => !known.has(entry));
      if (known.size + fresh.length > MAX_NEVER_BLOCK) {
        throw new FailedError(`The list takes ${MAX_NEVER_BLOCK} ranges; ${known.size} are there.`);
      }
      if (fresh.some(isPrefixList))
        await checkPrefixLists(fresh, [...known, ...(await deployed())]);
      const item = { ...note, addedAt: now };
      await writeAdditions(
        dynamo,
        config,
        fresh.map((entry) => ({ partition: settings, sk: neverBlockKey(entry), item })),
      );
      return fresh.length;
    },

    async remove(texts) {
      const wanted = parseAll(texts);
      const [ours, theirs] = await Promise.all([own(), deployed()]);
      const known = new Set(ours.map(({ cidr }) => cidr));
      const missing = wanted.filter((entry) => !known.has(entry));
      const fixed = missing.find((entry) => theirs.some((one) => canonical(one) === entry));
      if (fixed !== undefined)
        throw new FailedError(`${fixed} is in the deployment's own list: change it there.`);
      const [first] = missing;
      if (first !== undefined) throw new FailedError(`${first} is not on the list.`);
      await writeAdditions(
        dynamo,
        config,
        wanted.map((entry) => ({ partition: settings, sk: neverBlockKey(entry), item: undefined })),
      );
      return wanted.length;
    },
  };
}

/** Each once. @throws UsageError; all are checked before any is written */
function parseAll(texts: readonly string[]): string[] {
  try {
    return [...new Set(texts.map(canonical))];
  } catch (error) {
    if (!(error instanceof InvalidAddressError)) throw error;
    throw new UsageError(error.message, { cause: error });
  }
}

/** @throws InvalidAddressError for what is neither a range nor a prefix list's id */
const canonical = (entry: string): string => (isPrefixList(entry) ? entry : parseCidr(entry).text);

/** @param ranges how many of its ranges the enforcer has read */
function stateOf(exists: boolean, ranges: number | undefined): string {
  const known = ranges === undefined ? "not read yet" : numberOf(ranges, "range");
  if (exists) return known;
  return ranges === undefined
    ? "does not exist: nothing new is blocked"
    : `does not exist; what it was still holds: ${known}`;
}
