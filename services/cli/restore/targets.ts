import * as v from "valibot";
import { ConflictError } from "../../../shared/aws/table/items.ts";
import { createTargetStates, readTargetIds } from "../../../shared/aws/table/targetStates.ts";
import type { EpochMillis } from "../../../shared/domain/time.ts";
import { createNetworkAcl } from "../../../shared/targets/networkAcl/ec2.ts";
import { aclRecord, reclaimAcl } from "../../../shared/targets/networkAcl/record.ts";
import { placesOf } from "../../../shared/targets/state.ts";
import type { TargetKind } from "../../../shared/targets/target.ts";
import { reclaimSets, wafRecord } from "../../../shared/targets/wafIpSet/record.ts";
import { createIpSets } from "../../../shared/targets/wafIpSet/wafv2.ts";
import { counting, type Restored, type Restoring } from "./restoring.ts";

/** How often a state is read again if the enforcer has written it meanwhile. */
const MAX_TRIES = 10;

/**
 * Reclaims the entries in the targets that are ours according to the copy and that the targets still show.
 * The copy alone is not enough: an entry that is gone may have made way for a person's.
 */
export async function reclaimTargets(restoring: Restoring): Promise<Restored[]> {
  const targets = await readTargetIds(restoring.stage.dynamo, restoring.from);
  const all: Restored[] = [];
  for (const { id, kind } of targets) {
    if (restoring.watch.signal.aborted) break;
    const counted = counting(`entries of ${id}`);
    all.push(counted);
    try {
      await reclaim(restoring, id, kind, counted);
    } catch (error) {
      counted.problem = (error as Error).message;
    }
  }
  return all;
}

async function reclaim(
  { stage, deployment, from, clock }: Restoring,
  id: string,
  kind: TargetKind,
  counted: Restored,
): Promise<void> {
  const states = createTargetStates(stage.dynamo, deployment);
  const { record: old } = await createTargetStates(stage.dynamo, from).read(id, kind);
  const merge = await createMerge(stage, id, kind, clock);
  const places = (record: unknown) => placesOf({ kind, record });
  const proven = places(merge(null, old));
  for (let tries = 1; ; tries++) {
    const state = await states.read(id, kind);
    const record = merge(state.record, old);
    const copied = places(record) - places(state.record);
    try {
      if (copied > 0) await states.write(id, { ...state, record });
      Object.assign(counted, { copied, known: proven - copied, over: places(old) - proven });
      return;
    } catch (error) {
      if (!(error instanceof ConflictError) || tries === MAX_TRIES) throw error;
    }
  }
}

/** Reads the target. @returns a function that adds to a record what an older one proves to be ours */
async function createMerge(
  { ec2, waf }: Restoring["stage"],
  id: string,
  kind: TargetKind,
  clock: () => EpochMillis,
): Promise<(record: unknown, older: unknown) => object> {
  if (kind === "networkAcl") {
    const { entries } = await createNetworkAcl(ec2, id).describe();
    const parse = (record: unknown) =>
      record === null ? aclRecord.empty : v.parse(aclRecord.schema, record);
    return (record, older) =>
      aclRecord.stored(reclaimAcl(parse(record), parse(older), entries, clock()));
  }
  const sets = createIpSets(waf);
  const shown = [await sets.read(`${id}-v4`), await sets.read(`${id}-v6`)];
  const texts = shown.flatMap(({ addresses }) => addresses.map(({ text }) => text));
  const parse = (record: unknown) =>
    record === null ? wafRecord.empty : v.parse(wafRecord.schema, record);
  return (record, older) => wafRecord.stored(reclaimSets(parse(record), parse(older), texts));
}
