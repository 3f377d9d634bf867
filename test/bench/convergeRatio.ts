import { converge } from "../../services/enforcer/converge.ts";
import { blockOf, loadBlocks, randomBlocks } from "./blocks.ts";
import type { Figure } from "./figure.ts";
import { createRandom } from "./random.ts";
import { createSubject, type Stage, type Subject } from "./stage.ts";
import { interleave, median, percentile } from "./statistics.ts";

const RULE_LIMIT = 18;
const WAITING = { few: 100, many: 100_000 } as const;
const WARM_UP = 10;
const ROUNDS = 60;
const GOAL = 1.3;
/** An address of the documentation range, so that it meets no random one. */
const NEWCOMER = "203.0.113.9";

/**
 * How long a converge takes with 100,000 waiting blocks, against one with 100: both with one change
 * to make (a stronger newcomer takes the weakest slot, or has gone and gives it back), and idle.
 */
export async function convergeRatio(stage: Stage): Promise<Figure[]> {
  const subjects = {
    few: await createSubject(stage, RULE_LIMIT),
    many: await createSubject(stage, RULE_LIMIT),
  };
  const random = createRandom(1);
  for (const kind of ["few", "many"] as const) {
    const blocks = randomBlocks(WAITING[kind] + RULE_LIMIT, random, Date.now());
    const { aclId } = subjects[kind];
    await loadBlocks(stage.clients.dynamodb, stage.model.table.name, aclId, blocks);
  }
  const run = (kind: keyof typeof subjects) => async () => {
    const { applied, left } = await converge(subjects[kind].enforcer, Date.now() + 60_000);
    if (left > 0) throw new Error(`A converge left ${left} changes after ${applied}.`);
  };
  const works = { few: run("few"), many: run("many") };
  const change = (kind: keyof typeof subjects, round: number) => alter(subjects[kind], round);

  await interleave(works, WARM_UP, change);
  const changing = await interleave(works, ROUNDS, change);
  const idle = await interleave(works, ROUNDS);
  return [
    figureOf("convergeRatio100k", "one change to make", changing),
    figureOf("convergeRatio100kIdle", "nothing to change", idle),
  ];
}

/** In even rounds a block comes that is stronger than all, in odd rounds it goes. */
async function alter({ table }: Subject, round: number): Promise<void> {
  const now = Date.now();
  const block = blockOf(NEWCOMER, {
    severity: 10,
    expiresAt: Math.floor(now / 1000) + 3600,
    firstSeenAt: now,
  });
  if (round % 2 === 0) return table.writeBlock(block, undefined);
  const known = await table.readKnown([block.cidr], now);
  const written = known.get(block.cidr)?.block;
  if (written) await table.removeBlock(written);
}

function figureOf(name: string, what: string, times: Record<"few" | "many", number[]>): Figure {
  const value = median(times.many) / median(times.few);
  return {
    name,
    what: `converge with 100,000 blocks waiting ÷ with 100 (${what})`,
    value: { value },
    floor: { what: "with 100 waiting", value: median(times.few), unit: "ms" },
    goal: { text: `≤ ${GOAL}`, isMet: value <= GOAL },
    details: {
      fewMs: median(times.few),
      fewP90Ms: percentile(times.few, 0.9),
      manyMs: median(times.many),
      manyP90Ms: percentile(times.many, 0.9),
    },
  };
}
