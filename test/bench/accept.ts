import { fork } from "node:child_process";
import { hash, randomBytes } from "node:crypto";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { PutParameterCommand } from "@aws-sdk/client-ssm";
import { DEFAULT_VPC } from "../../infra/local/engines/ec2/acls.ts";
import { within } from "../../infra/local/waiting.ts";
import { createDynamo } from "../../shared/aws/clients.ts";
import { createTargetStates } from "../../shared/aws/table/targetStates.ts";
import type { Kind, Order, Rounds } from "./acceptProtocol.ts";
import type { Figure } from "./figure.ts";
import { packagedFunction } from "./functions.ts";
import type { Stage } from "./stage.ts";
import { median, percentile } from "./statistics.ts";

/** Requests at a time in one process: as many as one of Lambda's environments takes, and a crowd. */
const CONCURRENCIES = [1, 8] as const;
const REQUESTS_PER_ROUND = 250;
const ROUNDS = 8;
/** What V8 makes of the same code differs from one process to the next by a tenth. */
const PROCESSES = 4;
const LIMIT_MS = 90_000;
const GOAL = 0.9;

/** How many requests the packaged endpoint accepts, against bare SendMessage calls to its queue. */
export async function acceptRatio(stage: Stage): Promise<Figure[]> {
  const blacklist = packagedFunction(stage, "blacklist", DEFAULT_VPC.defaultNetworkAclId);
  await recordVpc(stage, String(blacklist.env.LIST_NAME));
  // One for each process, as a caller has only so many reports a minute.
  const tokens = CONCURRENCIES.map(() =>
    Array.from({ length: PROCESSES }, () => randomBytes(24).toString("base64url")),
  );
  const put = (name: unknown, entryOf: (token: string, caller: string) => object) =>
    stage.clients.ssm.send(
      new PutParameterCommand({
        Name: String(name),
        Value: JSON.stringify(tokens.flat().map((token, n) => entryOf(token, `bench-${n}`))),
        Type: "String",
        Overwrite: true,
      }),
    );
  await put(blacklist.env.TOKENS_PARAMETER, (token, name) => ({
    name,
    sha256: hash("sha256", token),
  }));
  await put(blacklist.env.CALLERS_PARAMETER, (_, name) => ({
    ...{ name, role: "detector", addressesPerMinute: 100_000 },
  }));
  const { bundle, handler, env } = blacklist;
  const figures: Figure[] = [];
  for (const [index, concurrency] of CONCURRENCIES.entries()) {
    const all: Rounds[] = [];
    for (const token of tokens[index] ?? []) {
      const order: Order = {
        ...{ bundle, handler, token, queueUrl: String(env.QUEUE_URL) },
        ...{ concurrency, requests: REQUESTS_PER_ROUND, rounds: ROUNDS },
      };
      all.push(await run(stage, order, env));
    }
    figures.push(...figuresOf(together(all), concurrency));
  }
  return figures;
}

const together = (all: readonly Rounds[]): Rounds => ({
  bare: all.flatMap(({ bare }) => bare),
  distinct: all.flatMap(({ distinct }) => distinct),
  repeats: all.flatMap(({ repeats }) => repeats),
});

function figuresOf(rounds: Rounds, concurrency: number): Figure[] {
  const rate = (kind: Kind) => median(rounds[kind].map(({ perSecond }) => perSecond));
  const latency = (kind: Kind, p: number) =>
    percentile(
      rounds[kind].flatMap(({ latenciesMs }) => latenciesMs),
      p,
    );
  const ratioOf = (name: string, what: string, kind: Kind): Figure => {
    const ratio = rate(kind) / rate("bare");
    return {
      name: `${name} ×${concurrency}`,
      what: `${what}, ${concurrency} at a time, through the packaged handler`,
      value: { value: rate(kind), unit: "/s" },
      floor: { what: "bare SendMessage calls", value: rate("bare"), unit: "/s" },
      ratio,
      goal: { text: `≥ ${GOAL}`, isMet: ratio >= GOAL },
    };
  };
  const latencyOf = (p: number): Figure => ({
    name: `acceptMs p${p * 100} ×${concurrency}`,
    what: `latency, distinct addresses (repeats: ${latency("repeats", p).toFixed(2)} ms)`,
    value: { value: latency("distinct", p), unit: "ms" },
    floor: { what: "bare SendMessage call", value: latency("bare", p), unit: "ms" },
    ratio: latency("distinct", p) / latency("bare", p),
    details: { repeatsMs: latency("repeats", p) },
  });
  return [
    ratioOf("acceptRatio", "requests accepted, distinct addresses", "distinct"),
    ratioOf("acceptRatioRepeats", "requests accepted, a storm of repeats", "repeats"),
    latencyOf(0.5),
    latencyOf(0.99),
  ];
}

/** The endpoint remembers the VPC's ranges once the enforcer has recorded them, as after a minute's life. */
export async function recordVpc({ model }: Stage, list: string): Promise<void> {
  const { defaultNetworkAclId: aclId, cidrBlocks, ipv6CidrBlocks } = DEFAULT_VPC;
  const states = createTargetStates(createDynamo(), { tableName: model.table.name, list });
  await states.writeNetwork(aclId, [...cidrBlocks, ...ipv6CidrBlocks]);
}

/** Runs the rounds in a process that has the function's environment, as Lambda runs the function. */
export async function run(
  { dir }: Stage,
  order: Order,
  env: Readonly<Record<string, string>>,
): Promise<Rounds> {
  // As in the local cloud, the function's log goes to a file.
  const log = openSync(join(dir, "logs", "blacklist.log"), "a");
  const child = fork(new URL("./acceptRun.ts", import.meta.url), [JSON.stringify(order)], {
    env: { ...env },
    execArgv: (env.NODE_OPTIONS ?? "").split(/\s+/).filter(Boolean),
    stdio: ["ignore", log, log, "ipc"],
  });
  try {
    const answer = new Promise<Rounds>((resolve, reject) => {
      child.once("message", (rounds) => resolve(rounds as Rounds));
      child.once("exit", (code) => reject(new Error(`The endpoint's process ended: ${code}`)));
      child.once("error", reject);
    });
    const rounds = await within(LIMIT_MS, answer);
    if (!rounds) throw new Error("The endpoint's process took too long.");
    return rounds;
  } finally {
    child.kill("SIGKILL");
    closeSync(log);
  }
}
