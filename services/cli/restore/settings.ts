import { callerKey, MAX_CALLERS, parseAddedCallers } from "../../../shared/aws/callers.ts";
import { entryOf, MAX_NEVER_BLOCK } from "../../../shared/aws/neverBlock.ts";
import { isPrefixList } from "../../../shared/aws/prefixLists.ts";
import {
  type Addition,
  createAdditions,
  passVersion,
  writeAdditions,
} from "../../../shared/aws/table/additions.ts";
import { ConflictError, partition, type TableConfig } from "../../../shared/aws/table/items.ts";
import { addedSecrets, tokenKey } from "../../../shared/aws/tokens.ts";
import { parseCidr } from "../../../shared/domain/cidr.ts";
import { FailedError } from "../errors.ts";
import { counting, type Restored, type Restoring } from "./restoring.ts";

/** A kind of items that operators add by name. */
type Kind = {
  readonly what: string;
  readonly most: number;
  /** The name that an item belongs to; undefined if it is of another kind. */
  nameOf(item: Addition): string | undefined;
  /** @throws if the functions could not read it, which would make the whole list unreadable */
  check(item: Addition): void;
};

const after = (prefix: string, { sk }: Addition) =>
  sk.startsWith(prefix) ? sk.slice(prefix.length) : undefined;

const CALLERS: Kind = {
  what: "callers",
  most: MAX_CALLERS,
  nameOf: (item) => after(callerKey(""), item) ?? after(tokenKey(""), item),
  check(item) {
    parseAddedCallers([item]);
    addedSecrets([item]);
  },
};

const RANGES: Kind = {
  what: "never-block ranges",
  most: MAX_NEVER_BLOCK,
  nameOf: entryOf,
  check(item) {
    const entry = entryOf(item) ?? "";
    if (!isPrefixList(entry)) parseCidr(entry);
  },
};

/** Names per write: a caller is two items, and a transaction takes 98. */
const CHUNK = 49;

/** How often the list is looked at again if somebody adds the same names meanwhile. */
const MAX_TRIES = 5;

/** More changes than a lost table can have seen since its copy was made. */
const LOST_CHANGES = 1_000_000;

/**
 * Copies what operators have added. A caller is copied together with its tokens, so that a revoked one stays
 * revoked; unreadable items are left out.
 */
export async function restoreSettings(restoring: Restoring): Promise<Restored[]> {
  const { stage, deployment, from } = restoring;
  for (const nameOf of [partition.settings, partition.tokens]) {
    const version = await createAdditions(stage.dynamo, from, nameOf(from.list)).version();
    if (version > 0)
      await passVersion(stage.dynamo, deployment, nameOf(deployment.list), version + LOST_CHANGES);
  }
  return [await copy(CALLERS, restoring), await copy(RANGES, restoring)];
}

async function copy(kind: Kind, restoring: Restoring): Promise<Restored> {
  const { stage, deployment, from, watch } = restoring;
  const counted = counting(kind.what);
  const of = async (config: TableConfig) => {
    const items = await readSettings(stage.dynamo, config);
    return items.filter((item) => kind.nameOf(item) !== undefined);
  };
  const readable = (await of(from)).filter((item) => {
    try {
      kind.check(item);
      return true;
    } catch {
      counted.unreadable++;
      return false;
    }
  });
  const wanted = [...Map.groupBy(readable, kind.nameOf).values()];
  let live = await of(deployment);
  const count = new Set([...live, ...readable].map(kind.nameOf)).size;
  if (count > kind.most)
    throw new FailedError(`That would make ${count} ${kind.what}; ${kind.most} are the most.`);

  for (let start = 0; start < wanted.length && !watch.signal.aborted; start += CHUNK) {
    const some = wanted.slice(start, start + CHUNK);
    for (let tries = 1; ; tries++) {
      const missing = some
        .map((items) => missingIn(live, items))
        .filter(({ length }) => length > 0);
      const changes = missing.flat().map((item) => ({
        ...{ partition: String(item.list), sk: item.sk, item },
        isNew: true,
      }));
      try {
        await writeAdditions(stage.dynamo, deployment, changes);
        counted.copied += missing.length;
        counted.known += some.length - missing.length;
        break;
      } catch (error) {
        if (!(error instanceof ConflictError) || tries === MAX_TRIES) throw error;
        live = await of(deployment);
      }
    }
    watch.onProgress(counted);
  }
  return counted;
}

/** The items of one name that are missing. A revoked caller needs no token. */
function missingIn(live: readonly Addition[], items: readonly Addition[]): readonly Addition[] {
  const known = new Map(live.map((item) => [item.sk, item]));
  return items.filter((item) => {
    const name = after(tokenKey(""), item);
    const isRevoked = name !== undefined && known.get(callerKey(name))?.caller === null;
    return !isRevoked && !known.has(item.sk);
  });
}

async function readSettings(
  dynamo: Restoring["stage"]["dynamo"],
  { tableName, list }: TableConfig,
): Promise<Addition[]> {
  const partitions = [partition.settings(list), partition.tokens(list)];
  const read = partitions.map((one) => createAdditions(dynamo, { tableName }, one).items());
  return (await Promise.all(read)).flat();
}
