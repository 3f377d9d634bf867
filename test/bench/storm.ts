import { readFileSync } from "node:fs";
import { join } from "node:path";
import { GetQueueAttributesCommand } from "@aws-sdk/client-sqs";
import { startStack } from "../../infra/local/demo/stack.ts";
import { DEFAULT_VPC } from "../../infra/local/engines/ec2/acls.ts";
import { pause, poll } from "../../infra/local/waiting.ts";
import { foldWindowMs } from "../../services/blacklist/fold.ts";
import { createDynamo } from "../../shared/aws/clients.ts";
import { createBlocks } from "../../shared/aws/table/blocks.ts";
import { createTargetStates } from "../../shared/aws/table/targetStates.ts";
import { MARGIN, strongestFirst } from "../../shared/domain/rank.ts";
import { entriesOf } from "../../shared/targets/state.ts";
import { createDetectors, type Detectors } from "./detectors.ts";
import type { Figure } from "./figure.ts";
import { pathFloor } from "./pathFloor.ts";
import { type Proxies, startProxies } from "./proxies.ts";
import { createRandom } from "./random.ts";
import { control, environmentOf, type Stage, startStage } from "./stage.ts";
import { inParallel } from "./statistics.ts";
import { type Observed, stormFigures, timeFigures } from "./stormFigures.ts";

const RULE_LIMIT = 40;
/** Room for the two default rules beside ours. */
const QUOTA = RULE_LIMIT + 2;
const QUIET = 25;
const ALERTS = 10_000;
const ADDRESSES = 500;
const CONCURRENCY = 32;
const START_MS = 90_000;
const BLOCK_MS = 15_000;
const DRAIN_MS = 60_000;
/** In which equal reports of a block of this length fold. */
const WINDOW_MS = foldWindowMs(3_600);
/** The longest that a storm takes here. */
const STORM_MS = 25_000;
const FUNCTIONS = ["blacklist", "worker", "enforcer"] as const;
const ACL_ID = DEFAULT_VPC.defaultNetworkAclId;

/**
 * Ten thousand alerts for 500 addresses at full speed through the whole local cloud, its calls
 * counted at proxies in front of the engines; once without EC2's throttle, once as AWS throttles. Each
 * address has one severity, 2 to 10; before the storm, single blocks of severity 1 tell how fast a
 * quiet one is.
 */
export async function storm(): Promise<Figure[]> {
  const { observed: free, floor } = await onStage("storm", false);
  const { observed: throttled } = await onStage("throttled", true);
  return [...stormFigures(throttled), ...timeFigures({ free, throttled }, floor)];
}

async function onStage(name: string, throttle: boolean) {
  const stage = await startStage(name);
  const { dynamodb, sqs, ec2 } = stage.endpoints;
  const proxies = await startProxies({ sqs, dynamodb, ec2 });
  try {
    await control(ec2, { quota: QUOTA, throttle });
    const observed = await underStorm(stage, proxies);
    await control(ec2, { throttle: false });
    return { observed, floor: await pathFloor(stage) };
  } finally {
    await proxies.stop();
    await stage.stop();
  }
}

async function underStorm(stage: Stage, proxies: Proxies): Promise<Observed> {
  const env = {
    ...environmentOf({ ...stage.endpoints, ...proxies.urls }),
    AWS_ENDPOINT_URL_DYNAMODB_STREAMS: stage.endpoints.dynamodb,
    ACL_ID,
    PORT: "0",
    RULE_LIMIT: String(RULE_LIMIT),
  };
  const stack = await startStack(join(stage.dir, "cloud"), env, AbortSignal.timeout(START_MS));
  const { api, detectorToken } = stack.stack;
  const detectors = createDetectors(api, detectorToken);
  try {
    const quietMs = await blockQuietly(detectors, proxies);
    await untilWindowIsYoung();
    await proxies.reset();
    const begin = performance.now();
    const acceptedAt = await rage(detectors);
    const seconds = (performance.now() - begin) / 1000;
    const drained = await drain(stage);
    return {
      quietMs,
      acceptedAt,
      alerts: ALERTS,
      alertsPerSecond: ALERTS / seconds,
      refused: detectors.refused(),
      counts: await proxies.counts(),
      memory: memoryOf(join(stage.dir, "cloud", "logs")),
      ...drained,
    };
  } finally {
    detectors.stop();
    await stack.stop();
  }
}

/** One block after the other, each once the one before is enforced, at no fixed pace. */
async function blockQuietly(detectors: Detectors, proxies: Proxies): Promise<number[]> {
  const random = createRandom(5);
  const times: number[] = [];
  for (let n = 0; n < QUIET + 5; n++) {
    const ip = `198.51.100.${2 * n}`;
    const { at: acceptedAt } = await detectors.report(ip, 1);
    const enforced = await poll(
      async () =>
        (await proxies.counts()).ruleCalls.find(({ cidr, ok }) => ok && cidr === `${ip}/32`),
      BLOCK_MS,
      25,
    );
    if (!enforced) throw new Error(`A quiet block was not enforced within ${BLOCK_MS} ms.`);
    // The first ones wake the functions.
    if (n >= 5) times.push(enforced.at - acceptedAt);
    await pause(random.between(50, 450));
  }
  return times;
}

