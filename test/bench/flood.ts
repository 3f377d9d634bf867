import { createHash, randomBytes } from "node:crypto";
import { Agent, request } from "node:http";
import { join } from "node:path";
import { DescribeNetworkAclsCommand } from "@aws-sdk/client-ec2";
import { GetParameterCommand, PutParameterCommand } from "@aws-sdk/client-ssm";
import { startStack } from "../../infra/local/demo/stack.ts";
import { DEFAULT_VPC } from "../../infra/local/engines/ec2/acls.ts";
import { pause, poll } from "../../infra/local/waiting.ts";
import { createDynamo } from "../../shared/aws/clients.ts";
import { createOutstanding } from "../../shared/aws/table/outstanding.ts";
import { DEFAULT_LIMITS } from "../../shared/domain/caller.ts";
import type { Figure } from "./figure.ts";
import { environmentOf, type Stage, startStage } from "./stage.ts";
import { percentile } from "./statistics.ts";

const START_MS = 90_000;
/** Longer than the endpoint and the worker keep a parameter. */
const PARAMETER_MS = 61_000;
const ROUND_MS = 1_500;
const QUIET_ROUNDS = 60;
const FLOOD_MS = 180_000;
const FLOOD = { requestsPerMinute: 1_000, addresses: 100, seconds: 3_600 } as const;
/** Requests of the flood that wait for an answer; more are not sent. */
const MAX_OPEN = 64;
const APPEARS_MS = 60_000;
const TIMES = 2;

/** How long one block took to reach the ACL, and its unblock to leave it, in milliseconds. */
type Round = { readonly entry: number; readonly unblock: number };

/**
 * While one token reports 100,000 distinct addresses a minute for three minutes: how long another
 * detector's block takes to the ACL, and an operator's unblock to leave it, against the same before the
 * flood.
 */
export async function flood(): Promise<Figure[]> {
  const stage = await startStage("flood");
  try {
    return await onStack(stage);
  } finally {
    await stage.stop();
  }
}

async function onStack(stage: Stage): Promise<Figure[]> {
  const env = {
    ...environmentOf(stage.endpoints),
    ACL_ID: DEFAULT_VPC.defaultNetworkAclId,
    PORT: "0",
  };
  const dir = join(stage.dir, "cloud");
  const cloud = await startStack(dir, env, AbortSignal.timeout(START_MS));
  try {
    const { api, detectorToken, operatorToken, tableName } = cloud.stack;
    const other = await addDetector(stage);
    const rounds = (first: number, isOver: (count: number) => boolean) =>
      measureRounds(stage, { api, detectorToken: other, operatorToken }, first, isOver);
    const quiet = await rounds(0, (count) => count === QUIET_ROUNDS);

    const flooder = startFlood(api, detectorToken);
    const until = Date.now() + FLOOD_MS;
    const flooded = await rounds(QUIET_ROUNDS, () => Date.now() >= until);
    const sent = flooder.stop();
    const outstanding = createOutstanding(createDynamo(), { tableName, list: "portcullis-local" });
    const { own } = await outstanding.read("detector", Date.now());
    return figuresOf(quiet, flooded, sent, own);
  } finally {
    await cloud.stop();
  }
}

/** Another detector, with a token of its own. */
async function addDetector({ clients: { ssm } }: Stage): Promise<string> {
  const token = randomBytes(24).toString("base64url");
  const sha256 = createHash("sha256").update(token).digest("hex");
  const add = async (Name: string, entry: object) => {
    const { Parameter } = await ssm.send(new GetParameterCommand({ Name }));
    const Value = JSON.stringify([...JSON.parse(Parameter?.Value ?? "[]"), entry]);
    await ssm.send(new PutParameterCommand({ Name, Value, Overwrite: true }));
  };
  await add("/portcullis/local/callers", { name: "other", role: "detector" });
  await add("/portcullis/local/tokens", { name: "other", sha256 });
  await pause(PARAMETER_MS);
  return token;
}

async function measureRounds(
  stage: Stage,
  {
    api,
    detectorToken,
    operatorToken,
  }: { api: string; detectorToken: string; operatorToken: string },
  first: number,
  isOver: (count: number) => boolean,
): Promise<Round[]> {
  const rounds: Round[] = [];
  while (!isOver(rounds.length)) {
    const begin = Date.now();
    const n = first + rounds.length;
    const ip = `198.51.${100 + (n >> 7)}.${2 * (n & 127)}`;
    const body = JSON.stringify({ ip, severity: 8 });
    await call(api, detectorToken, "POST", "/blacklistip", body);
    const entry = await untilShown(stage, ip, true, begin);
    const unblockedAt = Date.now();
    const answer = call(api, operatorToken, "DELETE", `/blacklistip?ip=${ip}`);
    const unblock = await untilShown(stage, ip, false, unblockedAt);
    await answer;
    rounds.push({ entry, unblock });
    await pause(Math.max(0, begin + ROUND_MS - Date.now()));
  }
  return rounds;
}

