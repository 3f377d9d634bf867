import { join } from "node:path";
import { startStack } from "../../infra/local/demo/stack.ts";
import { DEFAULT_VPC } from "../../infra/local/engines/ec2/acls.ts";
import { pause } from "../../infra/local/waiting.ts";
import { createDetectors, type Detectors } from "./detectors.ts";
import type { Figure } from "./figure.ts";
import { type Proxies, startProxies } from "./proxies.ts";
import type { RuleCall } from "./proxyProtocol.ts";
import { createRandom, type Random } from "./random.ts";
import { control, environmentOf, type Stage, startStage } from "./stage.ts";
import { percentile } from "./statistics.ts";

const START_MS = 90_000;
const GOAL_SECONDS = 2;

/** More blocks of six seconds than there is room for, all the time. */
const SHORT = { blocks: 90, everyMs: 250, seconds: 6 } as const;
/** An attack by a few busy addresses and many that are seldom seen. */
const ZIPF = { alerts: 300, withinMs: 60_000, addresses: 100, seconds: 20 } as const;
/** After the last alert, until all blocks have ended and what was late shows. */
const AFTER_MS = 5_000;

/** An alert that was accepted. */
type Alert = { readonly cidr: string; readonly at: number; readonly endsAt: number };

/** An entry of the ACL, from the call that put it there to the one that took it away. */
type Entry = {
  readonly cidr: string;
  readonly from: number;
  /** Infinite where it was never taken away. */
  to: number;
  /** The entry that it replaced or followed at its number. */
  readonly before: Entry | undefined;
};

/**
 * How late blocks leave the ACL and waiting ones take their places, where neither DynamoDB's time to
 * live nor the minute's schedule ends any: quietly, and in an attack that EC2 throttles as AWS does.
 */
export async function endings(): Promise<Figure[]> {
  const stage = await startStage("endings");
  const { dynamodb, sqs, ec2 } = stage.endpoints;
  const proxies = await startProxies({ sqs, dynamodb, ec2 });
  try {
    return await onStack(stage, proxies);
  } finally {
    await proxies.stop();
    await stage.stop();
  }
}

async function onStack(stage: Stage, proxies: Proxies): Promise<Figure[]> {
  const env = {
    ...environmentOf({ ...stage.endpoints, ...proxies.urls }),
    AWS_ENDPOINT_URL_DYNAMODB_STREAMS: stage.endpoints.dynamodb,
    ACL_ID: DEFAULT_VPC.defaultNetworkAclId,
    PORT: "0",
    TTL: "off",
    RECONCILE_SECONDS: "0",
    // As long as the API answers, however often an address comes back.
    REPEAT_PERCENT: "100",
  };
  const stack = await startStack(join(stage.dir, "cloud"), env, AbortSignal.timeout(START_MS));
  const detectors = createDetectors(stack.stack.api, stack.stack.detectorToken);
  const observe = async (alerts: () => Promise<Alert[]>) => {
    await proxies.reset();
    const accepted = await alerts();
    const last = Math.max(...accepted.map(({ endsAt }) => endsAt));
    await pause(Math.max(0, last + AFTER_MS - Date.now()));
    return { alerts: accepted, entries: entriesOf((await proxies.counts()).ruleCalls) };
  };
  try {
    const short = await observe(() => shortBlocks(detectors));
    await control(stage.endpoints.ec2, { throttle: true });
    const attack = await observe(() => zipfAttack(detectors));
    return [...shortFigures(short), attackFigure(attack)];
  } finally {
    detectors.stop();
    await stack.stop();
  }
}

async function shortBlocks(detectors: Detectors): Promise<Alert[]> {
  return inTime(SHORT.blocks, SHORT.everyMs, (index) =>
    alert(detectors, `198.51.${100 + (index >> 7)}.${2 * (index & 127)}`, SHORT.seconds),
  );
}

async function zipfAttack(detectors: Detectors): Promise<Alert[]> {
  const random = createRandom(7);
  return inTime(ZIPF.alerts, ZIPF.withinMs / ZIPF.alerts, () =>
    alert(detectors, `203.0.113.${2 * zipf(random, ZIPF.addresses)}`, ZIPF.seconds),
  );
}

async function alert(detectors: Detectors, ip: string, seconds: number): Promise<Alert> {
  const { at, expiresAt } = await detectors.report(ip, 5, seconds);
  return { cidr: `${ip}/32`, at, endsAt: expiresAt * 1000 };
}

/** Begins a job after the other, so many milliseconds apart. */
async function inTime<T>(
  count: number,
  everyMs: number,
  job: (index: number) => Promise<T>,
): Promise<T[]> {
  const begin = Date.now();
  const jobs: Promise<T>[] = [];
  for (let index = 0; index < count; index++) {
    await pause(Math.max(0, begin + index * everyMs - Date.now()));
    jobs.push(job(index));
  }
  return Promise.all(jobs);
}

