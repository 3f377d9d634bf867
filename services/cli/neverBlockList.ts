import type { SSMClient } from "@aws-sdk/client-ssm";
import { listedIn, MAX_NEVER_BLOCK, neverBlockKey, rangeOf } from "../../shared/aws/neverBlock.ts";
import {
  type Addition,
  createAdditions,
  writeAdditions,
} from "../../shared/aws/table/additions.ts";
import { partition } from "../../shared/aws/table/items.ts";
import { type Cidr, InvalidAddressError, parseCidr } from "../../shared/domain/cidr.ts";
import type { EpochMillis } from "../../shared/domain/time.ts";
import { readParameter } from "./callers.ts";
import { FailedError, UsageError } from "./errors.ts";
import type { Deployment } from "./stage.ts";

/** A range that is never blocked, for the operator. */
export type ShownRange = {
  readonly cidr: string;
  readonly addedBy: string;
  readonly why: string;
  /** ISO 8601. */
  readonly since: string;
};

/** The owner's never-block list: what operators list and change. */
export type NeverBlockList = {
  list(): Promise<ShownRange[]>;
  /** @returns how many were not there before. @throws UsageError, FailedError */
  add(texts: readonly string[], note: Note, now: EpochMillis): Promise<number>;
  /** @returns how many were there. @throws UsageError, FailedError */
  remove(texts: readonly string[]): Promise<number>;
};

/** Why a range is added, and by whom. */
export type Note = { readonly why: string; readonly addedBy: string };

export function createNeverBlockList(
  dynamo: Parameters<typeof writeAdditions>[0],
  ssm: SSMClient,
  { tableName, list, parameters }: Pick<Deployment, "tableName" | "list" | "parameters">,
): NeverBlockList {
  const config = { tableName };
  const settings = partition.settings(list);
  const own = async () => {
    const items = await createAdditions(dynamo, config, settings).items();
    return items.flatMap((item): (Addition & { cidr: string })[] => {
      const cidr = rangeOf(item);
      return cidr === undefined ? [] : [{ ...item, cidr }];
    });
  };
  const deployed = async () => listedIn(await readParameter(ssm, parameters.neverBlock));

  return {
    async list() {
      const [ours, theirs] = await Promise.all([own(), deployed()]);
      const text = (value: unknown) => (typeof value === "string" ? value : "");
      return [
        ...theirs.map((cidr) => ({ cidr, addedBy: "deployment", why: "", since: "" })),
        ...ours.map(({ cidr, addedBy, why, addedAt }) => ({
          cidr,
          addedBy: text(addedBy) || "operator",
          why: text(why),
          since: typeof addedAt === "number" ? new Date(addedAt).toISOString() : "",
        })),
      ];
    },

    async add(texts, note, now) {
      const known = new Set((await own()).map(({ cidr }) => cidr));
      const fresh = parseAll(texts).filter(({ text }) => !known.has(text));
      if (known.size + fresh.length > MAX_NEVER_BLOCK) {
        throw new FailedError(`The list takes ${MAX_NEVER_BLOCK} ranges; ${known.size} are there.`);
      }
      const item = { ...note, addedAt: now };
      await writeAdditions(
        dynamo,
        config,
        fresh.map((cidr) => ({ partition: settings, sk: neverBlockKey(cidr), item })),
      );
      return fresh.length;
    },

    async remove(texts) {
      const wanted = parseAll(texts);
      const [ours, theirs] = await Promise.all([own(), deployed()]);
      const known = new Set(ours.map(({ cidr }) => cidr));
      const missing = wanted.filter(({ text }) => !known.has(text));
      const fixed = missing.find(({ text }) => theirs.some((one) => parseCidr(one).text === text));
      if (fixed)
        throw new FailedError(`${fixed.text} is in the deployment's own list: change it there.`);
      const [first] = missing;
      if (first) throw new FailedError(`${first.text} is not on the list.`);
      await writeAdditions(
        dynamo,
        config,
        wanted.map((cidr) => ({ partition: settings, sk: neverBlockKey(cidr), item: undefined })),
      );
      return wanted.length;
    },
  };
}

/** Each once. @throws UsageError: all of them are looked at before any is written */
function parseAll(texts: readonly string[]): Cidr[] {
  try {
    return [...new Map(texts.map(parseCidr).map((cidr) => [cidr.text, cidr])).values()];
  } catch (error) {
    if (!(error instanceof InvalidAddressError)) throw error;
    throw new UsageError(error.message, { cause: error });
  }
}
