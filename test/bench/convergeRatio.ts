import { pause } from "../../infra/local/waiting.ts";
import { blockOf, loadBlocks, randomBlocks } from "./blocks.ts";
import type { Figure } from "./figure.ts";
import { createRandom } from "./random.ts";
import type { Stage } from "./stage.ts";
import { interleave, median, percentile } from "./statistics.ts";
import { createAclSubject, createWafSubject, type Subject } from "./subject.ts";

/** Two targets of one kind; behind one of them far more blocks wait than behind the other. */
type Pair = {
  /** The figure's name without and with "Idle". */
  readonly name: string;
  readonly target: string;
  readonly few: Side;
  readonly many: Side;
  /** Before each change: as long as the target itself pauses between two. */
  readonly pauseMs: number;
  readonly warmUp: number;
  readonly rounds: number;
};
type Side = { readonly subject: Subject; readonly blocks: number; readonly text: string };

const RULE_LIMIT = 18;
const GOAL = 1.3;
/** An address of the documentation range, so that it meets no random one. */
const NEWCOMER = "203.0.113.9";

/**
 * How long a converge takes with many blocks waiting, against one with few: both with one change to
 * make (a stronger newcomer takes the weakest's place, or has gone and gives it back), and idle.
 */
export async function convergeRatio(stage: Stage): Promise<Figure[]> {
  return measure(stage, {
    name: "convergeRatio100k",
    target: `an ACL of ${RULE_LIMIT} entries`,
    few: {
      subject: await createAclSubject(stage, RULE_LIMIT),
      blocks: 100 + RULE_LIMIT,
      text: "100",
    },
    many: {
      subject: await createAclSubject(stage, RULE_LIMIT),
      blocks: 100_000 + RULE_LIMIT,
      text: "100,000",
    },
    pauseMs: 0,
    warmUp: 10,
    rounds: 60,
  });
}

/** The same for WAF IP sets that are full: 10,000 addresses. */
export async function convergeRatioWaf(stage: Stage): Promise<Figure[]> {
  return measure(stage, {
    name: "convergeRatioWaf",
    target: "a WAF IP set of 10,000 addresses",
    few: { subject: await createWafSubject(stage, "few"), blocks: 10_100, text: "100" },
    many: { subject: await createWafSubject(stage, "many"), blocks: 100_000, text: "90,000" },
    pauseMs: 1_100,
    warmUp: 2,
    rounds: 8,
  });
}

async function measure(stage: Stage, pair: Pair): Promise<Figure[]> {
  const random = createRandom(1);
  for (const { subject, blocks } of [pair.few, pair.many]) {
    const wanted = randomBlocks(blocks, random, Date.now());
    await loadBlocks(stage.clients.dynamodb, stage.model.table.name, subject.id, wanted);
  }
  const run =
    ({ subject }: Side) =>
    async () => {
      const { applied, left } = await subject.converge();
      if (left > 0) throw new Error(`A converge left ${left} changes after ${applied}.`);
    };
  const works = { few: run(pair.few), many: run(pair.many) };
  const change = async (kind: keyof typeof works, round: number) => {
    await alter(pair[kind].subject, round);
    await pause(pair.pauseMs);
  };

  await interleave(works, pair.warmUp, change);
  const changing = await interleave(works, pair.rounds, change);
  const idle = await interleave(works, pair.rounds);
  return [
    figureOf(pair, "", "one change to make", changing),
    figureOf(pair, "Idle", "nothing to change", idle),
  ];
}

/** In even rounds a block comes that is stronger than all, in odd rounds it goes. */
async function alter(subject: Subject, round: number): Promise<void> {
  const now = Date.now();
  const block = blockOf(NEWCOMER, {
    severity: 10,
    expiresAt: Math.floor(now / 1000) + 3600,
    firstSeenAt: now,
  });
  if (round % 2 === 0) return subject.want(block);
  const [written] = await subject.blocks.readBlocks([block.cidr.text], now);
  if (written) await subject.blocks.remove(written);
}

function figureOf(
  { name, target, few, many }: Pair,
  suffix: string,
  what: string,
  times: Record<"few" | "many", number[]>,
): Figure {
  const value = median(times.many) / median(times.few);
  return {
    name: `${name}${suffix}`,
    what: `converge of ${target} with ${many.text} blocks waiting ÷ with ${few.text} (${what})`,
    value: { value },
    floor: { what: `with ${few.text} waiting`, value: median(times.few), unit: "ms" },
    goal: { text: `≤ ${GOAL}`, isMet: value <= GOAL },
    details: {
      fewMs: median(times.few),
      fewP90Ms: percentile(times.few, 0.9),
      manyMs: median(times.many),
      manyP90Ms: percentile(times.many, 0.9),
    },
  };
}