/** From 0 up to the count; each number half as often as one half as great. */
function zipf(random: Random, count: number): number {
  const weights = Array.from({ length: count }, (_, index) => 1 / (index + 1));
  let left = random.next() * weights.reduce((sum, weight) => sum + weight, 0);
  return weights.findIndex((weight) => {
    left -= weight;
    return left < 0;
  });
}

/** What stood in the ACL, by the calls that EC2 granted. */
function entriesOf(calls: readonly RuleCall[]): readonly Readonly<Entry>[] {
  const latest = new Map<number, Entry>();
  const entries: Entry[] = [];
  for (const { ruleNumber, cidr, at, ok } of calls) {
    if (!ok) continue;
    const before = latest.get(ruleNumber);
    if (before) before.to = Math.min(before.to, at);
    if (cidr === undefined) continue;
    const entry: Entry = { cidr, from: at, to: Number.POSITIVE_INFINITY, before };
    latest.set(ruleNumber, entry);
    entries.push(entry);
  }
  return entries;
}

function shortFigures(seen: {
  readonly alerts: readonly Alert[];
  readonly entries: readonly Entry[];
}): Figure[] {
  const alerts = new Map(seen.alerts.map((one) => [one.cidr, one]));
  const leaving = seen.entries.flatMap(({ cidr, to }) => {
    const endsAt = alerts.get(cidr)?.endsAt;
    return endsAt === undefined ? [] : [(to - endsAt) / 1000];
  });
  // It waited if it had been accepted before the entry at its number ended.
  const entering = seen.entries.flatMap(({ cidr, from, before }) => {
    const freeAt = before && alerts.get(before.cidr)?.endsAt;
    const acceptedAt = alerts.get(cidr)?.at;
    const hasWaited = freeAt !== undefined && acceptedAt !== undefined && acceptedAt < freeAt;
    return hasWaited ? [(from - freeAt) / 1000] : [];
  });
  const what = `blocks of ${SHORT.seconds} s, no time to live, no schedule`;
  const figure = (name: string, lateness: readonly number[], p: number, text: string): Figure => {
    const value = percentile(lateness, p);
    return {
      name: `${name} p${p * 100}`,
      what: `${text}, ${what} (${lateness.length})`,
      value: { value, unit: "s" },
      ...(p === 0.99 && {
        goal: {
          text: `≤ ${GOAL_SECONDS} s`,
          isMet: lateness.length > 0 && value <= GOAL_SECONDS,
        },
        details: { earliest: Math.min(...lateness), latest: Math.max(...lateness) },
      }),
    };
  };
  return [0.5, 0.99].flatMap((p) => [
    figure("leavesLate", leaving, p, "from the end to the entry's removal"),
    figure("entersLate", entering, p, "from that end to the entry of one that waited"),
  ]);
}

function attackFigure({
  alerts,
  entries,
}: {
  readonly alerts: readonly Alert[];
  readonly entries: readonly Entry[];
}): Figure {
  const byCidr = Map.groupBy(alerts, ({ cidr }) => cidr);
  const overdue = entries.map((entry) => overdueSeconds(entry, byCidr.get(entry.cidr) ?? []));
  const outstaying = overdue.filter((seconds) => seconds > GOAL_SECONDS).length;
  return {
    name: "outstaying",
    what: `of ${entries.length} entries stayed more than ${GOAL_SECONDS} s too long: ${alerts.length} alerts in ${ZIPF.withinMs / 1000} s, Zipf over ${ZIPF.addresses} addresses, blocks of ${ZIPF.seconds} s, EC2 throttled`,
    value: { value: outstaying },
    goal: { text: "0", isMet: entries.length > 0 && outstaying === 0 },
    details: { latestSeconds: Math.max(...overdue), entries: entries.length },
  };
}

/** How long the entry stood at most while its address was not to be blocked; less than 0 if never. */
function overdueSeconds({ from, to }: Entry, alerts: readonly Alert[]): number {
  let longest = Number.NEGATIVE_INFINITY;
  let endsAt = Number.POSITIVE_INFINITY;
  const stoodUntil = (moment: number) => {
    longest = Math.max(longest, Math.min(to, moment) - Math.max(from, endsAt));
  };
  for (const { at, endsAt: later } of alerts.toSorted((a, b) => a.at - b.at)) {
    if (at >= to) break;
    if (at > endsAt) stoodUntil(at);
    endsAt = Number.isFinite(endsAt) ? Math.max(endsAt, later) : later;
  }
  stoodUntil(Number.POSITIVE_INFINITY);
  return longest / 1000;
}
