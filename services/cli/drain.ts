import { setTimeout as pause } from "node:timers/promises";
import { createOrderBook } from "../../shared/aws/table/orders.ts";
import { createTargetStates, readTargetIds } from "../../shared/aws/table/targetStates.ts";
import type { Millis } from "../../shared/domain/time.ts";
import { placesOf } from "../../shared/targets/state.ts";
import type { Deployment, Stage } from "./stage.ts";

/** What is left of ours in a target. */
export type Drained = {
  readonly id: string;
  /** How many entries are ours, or may be. */
  readonly left: number;
  /** Why they are left, in one sentence; undefined if none is. */
  readonly why: string | undefined;
};

const LOOK_EVERY: Millis = 500;

/**
 * Orders the mode `off`, and waits until no target holds an entry of ours. People's entries stay, and the
 * order stands until somebody orders another mode.
 *
 * @param timeout after which it stops waiting and reports what is left
 */
export async function drain(
  { dynamo }: Pick<Stage, "dynamo">,
  deployment: Pick<Deployment, "tableName" | "list" | "targets">,
  timeout: Millis,
  onProgress: (drained: readonly Drained[]) => void,
): Promise<Drained[]> {
  const deadline = Date.now() + timeout;
  await createOrderBook(dynamo, deployment).setMode("off");
  for (;;) {
    const drained = await look(dynamo, deployment);
    onProgress(drained);
    const waitedFor = drained.filter(
      ({ id, why }) => why !== undefined && isServed(deployment, id),
    );
    if (waitedFor.length === 0 || Date.now() >= deadline) return drained;
    await pause(LOOK_EVERY);
  }
}

const isServed = ({ targets }: Pick<Deployment, "targets">, id: string) =>
  targets.some((target) => target.id === id);

async function look(
  dynamo: Stage["dynamo"],
  deployment: Pick<Deployment, "tableName" | "list" | "targets">,
): Promise<Drained[]> {
  const states = createTargetStates(dynamo, deployment);
  // Includes targets that are no longer configured: nothing removes our entries there.
  const all = [...deployment.targets, ...(await readTargetIds(dynamo, deployment))];
  const targets = [...new Map(all.map((target) => [target.id, target])).values()];
  return Promise.all(
    targets.map(async ({ id, kind }) => {
      const state = await states.read(id, kind);
      const left = placesOf(state);
      if (state.problem === "missing") return { id, left: 0, why: undefined };
      if (!isServed(deployment, id)) {
        const why = "no longer a target of this stage: name it in the stage file again, and drain";
        return { id, left, why: left > 0 ? why : undefined };
      }
      if (state.convergedAt === 0)
        return { id, left, why: "the enforcer has not looked at it yet" };
      if (state.mode !== "off") return { id, left, why: "the enforcer has not heard of it yet" };
      const problem = state.problem ? `the target is ${state.problem}` : "they are being taken out";
      return { id, left, why: left > 0 ? problem : undefined };
    }),
  );
}
