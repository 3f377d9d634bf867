import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { DescribeNetworkAclsCommand, EC2Client, type NetworkAclEntry } from "@aws-sdk/client-ec2";
import {
  GetIPSetCommand,
  type IPSet,
  ListIPSetsCommand,
  UpdateIPSetCommand,
  WAFV2Client,
} from "@aws-sdk/client-wafv2";
import type { Stack } from "../../infra/local/cloud.ts";
import { poll } from "../../infra/local/waiting.ts";

/** How long a local cloud may take to start, packaging included, in milliseconds. */
const START_MS = 90_000;

const ROOT = new URL("../../", import.meta.url);
const credentials = { accessKeyId: "local", secretAccessKey: "local" };

/** What `GET /blacklist` says of a block. */
export type ListedBlock = {
  readonly cidr: string;
  readonly state: string;
  readonly ruleNumber: number | null;
  readonly severity: number;
  readonly coveredBy?: string;
  readonly targets: Readonly<Record<string, { state: string; ruleNumber?: number; why?: string }>>;
};

/** What it says of a target. */
export type ListedTarget = {
  readonly id: string;
  readonly kind: string;
  readonly problem?: string;
  readonly enforced: number;
  readonly waiting: number;
  readonly shadowed: number;
};

export type Listed = {
  readonly mode: string;
  readonly targets: readonly ListedTarget[];
  readonly blocks: readonly ListedBlock[];
};

export type TestCloud = {
  readonly stack: Stack;
  readonly dir: string;
  /** A person's way to the ACLs. */
  readonly ec2: EC2Client;
  /** Calls the API as a detector; `init` as for fetch, `token` overrides. */
  call(path: string, init?: RequestInit & { token?: string | null }): Promise<Response>;
  /** Blocks by JSON body; the answer's status and body. */
  block(fields: object): Promise<{ status: number; body: Record<string, unknown> }>;
  /** The list as an operator sees it. */
  list(query?: string): Promise<Listed>;
  /** The inbound entries of an ACL, lowest number first; of the first ACL where none is named. */
  entries(aclId?: string): Promise<NetworkAclEntry[]>;
  /** The ranges denied inbound by rules in our number range, by rule number. */
  denied(aclId?: string): Promise<string[]>;
  /** An IP set as WAF describes it. Looks twice a second at most. */
  ipSet(name: string): Promise<IPSet>;
  /** Adds an address to an IP set as a person does. */
  addToIpSet(name: string, address: string): Promise<void>;
  /** Orders failures and limits of an emulator. */
  control(engine: "ec2" | "wafv2", orders: object): Promise<void>;
  /** The values that a metric of the enforcer has had since a moment in milliseconds, in their order. */
  metric(name: string, sinceMs?: number): number[];
  /** The lines of a function's log. */
  log(name: "blacklist" | "worker" | "enforcer" | "crowdsec" | "flow-logs"): string;
  kill(): Promise<void>;
  stop(): Promise<void>;
};

export const newDir = () => mkdtempSync(join(tmpdir(), "portcullis-e2e-"));

/**
 * Starts the product as `npm start` does, as a black box: a process, an environment, a stack.json.
 * `dir` is where it keeps its state: give the one of a killed cloud to go on with it.
 */
