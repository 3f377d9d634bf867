import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import {
  CreateNetworkAclEntryCommand,
  DescribeNetworkAclsCommand,
  type NetworkAclEntry,
} from "@aws-sdk/client-ec2";
import { SetQueueAttributesCommand } from "@aws-sdk/client-sqs";
import { CreateIPSetCommand, GetIPSetCommand, ListIPSetsCommand } from "@aws-sdk/client-wafv2";
import { type Clients, createClients } from "../../infra/local/clients.ts";
import { startEngineProcess } from "../../infra/local/engines/child.ts";
import { startEngines } from "../../infra/local/engines.ts";
import { provideAcls } from "../../infra/local/targets.ts";
import { pause } from "../../infra/local/waiting.ts";
import { newDir, startTestCloud, type TestCloud } from "../e2e/cloud.ts";
import { type Call, type Choose, startProxy } from "./proxy.ts";

const REGION = "us-east-1";
/** What the local cloud's stage calls its list of blocks. */
export const LIST = "portcullis-local";
export const RULE_LIMIT = 12;

/** The network ACLs: the emulator's default one, and one that is made for the campaign. */
export const ACL_IDS = ["acl-0a1b2c3d4e5f60718", "acl-0bbbbbbbbbbbbbbbb"] as const;

/** The pair of IP sets, by its name. */
export const IP_SETS = "edge";
/** WAF grants one creation a second. */
const CREATE_EVERY_MS = 1_100;

/** What a person denies in each set of the pair; it must stay. */
export const PERSONS_ADDRESSES = { 4: "192.0.2.9/32", 6: "2001:db8::9/128" } as const;

/** Rules that a person has put among ours in each ACL; nobody may touch them. */
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
  /** Resolves with true once the runner has been killed, with false where it is not within the time. */
  killed(withinMs: number): Promise<boolean>;
  kill(): Promise<void>;
  restart(): Promise<void>;
  /** The inbound rules of an ACL below the default ones. */
  entries(aclId: string): Promise<NetworkAclEntry[]>;
  /** The addresses of one set of the pair, as WAF spells them. */
  addresses(family: 4 | 6): Promise<string[]>;
  stop(): Promise<void>;
};

/** `settings` go before those of the campaign; `choose` sees the first starts of the functions, too. */
export async function startLane(
  settings: Readonly<Record<string, string>> = {},
  choose: Choose = () => undefined,
): Promise<Lane> {
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
  await provideTargets(clients, engines.endpoints.ec2);

  const atEngine = (queueUrl: string) =>
    new URL(new URL(queueUrl).pathname, engines.endpoints.sqs).href;
  let isKilled = false;
  const kill = async () => {
    isKilled = true;
    await cloud.kill();
  };
  const proxy = (service: Call["service"]) =>
    startProxy(service, engines.endpoints[service], (call) => lane.choose(call), kill);
  const proxies = {
    sqs: await proxy("sqs"),
    dynamodb: await proxy("dynamodb"),
    ec2: await proxy("ec2"),
    wafv2: await proxy("wafv2"),
    ssm: await proxy("ssm"),
  };
  const env = {
    AWS_ENDPOINT_URL_SQS: proxies.sqs.url,
    AWS_ENDPOINT_URL_DYNAMODB: proxies.dynamodb.url,
    AWS_ENDPOINT_URL_DYNAMODB_STREAMS: proxies.dynamodb.url,
    AWS_ENDPOINT_URL_EC2: proxies.ec2.url,
    AWS_ENDPOINT_URL_WAFV2: proxies.wafv2.url,
    AWS_ENDPOINT_URL_SSM: proxies.ssm.url,
    ACL_ID: ACL_IDS.join(","),
    WAF_IP_SETS: IP_SETS,
    RULE_LIMIT: String(RULE_LIMIT),
    RECONCILE_SECONDS: "5",
    ...settings,
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
    choose,
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
    async entries(aclId) {
      const { NetworkAcls } = await clients.ec2.send(
        new DescribeNetworkAclsCommand({ NetworkAclIds: [aclId] }),
      );
      return (NetworkAcls?.[0]?.Entries ?? []).filter(
        ({ Egress, RuleNumber = 0 }) => !Egress && RuleNumber < 100,
      );
    },
    async addresses(family) {
      const Name = nameOf(family);
      const { IPSets } = await clients.wafv2.send(new ListIPSetsCommand({ Scope: "REGIONAL" }));
      const Id = IPSets?.find((set) => set.Name === Name)?.Id;
      const { IPSet } = await clients.wafv2.send(
        new GetIPSetCommand({ Name, Scope: "REGIONAL", Id }),
      );
      return IPSet?.Addresses ?? [];
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

const nameOf = (family: 4 | 6) => `${IP_SETS}-v${family}`;

/** ACLs and IP sets as they are before Portcullis comes: with what a person has put there. */
async function provideTargets({ ec2, wafv2 }: Clients, ec2Url: string): Promise<void> {
  await provideAcls(ec2Url, ACL_IDS);
  for (const NetworkAclId of ACL_IDS) {
    for (const { RuleNumber, RuleAction, Protocol, CidrBlock, Egress } of PERSONS) {
      const rule = { RuleNumber, RuleAction, Protocol, CidrBlock, Egress };
      await ec2.send(new CreateNetworkAclEntryCommand({ NetworkAclId, ...rule }));
    }
  }
  for (const family of [4, 6] as const) {
    await wafv2.send(
      new CreateIPSetCommand({
        Name: nameOf(family),
        Scope: "REGIONAL",
        Description: "Managed by Portcullis",
        IPAddressVersion: `IPV${family}`,
        Addresses: [PERSONS_ADDRESSES[family]],
      }),
    );
    await pause(CREATE_EVERY_MS);
  }
}
