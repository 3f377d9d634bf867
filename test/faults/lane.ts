import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import {
  CreateNetworkAclEntryCommand,
  DescribeNetworkAclsCommand,
  type NetworkAclEntry,
} from "@aws-sdk/client-ec2";
import { SetQueueAttributesCommand } from "@aws-sdk/client-sqs";
import { type Clients, createClients } from "../../infra/local/clients.ts";
import { startEngineProcess } from "../../infra/local/engines/child.ts";
import { startEngines } from "../../infra/local/engines.ts";
import { pause } from "../../infra/local/waiting.ts";
import { newDir, startTestCloud, type TestCloud } from "../e2e/cloud.ts";
import { type Choose, startProxy } from "./proxy.ts";

const ACL_ID = "acl-0a1b2c3d4e5f60718";
const REGION = "us-east-1";
export const RULE_LIMIT = 12;

/** Rules that a person has put among ours; nobody may touch them. */
export const PERSONS: readonly NetworkAclEntry[] = [
  { RuleNumber: 5, RuleAction: "deny", Protocol: "-1", CidrBlock: "192.0.2.7/32", Egress: false },
  { RuleNumber: 7, RuleAction: "allow", Protocol: "-1", CidrBlock: "192.0.2.8/32", Egress: false },
];

/**
 * So long is a message that failed kept from being tried again, in seconds: longer than the worker may
 * take, and shorter than in a deployment, so that the campaign need not wait.
 */
const VISIBILITY_SECONDS = 7;
const TEMPLATE_VISIBILITY_SECONDS = 30;
/** Longer than the runner's poll of the queue waits. */
const DEAD_POLL_MS = 2_500;

/** Engines, faulty proxies before them, and the local cloud as a process that can be killed. */
export type Lane = {
  readonly clients: Clients;
  readonly cloud: () => TestCloud;
  /** The queues' URLs at the engine, past the proxy. */
  readonly queues: () => { readonly main: string; readonly dead: string };
  /** Where the local cloud keeps its state. */
  readonly dir: string;
  /** What the proxies do from now on. */
  choose: Choose;
  /** Resolves with true once the runner has been killed, false after so many milliseconds. */
  killed(withinMs: number): Promise<boolean>;
  kill(): Promise<void>;
  restart(): Promise<void>;
  entries(): Promise<NetworkAclEntry[]>;
  stop(): Promise<void>;
};

export async function startLane(): Promise<Lane> {
  const enginesDir = newDir();
  const dir = newDir();
  const logDir = join(enginesDir, "logs");
  mkdirSync(logDir, { recursive: true });
  const dynamodb = await startEngineProcess(
    "DynamoDB Local",
    new URL("../../infra/local/engines/dynamodb.ts", import.meta.url),
    [],
    {},
    join(logDir, "engine-dynamodb.log"),
  );
  const engines = await startEngines({
    stateDir: join(enginesDir, "state"),
    logDir,
    region: REGION,
    env: { AWS_ENDPOINT_URL_DYNAMODB: dynamodb.url },
  });
  const clients = createClients(engines.endpoints, REGION);
  for (const entry of PERSONS) {
    await clients.ec2.send(
      new CreateNetworkAclEntryCommand({
        ...{ NetworkAclId: ACL_ID, RuleNumber: entry.RuleNumber, RuleAction: entry.RuleAction },
        ...{ Protocol: entry.Protocol, CidrBlock: entry.CidrBlock, Egress: false },
      }),
    );
  }

  const atEngine = (queueUrl: string) =>
    new URL(new URL(queueUrl).pathname, engines.endpoints.sqs).href;
  let isKilled = false;
  const kill = async () => {
    isKilled = true;
    await cloud.kill();
  };
  const proxy = (service: "sqs" | "dynamodb" | "ec2" | "ssm") =>
    startProxy(service, engines.endpoints[service], (call) => lane.choose(call), kill);
  const proxies = {
    sqs: await proxy("sqs"),
    dynamodb: await proxy("dynamodb"),
    ec2: await proxy("ec2"),
    ssm: await proxy("ssm"),
  };
  const env = {
    AWS_ENDPOINT_URL_SQS: proxies.sqs.url,
    AWS_ENDPOINT_URL_DYNAMODB: proxies.dynamodb.url,
    AWS_ENDPOINT_URL_DYNAMODB_STREAMS: proxies.dynamodb.url,
    AWS_ENDPOINT_URL_EC2: proxies.ec2.url,
    AWS_ENDPOINT_URL_SSM: proxies.ssm.url,
    ACL_ID,
    RULE_LIMIT: String(RULE_LIMIT),
    RECONCILE_SECONDS: "5",
  };
  let cloud: TestCloud;
  const setVisibility = (seconds: number) =>
    clients.sqs.send(
      new SetQueueAttributesCommand({
        QueueUrl: lane.queues().main,
        Attributes: { VisibilityTimeout: String(seconds) },
      }),
    );
  const start = async () => {
    isKilled = false;
    cloud = await startTestCloud(env, dir);
    await setVisibility(VISIBILITY_SECONDS);
  };

  const lane: Lane = {
    clients,
    dir,
    cloud: () => cloud,
    queues: () => ({
      main: atEngine(cloud.stack.queueUrl),
      dead: atEngine(cloud.stack.deadLetterQueueUrl),
    }),
    choose: () => undefined,
    async killed(withinMs) {
      const until = Date.now() + withinMs;
      while (!isKilled && Date.now() < until) await new Promise((done) => setTimeout(done, 50));
      return isKilled;
    },
    kill,
    async restart() {
      // The killed runner's poll still waits at the engine: what it gets must show again soon.
      await pause(DEAD_POLL_MS);
      // The local cloud makes its queues as the templates say, and SQS refuses a different one.
      await setVisibility(TEMPLATE_VISIBILITY_SECONDS);
      await start();
    },
    async entries() {
      const { NetworkAcls } = await clients.ec2.send(
        new DescribeNetworkAclsCommand({ NetworkAclIds: [ACL_ID] }),
      );
      return (NetworkAcls?.[0]?.Entries ?? []).filter(
        ({ Egress, RuleNumber = 0 }) => !Egress && RuleNumber < 100,
      );
    },
    async stop() {
      await cloud?.stop();
      for (const each of Object.values(proxies)) each.stop();
      clients.destroy();
      await Promise.all([engines.stop(), dynamodb.stop()]);
      rmSync(enginesDir, { recursive: true, force: true });
    },
  };
  await start().catch(async (error) => {
    await lane.stop();
    throw error;
  });
  return lane;
}