/** Milliseconds from `since` until the ACL denies the address, or no longer does. */
async function untilShown(
  { clients: { ec2 } }: Stage,
  ip: string,
  isDenied: boolean,
  since: number,
): Promise<number> {
  const command = { NetworkAclIds: [DEFAULT_VPC.defaultNetworkAclId] };
  await poll(
    async () => {
      const { NetworkAcls } = await ec2.send(new DescribeNetworkAclsCommand(command));
      const isShown = NetworkAcls?.[0]?.Entries?.some(({ CidrBlock }) => CidrBlock === `${ip}/32`);
      return isShown === isDenied || undefined;
    },
    APPEARS_MS,
    20,
  );
  return Date.now() - since;
}

async function call(
  api: string,
  token: string,
  method: string,
  path: string,
  body?: string,
): Promise<void> {
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  const response = await fetch(new URL(path, api), { method, headers, ...(body && { body }) });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status}`);
  await response.arrayBuffer();
}

type Sent = { readonly requests: number; readonly accepted: number; readonly overBudget: number };

/** Reports distinct addresses as fast as the flood is meant to be. */
function startFlood(api: string, token: string) {
  const agent = new Agent({ keepAlive: true, maxSockets: MAX_OPEN });
  let [requests, accepted, overBudget, open, next] = [0, 0, 0, 0, 0];
  const timer = setInterval(() => {
    if (open >= MAX_OPEN) return;
    const ips = Array.from({ length: FLOOD.addresses }, () => {
      const n = next++;
      return `${41 + (n >> 20)}.${(n >> 12) & 255}.${(n >> 4) & 255}.${16 * (n & 15) + 1}`;
    });
    open++;
    requests++;
    const sent = request(
      new URL("/blacklistip", api),
      {
        agent,
        method: "POST",
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      },
      (response) => {
        if (response.statusCode === 202) accepted++;
        if (response.statusCode === 429) overBudget++;
        response.resume().once("close", () => open--);
      },
    );
    sent.once("error", () => open--);
    sent.end(JSON.stringify({ ips, severity: 5, expiryTime: FLOOD.seconds }));
  }, 60_000 / FLOOD.requestsPerMinute);
  return {
    stop(): Sent {
      clearInterval(timer);
      agent.destroy();
      return { requests, accepted, overBudget };
    },
  };
}

function figuresOf(
  quiet: readonly Round[],
  flooded: readonly Round[],
  { requests, accepted, overBudget }: Sent,
  outstanding: number,
): Figure[] {
  const limit = DEFAULT_LIMITS.detector;
  const p99 = (name: string, what: string, of: (round: Round) => number): Figure => {
    const value = percentile(flooded.map(of), 0.99);
    const floor = percentile(quiet.map(of), 0.99);
    return {
      name,
      what: `${what}, while one token floods with ${(requests * FLOOD.addresses).toLocaleString("en")} distinct addresses in ${FLOOD_MS / 60_000} minutes (${flooded.length} rounds)`,
      value: { value, unit: "ms" },
      floor: {
        what: `the same before the flood (${quiet.length} rounds)`,
        value: floor,
        unit: "ms",
      },
      ratio: value / floor,
      goal: { text: `≤ ${TIMES} ×`, isMet: value <= TIMES * floor },
      details: {
        p50: percentile(flooded.map(of), 0.5),
        quietP50: percentile(quiet.map(of), 0.5),
        most: Math.max(...flooded.map(of)),
      },
    };
  };
  return [
    p99("floodEntryMs p99", "another detector's report until the entry", ({ entry }) => entry),
    p99(
      "floodUnblockMs p99",
      "an operator's unblock until the entry is gone",
      ({ unblock }) => unblock,
    ),
    {
      name: "floodOutstanding",
      what: `blocks in force of the flooding token afterwards; ${accepted} of ${requests} requests accepted, ${overBudget} over the budget`,
      value: { value: outstanding },
      goal: {
        text: `≤ ${limit.outstanding.toLocaleString("en")} and a minute's budget`,
        isMet: outstanding <= limit.outstanding + limit.addressesPerMinute,
      },
    },
  ];
}