/**
 * Repeats fold within windows of a minute, so a storm over two of them writes each address twice: whether
 * it is, must not be left to chance.
 */
async function untilWindowIsYoung(): Promise<void> {
  const left = WINDOW_MS - (Date.now() % WINDOW_MS);
  if (left < STORM_MS) await pause(left);
}

/** All alerts at full speed, in random order; answers when each address was first accepted. */
async function rage(detectors: Detectors): Promise<Map<string, number>> {
  const random = createRandom(6);
  // Even addresses only, so that none merge: each enforced one is an entry of its own.
  const addresses = Array.from({ length: ADDRESSES }, (_, n) => ({
    ip: `45.${random.between(0, 255)}.${n >> 7}.${2 * (n & 127)}`,
    severity: random.between(2, 10),
  }));
  const acceptedAt = new Map<string, number>();
  await inParallel(ALERTS, CONCURRENCY, async (index) => {
    const one = index < ADDRESSES ? addresses[index] : random.pick(addresses);
    if (!one) return;
    const { at } = await detectors.report(one.ip, one.severity);
    const cidr = `${one.ip}/32`;
    acceptedAt.set(cidr, Math.min(at, acceptedAt.get(cidr) ?? at));
  });
  return acceptedAt;
}

/** By the REPORT lines of the functions' logs, in megabytes. */
function memoryOf(logDir: string): Observed["memory"] {
  return FUNCTIONS.map((name) => {
    const log = readFileSync(join(logDir, `${name}.log`), "utf8");
    const reports = log.matchAll(/Memory Size: (\d+) MB Max Memory Used: (\d+) MB/g);
    const used = [...reports].map(([, size, max]) => ({ size: Number(size), max: Number(max) }));
    return {
      name,
      sizeMb: used[0]?.size ?? 0,
      firstMb: used[0]?.max ?? 0,
      peakMb: Math.max(...used.map(({ max }) => max)),
    };
  });
}

/** Waits until the ACL is what the table wants and the queue is empty; tells what the table has. */
async function drain(stage: Stage): Promise<Pick<Observed, "written" | "deadLetters" | "drainMs">> {
  const { clients, model, created } = stage;
  const { list, margin } = rankingOf(stage);
  const dynamo = createDynamo();
  const config = { tableName: model.table.name, list };
  const blocks = createBlocks(dynamo, config);
  const states = createTargetStates(dynamo, config);
  const inQueue = async (name: string): Promise<number> => {
    const { Attributes } = await clients.sqs.send(
      new GetQueueAttributesCommand({
        QueueUrl: created.queues[name]?.url,
        AttributeNames: ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
      }),
    );
    return Object.values(Attributes ?? {}).reduce((sum, value) => sum + Number(value), 0);
  };
  const main = model.queues.find(({ redrive }) => redrive);
  const begin = performance.now();
  const isDone = await poll(
    async () => {
      if ((await inQueue(main?.name ?? "")) > 0) return undefined;
      const { strongest } = await blocks.readStrongest(4, { count: ADDRESSES }, Date.now());
      const state = await states.read(ACL_ID, "networkAcl");
      const held = new Set(state.held);
      const wanted = strongestFirst(strongest, ({ text }) => held.has(text), margin);
      const denied = new Set(entriesOf(state).map(({ cidr }) => cidr.text));
      const isThere = wanted.slice(0, RULE_LIMIT).every(({ cidr }) => denied.has(cidr.text));
      return isThere ? true : undefined;
    },
    DRAIN_MS,
    200,
  );
  if (!isDone) throw new Error(`The storm was not worked off within ${DRAIN_MS} ms.`);
  const written = new Set<string>();
  for (let after: string | undefined; ; ) {
    const page = await blocks.readPage(4, 200, after);
    for (const { cidr } of page.blocks) written.add(cidr.text);
    if (page.next === undefined) break;
    after = page.next;
  }
  return {
    written,
    deadLetters: await inQueue(main?.redrive?.deadLetterQueue ?? ""),
    drainMs: performance.now() - begin,
  };
}

/** As the templates give them to the functions. */
function rankingOf({ model }: Stage): { readonly list: string; readonly margin: number } {
  const { environment } = model.functions.find(({ artefact }) => artefact === "enforcer") ?? {};
  return {
    list: String(environment?.LIST_NAME),
    margin: Number(environment?.SCORE_HALF_LIFE) * 1000 * MARGIN,
  };
}