export async function startTestCloud(
  env: Readonly<Record<string, string>> = {},
  dir: string = newDir(),
): Promise<TestCloud> {
  const child = spawn(process.execPath, [new URL("infra/local/start.ts", ROOT).pathname], {
    cwd: ROOT,
    env: {
      ...process.env,
      NODE_OPTIONS: "",
      PORT: "0",
      PORTCULLIS_LOCAL_DIR: dir,
      EXIT_WITH_PARENT: "1",
      ...env,
    },
    stdio: ["pipe", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk) => {
      output += chunk;
    });
  }
  const stackFile = join(dir, "stack.json");
  const stack = await poll<Stack>(() => {
    if (child.exitCode !== null) throw new Error(`The local cloud ended:\n${output}`);
    if (!existsSync(stackFile)) return undefined;
    const written = JSON.parse(readFileSync(stackFile, "utf8")) as Stack;
    return written.pid === child.pid ? written : undefined; // not a killed cloud's
  }, START_MS);
  if (!stack) {
    child.kill("SIGKILL");
    throw new Error(`The local cloud did not start:\n${output}`);
  }

  const { region } = stack;
  const ec2 = new EC2Client({ endpoint: stack.endpoints.ec2, region, credentials });
  const wafv2 = new WAFV2Client({
    ...{ endpoint: stack.endpoints.wafv2, region, credentials },
    maxAttempts: 8, // its calls compete with the enforcer's for the account's rate
  });
  const entries = async (aclId: string = stack.aclId) => {
    const { NetworkAcls } = await ec2.send(
      new DescribeNetworkAclsCommand({ NetworkAclIds: [aclId] }),
    );
    return (NetworkAcls?.[0]?.Entries ?? [])
      .filter(({ Egress }) => !Egress)
      .toSorted((a, b) => (a.RuleNumber ?? 0) - (b.RuleNumber ?? 0));
  };
  // WAF grants five reads a second to the whole account, and the enforcer needs some of them.
  let nextLook: Promise<unknown> = Promise.resolve();
  const readIpSet = async (name: string) => {
    const turn = nextLook;
    nextLook = turn.then(() => sleep(500, undefined, { ref: false }));
    await turn;
    const Scope = "REGIONAL";
    const { IPSets } = await wafv2.send(new ListIPSetsCommand({ Scope }));
    const { Id } = IPSets?.find(({ Name }) => Name === name) ?? {};
    if (!Id) throw new Error(`There is no IP set ${name}.`);
    const key = { Name: name, Id, Scope } as const;
    const { IPSet, LockToken } = await wafv2.send(new GetIPSetCommand(key));
    if (!IPSet) throw new Error(`WAF does not describe the IP set ${name}.`);
    return { key, LockToken, IPSet };
  };
  const call: TestCloud["call"] = (path, { token = stack.detectorToken, ...init } = {}) =>
    fetch(`${stack.api}${path}`, {
      ...init,
      redirect: "manual",
      headers: { ...(token && { authorization: `Bearer ${token}` }), ...init.headers },
    });
  const log: TestCloud["log"] = (name) => readFileSync(join(dir, "logs", `${name}.log`), "utf8");
  return {
    stack,
    dir,
    ec2,
    call,
    entries,
    ipSet: async (name) => (await readIpSet(name)).IPSet,
    async addToIpSet(name, address) {
      const { key, LockToken, IPSet } = await readIpSet(name);
      const Addresses = [...(IPSet.Addresses ?? []), address];
      const { Description } = IPSet;
      await wafv2.send(new UpdateIPSetCommand({ ...key, LockToken, Description, Addresses }));
    },
    log,
    async list(query = "") {
      const response = await call(`/blacklist${query}`, { token: stack.operatorToken });
      if (response.status !== 200) throw new Error(`GET /blacklist: ${response.status}`);
      return (await response.json()) as Listed;
    },
    async control(engine, orders) {
      const response = await fetch(new URL("/_control", stack.endpoints[engine]), {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(orders),
      });
      if (!response.ok) throw new Error(`/_control: ${response.status} ${await response.text()}`);
    },
    metric(name, sinceMs = 0) {
      return log("enforcer")
        .split("\n")
        .filter((line) => line.startsWith('{"_aws"') && line.endsWith("}"))
        .map((line) => JSON.parse(line))
        .filter(({ _aws, [name]: value }) => _aws.Timestamp >= sinceMs && value !== undefined)
        .map(({ [name]: value }) => value as number);
    },
    async block(fields) {
      const response = await call("/blacklistip", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(fields),
      });
      return { status: response.status, body: (await response.json()) as Record<string, unknown> };
    },
    async denied(aclId) {
      return (await entries(aclId))
        .filter(({ RuleAction, RuleNumber = 0 }) => RuleAction === "deny" && RuleNumber < 100)
        .map(({ CidrBlock, Ipv6CidrBlock }) => CidrBlock ?? Ipv6CidrBlock ?? "");
    },
    async kill() {
      await end(child, "SIGKILL");
    },
    async stop() {
      await end(child, "SIGTERM");
      ec2.destroy();
      wafv2.destroy();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill(signal);
  const tooLate = sleep(20_000, undefined, { ref: false });
  await Promise.race([exited, tooLate.then(() => child.kill("SIGKILL"))]);
}

/** Waits until `holds`, at most `seconds`; the test fails with `what` otherwise. */
export async function eventually(
  what: string,
  seconds: number,
  holds: () => Promise<boolean>,
): Promise<void> {
  const held = await poll(async () => ((await holds()) ? true : undefined), seconds * 1000, 150);
  if (!held) throw new Error(`Not within ${seconds} s: ${what}`);
}
