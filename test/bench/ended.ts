import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { type DynamoDBClient, QueryCommand } from "@aws-sdk/client-dynamodb";
import { createResources } from "../../infra/local/resources.ts";
import type { Block } from "../../shared/domain/block.ts";
import { blockOf, loadBlocks, randomBlocks } from "./blocks.ts";
import type { Figure } from "./figure.ts";
import { createRandom } from "./random.ts";
import type { Stage } from "./stage.ts";
import { median, timeOf } from "./statistics.ts";
import { createAclSubject, type Subject } from "./subject.ts";

/** Ended blocks that nobody has deleted. */
const ENDED = Number(process.env.ENDED ?? 20_000);
const RULE_LIMIT = 18;
const WAITING = 10_000;
const TABLE = "blacklist_ended";
const ROUNDS = 12;
const GOAL = 2;
/** Before the sweeping is given up. */
const MOST_SECONDS = 3_600;
/** Blocks that are made and written at a time. */
const CHUNK = 10_000;

/**
 * A flood of short severe blocks has ended, and the table's time to live deletes none of them: how long a
 * converge takes that finds them before all live ones, how much memory it needs, both beside the
 * sweeping that it begins, and when they are gone.
 */
export async function ended(stage: Stage): Promise<Figure[]> {
  const { ttlAttribute: _, ...table } = stage.model.table;
  const model = { ...stage.model, table: { ...table, name: TABLE } };
  await createResources(stage.clients, { queues: [], table: model.table }, []);
  const own = { ...stage, model };
  const [without, flooded] = [
    await createAclSubject(own, RULE_LIMIT),
    await createAclSubject(own, RULE_LIMIT),
  ];
  const { dynamodb } = stage.clients;
  const now = Date.now();
  for (const { id } of [without, flooded])
    await loadBlocks(dynamodb, TABLE, id, randomBlocks(WAITING, createRandom(1), now));
  for (const { converge } of [without, flooded]) await converge();
  for (let from = 0; from < ENDED; from += CHUNK) {
    const length = Math.min(CHUNK, ENDED - from);
    const blocks = Array.from({ length }, (_, index) => endedBlock(from + index, now));
    await loadBlocks(dynamodb, TABLE, flooded.id, blocks);
  }

  const spent = { without: [] as Spent[], flooded: [] as Spent[] };
  const begin = performance.now();
  for (let round = 0; round < ROUNDS; round++) {
    spent.without.push(await measure(without));
    spent.flooded.push(await measure(flooded));
  }
  await sweepAll(flooded, () => isGone(dynamodb, flooded.id));
  const seconds = (performance.now() - begin) / 1000;

  const ms = (of: readonly Spent[]) => median(of.map((one) => one.ms));
  const megabytes = (of: readonly Spent[]) => median(of.map((one) => one.megabytes));
  const time = ms(spent.flooded) / ms(spent.without);
  const memory = megabytes(spent.flooded) / megabytes(spent.without);
  const what = `${ENDED.toLocaleString("en")} ended blocks before all live ones, no time to live`;
  return [
    {
      name: "endedTime",
      what: `converge of an ACL of ${RULE_LIMIT} entries with ${what}, and the sweep beside it ÷ without`,
      value: { value: time },
      floor: { what: "without", value: ms(spent.without), unit: "ms" },
      goal: { text: `≤ ${GOAL}`, isMet: time <= GOAL },
      details: { withoutMs: ms(spent.without), floodedMs: ms(spent.flooded) },
    },
    {
      name: "endedMemory",
      what: `the heap of the same at its highest ÷ without`,
      value: { value: memory },
      floor: { what: "without", value: megabytes(spent.without), unit: "MB" },
      goal: { text: `≤ ${GOAL}`, isMet: memory <= GOAL },
      details: { withoutMb: megabytes(spent.without), floodedMb: megabytes(spent.flooded) },
    },
    {
      name: "endedGone",
      what: "until all of them are gone, converging all the time",
      value: { value: seconds, unit: "s" },
      goal: { text: "all", isMet: removed === ENDED },
      details: { ended: ENDED, removed, perSecond: removed / seconds },
    },
  ];
}

type Spent = { readonly ms: number; readonly megabytes: number };

/** One converge; what it has begun to sweep goes on for its time, as in the handler. */
async function measure(subject: Subject): Promise<Spent> {
  collectGarbage();
  let most = 0;
  const look = () => {
    most = Math.max(most, process.memoryUsage().heapUsed);
  };
  const looking = setInterval(look, 1);
  const ms = await timeOf(() => subject.converge());
  look();
  await sweepOn(subject);
  look();
  clearInterval(looking);
  return { ms, megabytes: most / 2 ** 20 };
}

let removed = 0;

async function sweepOn(subject: Subject): Promise<boolean> {
  const swept = await subject.sweep();
  removed += swept.removed;
  return swept.removed > 0 || swept.isMore;
}

/** Converges until nothing is left to be swept. */
async function sweepAll(subject: Subject, isGone: () => Promise<boolean>): Promise<void> {
  const until = performance.now() + 1_000 * MOST_SECONDS;
  while (performance.now() < until) {
    await subject.converge();
    // Nothing removed may also be a call that took too long.
    if (!(await sweepOn(subject)) && (await isGone())) return;
  }
}

async function isGone(dynamodb: DynamoDBClient, list: string): Promise<boolean> {
  const { Count } = await dynamodb.send(
    new QueryCommand({
      TableName: TABLE,
      IndexName: "byRank",
      KeyConditionExpression: "#list = :list AND #rank BETWEEN :first AND :last",
      ExpressionAttributeNames: { "#list": "list", "#rank": "rank" },
      ExpressionAttributeValues: {
        ":list": { S: list },
        ":first": { S: "4#10" },
        ":last": { S: "4#11" },
      },
      Select: "COUNT",
    }),
  );
  return Count === 0;
}

function endedBlock(index: number, now: number): Block {
  const [a, b, c] = [index >> 16, (index >> 8) & 255, index & 255];
  return blockOf(`101.${a}.${b}.${c}`, {
    severity: 10,
    expiresAt: Math.floor(now / 1000) - 60,
    firstSeenAt: now - 120_000,
  });
}

/** What earlier work has left must not count. */
function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
}
