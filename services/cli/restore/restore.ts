import {
  DescribeTableCommand,
  ResourceNotFoundException,
  type TableDescription,
} from "@aws-sdk/client-dynamodb";
import { createBlocks } from "../../../shared/aws/table/blocks.ts";
import { createOrderBook } from "../../../shared/aws/table/orders.ts";
import { createOutstanding } from "../../../shared/aws/table/outstanding.ts";
import { FailedError, UsageError } from "../errors.ts";
import { restoreBlocks } from "./blocks.ts";
import {
  copyItems,
  HOLDS,
  MODE,
  OFFENDERS,
  UNBLOCKS,
  UNDOS,
  WITHDRAWALS,
  WITHDRAWERS,
} from "./items.ts";
import type { Restored, Restoring } from "./restoring.ts";
import { restoreSettings } from "./settings.ts";
import { reclaimTargets } from "./targets.ts";

// restore: items of a copy of the table, as point-in-time recovery makes one, into the live table.
//
//   part        what of it                            → what happens
//   ─────────────────────────────────────────────────────────────────────────────────────────────────
//   settings    callers, tokens, never-block ranges     copied where the name is not known
//   orders      unblocks, holds, undos                  copied unless over; the newer one stays
//               withdrawals, and who withdraws          copied unless over, or the address has some
//               the mode                                copied where none is ordered
//   offenders   how often an address was blocked        copied unless over; the newer one stays
//   targets     what was ours in a target               ours again where the target still shows it
//   blocks      what is still wanted                    copied, unless blocked or taken back since
//               what has ended meanwhile                remembered as an offender
//   counts      blocks in force, of each caller         counted anew, not copied
//
// In this order, because each block wakes the enforcer: what is never blocked, the orders, and which entries
// are ours must be in place by then. Not copied: budgets, callers' addresses and suspects, which are
// short-lived; what detectors did; the rest of a target's state and its networks, which the enforcer finds
// and writes by itself. If run again, it finds what is already there and continues.

export const PARTS = ["settings", "orders", "offenders", "targets", "blocks"] as const;
export type Part = (typeof PARTS)[number];

/** Blocks per read when they are only counted. */
const PAGE = 500;

/**
 * Copies what still applies from a copy of the table into the live one, and overwrites nothing newer.
 *
 * @throws UsageError, FailedError if the table is no copy of the stage's
 */
export async function restore(
  restoring: Restoring,
  parts: readonly Part[] = PARTS,
): Promise<Restored[]> {
  await checkTables(restoring);
  const { watch } = restoring;
  const all: Restored[] = [];
  for (const part of PARTS) {
    if (!parts.includes(part)) continue;
    for (const run of STEPS[part]) {
      if (watch.signal.aborted) return all;
      all.push(...(await run(restoring)));
    }
  }
  const isEmpty = all.every(
    ({ copied, known, over, unreadable }) => copied + known + over + unreadable === 0,
  );
  if (!isEmpty || watch.signal.aborted) return all;
  const { tableName, list } = restoring.from;
  throw new FailedError(`The table ${tableName} holds nothing of ${list} that could be restored.`);
}

type Step = (restoring: Restoring) => Promise<readonly Restored[]>;

const STEPS: Readonly<Record<Part, readonly Step[]>> = {
  settings: [restoreSettings],
  orders: [
    async (restoring) => {
      const copied: Restored[] = [];
      for (const kind of [UNBLOCKS, HOLDS, UNDOS, WITHDRAWALS, WITHDRAWERS, MODE])
        copied.push(await copyItems(restoring, kind));
      // Makes anyone who is writing an address look at the orders again.
      await createOrderBook(restoring.stage.dynamo, restoring.deployment).countUnblock();
      return copied;
    },
  ],
  offenders: [async (restoring) => [await copyItems(restoring, OFFENDERS)]],
  targets: [reclaimTargets],
  blocks: [async (restoring) => [await restoreBlocks(restoring)], recount],
};

async function recount({ stage, deployment, clock }: Restoring): Promise<[]> {
  const blocks = createBlocks(stage.dynamo, deployment);
  async function* list() {
    let after: string | undefined;
    do {
      const page = await blocks.readAfter(after, PAGE);
      yield page.blocks;
      after = page.next;
    } while (after !== undefined);
  }
  await createOutstanding(stage.dynamo, deployment).recount(list(), clock());
  return [];
}

async function checkTables({ stage, deployment, from }: Restoring): Promise<void> {
  const { tableName } = deployment;
  if (from.tableName === tableName) throw new UsageError(`${tableName} is the live table itself.`);
  const describe = async (TableName: string): Promise<TableDescription> => {
    try {
      return (await stage.dynamo.send(new DescribeTableCommand({ TableName }))).Table ?? {};
    } catch (error) {
      if (!(error instanceof ResourceNotFoundException)) throw error;
      throw new FailedError(`There is no table ${TableName} in the stage's region.`);
    }
  };
  const [copy, live] = [await describe(from.tableName), await describe(tableName)];
  if (copy.TableStatus !== "ACTIVE") {
    const status = `${copy.TableStatus}: wait until it is ACTIVE`;
    throw new FailedError(`The table ${from.tableName} is ${status}.`);
  }
  const keysOf = ({ KeySchema = [] }: TableDescription) =>
    KeySchema.map(({ AttributeName, KeyType }) => `${KeyType} ${AttributeName}`).join();
  if (keysOf(copy) !== keysOf(live))
    throw new FailedError(
      `The table ${from.tableName} is no copy of ${tableName}: it has other keys.`,
    );
}
