import { messageOf } from "../../infra/local/errors.ts";
import { pause } from "../../infra/local/waiting.ts";
import { examine } from "./invariant.ts";
import type { Lane } from "./lane.ts";
import type { Scenario } from "./scenarios.ts";
import { newPromises, report, storm } from "./storm.ts";

/** How a run ended. */
export type Result = {
  readonly hop: string;
  readonly fault: string;
  readonly accepted: number;
  readonly refused: number;
  /** Accepted and found nowhere. */
  readonly lost: readonly string[];
  /** What else was wrong when time was up; nothing where the system converged by itself. */
  readonly wrong: readonly string[];
  /** From the end of the fault and the storm until all was right. */
  readonly convergedMs: number;
};

/** After a fault and its storm, all must be right by itself within this time. */
const CONVERGE_MS = 60_000;

/** One storm with one fault in it, and what became of it. `run` makes its addresses its own. */
export async function run(lane: Lane, scenario: Scenario, run: number): Promise<Result> {
  const { hop, fault } = scenario;
  const promised = newPromises();
  let lost: readonly string[] = [];
  let wrong: readonly string[] = [];
  let endedAt = performance.now();
  try {
    const { promise: isRaging, resolve } = Promise.withResolvers<void>();
    const harm = isRaging.then(() => scenario.harm(lane, promised, run));
    await Promise.all([storm(lane, promised, run, resolve), harm]);
    endedAt = performance.now();
    // The tool is not halted: what comes now is enforced, before all that was weaker.
    await report(lane, promised, [
      { ip: `49.${run >> 8}.${run & 255}.0`, severity: 9, expiryTime: 600 },
    ]);
    do {
      await pause(250);
      const verdict = await examine(lane, promised).catch((error) => ({
        lost: [],
        wrong: [messageOf(error)],
      }));
      lost = verdict.lost;
      wrong = verdict.wrong;
      if (lost.length + wrong.length === 0) wrong = (await scenario.verify?.(lane, run)) ?? [];
    } while (lost.length + wrong.length > 0 && performance.now() - endedAt < CONVERGE_MS);
  } catch (error) {
    wrong = [messageOf(error)];
  } finally {
    lane.choose = () => undefined;
  }
  const { accepted, refused } = promised;
  return { hop, fault, accepted, refused, lost, wrong, convergedMs: performance.now() - endedAt };
}
