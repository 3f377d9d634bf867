import { parseCidr } from "../../shared/domain/cidr.ts";
import { SPECIAL_RANGES } from "../../shared/domain/neverBlock.ts";
import { rankOf } from "../../shared/domain/rank.ts";
import { type Plan, type PlanInput, plan } from "../../shared/targets/networkAcl/plan.ts";
import type { AclEntry } from "../../shared/targets/networkAcl/rules.ts";
import { randomBlocks } from "./blocks.ts";
import type { Figure } from "./figure.ts";
import { createRandom } from "./random.ts";
import { interleave, median } from "./statistics.ts";

const SLOTS = 40;
const CANDIDATES = 100_000;
const ROUNDS = 7;

/** The pure `plan` with far more candidates than converge would ever read, an empty ACL and a full one. */
export async function planTime(): Promise<Figure[]> {
  const now = Date.now();
  const wanted = randomBlocks(CANDIDATES, createRandom(4), now).toSorted((a, b) =>
    rankOf(a) < rankOf(b) ? 1 : -1,
  );
  const input: PlanInput = {
    wanted,
    slots: {},
    actual: [],
    limits: { 4: SLOTS, 6: SLOTS },
    numbers: { first: 1, last: 99 },
    neverBlock: SPECIAL_RANGES,
    spared: [],
    maxInnocents: 0,
    now,
  };
  const steady = settled(input, plan(input));
  const works = {
    floor: () => {
      for (const { cidr } of wanted) parseCidr(cidr.text);
    },
    empty: () => plan(input),
    steady: () => plan(steady),
  };
  await interleave(works, 2);
  const times = await interleave(works, ROUNDS);
  const floorMs = median(times.floor);
  const figure = (name: string, what: string, ms: number): Figure => ({
    name,
    what: `plan for ${SLOTS} slots and ${CANDIDATES.toLocaleString("en")} candidates, ${what}`,
    value: { value: ms, unit: "ms" },
    floor: { what: "parse the candidates", value: floorMs, unit: "ms" },
    ratio: ms / floorMs,
  });
  return [
    figure("planMs", "the ACL empty", median(times.empty)),
    figure("planMsSteady", "nothing to change", median(times.steady)),
  ];
}

/** The input as it is once the plan has been applied and EC2 has shown it. */
function settled(input: PlanInput, { changes }: Plan): PlanInput {
  const entries = changes.flatMap(({ ruleNumber, cidr }): AclEntry[] =>
    cidr === null ? [] : [{ ruleNumber, cidr, kind: "deny" }],
  );
  return {
    ...input,
    actual: entries,
    slots: Object.fromEntries(
      entries.map(({ ruleNumber, cidr }) => [ruleNumber, { cidr, confirmedAt: 0 }]),
    ),
  };
}
