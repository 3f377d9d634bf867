import { randomBytes } from "node:crypto";
import { Ec2Error, invalidValue } from "./errors.ts";
import type { Ec2State, PrefixList } from "./state.ts";

type Entries = PrefixList["entries"];

/** A new prefix list of the account, which is there at once. */
export function createPrefixList(
  before: Ec2State,
  given: Omit<PrefixList, "prefixListId" | "state" | "version">,
): { state: Ec2State; prefixList: PrefixList } {
  const prefixList: PrefixList = {
    ...given,
    prefixListId: `pl-0${randomBytes(8).toString("hex")}`,
    state: "create-complete",
    version: 1,
  };
  checkSize(prefixList);
  return { state: { ...before, prefixLists: [...before.prefixLists, prefixList] }, prefixList };
}

/** Changes its entries, which makes a new version (API reference: ModifyManagedPrefixList). */
export function modifyPrefixList(
  before: Ec2State,
  prefixListId: string,
  { add, remove, version }: { add: Entries; remove: readonly string[]; version: number },
): { state: Ec2State; prefixList: PrefixList } {
  const old = findPrefixList(before, prefixListId);
  if (old.version !== version) {
    throw new Ec2Error(
      "PrefixListVersionMismatch",
      `The prefix list has the incorrect version number (${version}, it is ${old.version})`,
    );
  }
  const gone = new Set([...remove, ...add.map(({ cidr }) => cidr)]);
  const entries = [...old.entries.filter(({ cidr }) => !gone.has(cidr)), ...add];
  const prefixList = {
    ...{ ...old, entries, version: version + 1 },
    state: "modify-complete" as const,
  };
  checkSize(prefixList);
  const prefixLists = before.prefixLists.map((one) => (one === old ? prefixList : one));
  return { state: { ...before, prefixLists }, prefixList };
}

/** Deletes it at once. */
export function deletePrefixList(
  before: Ec2State,
  prefixListId: string,
): { state: Ec2State; prefixList: PrefixList } {
  const prefixList = findPrefixList(before, prefixListId);
  const prefixLists = before.prefixLists.filter((one) => one !== prefixList);
  return { state: { ...before, prefixLists }, prefixList };
}

/** The prefix list with this id, or InvalidPrefixListID.NotFound. */
export function findPrefixList({ prefixLists }: Ec2State, prefixListId: string): PrefixList {
  const found = prefixLists.find((one) => one.prefixListId === prefixListId);
  if (found) return found;
  throw new Ec2Error(
    "InvalidPrefixListID.NotFound",
    `The prefix list ID '${prefixListId}' does not exist`,
  );
}

function checkSize({ entries, maxEntries }: PrefixList): void {
  if (maxEntries < 1) throw invalidValue(`${maxEntries}`, "maxEntries");
  if (entries.length <= maxEntries) return;
  throw new Ec2Error(
    "PrefixListMaxEntriesExceeded",
    `The prefix list takes ${maxEntries} entries, not ${entries.length}`,
  );
}
