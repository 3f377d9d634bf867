import { Logger } from "@aws-lambda-powertools/logger";
import type { EC2Client } from "@aws-sdk/client-ec2";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { DEFAULT_VPC } from "../../infra/local/engines/ec2/acls.ts";
import { startEc2 } from "../../infra/local/engines/ec2/server.ts";
import type { Converged } from "../../services/enforcer/converge.ts";
import { convergenceOf, createConvergeAll } from "../../services/enforcer/convergeAll.ts";
import { createTimeToEntry } from "../../services/enforcer/timeToEntry.ts";
import { createEc2 } from "../../shared/aws/clients.ts";
import { createNetworkAcl, type NetworkAcl } from "../../shared/targets/networkAcl/ec2.ts";
import { createNetworkAclTarget } from "../../shared/targets/networkAcl/target.ts";
import { blockOf } from "../support/blocks.ts";
import { createMemoryTable } from "../support/memoryTable.ts";

// converge through the real SDK client, which slows down to the rate that EC2 grants.

const RULES = 40;
/** As the handler has it. */
const TIME_MS = 40_000;
const ACL_ID = DEFAULT_VPC.defaultNetworkAclId;

let server: Awaited<ReturnType<typeof startEc2>>;
let ec2: EC2Client;
let table: ReturnType<typeof createMemoryTable>;
/** The ranges put in place, in order. */
let made: (string | undefined)[];

beforeEach(async () => {
  server = await startEc2({ quota: RULES + 2 });
  process.env.AWS_ENDPOINT_URL_EC2 = server.url;
  process.env.AWS_REGION = "us-east-1";
  process.env.AWS_ACCESS_KEY_ID = "local";
  process.env.AWS_SECRET_ACCESS_KEY = "local";
  ec2 = createEc2();
  table = createMemoryTable();
  made = [];
});
afterEach(async () => {
  ec2.destroy();
  await server.stop();
});

async function converge(timeMs: number): Promise<Converged | undefined> {
  const acl = createNetworkAcl(ec2, ACL_ID);
  const watched: NetworkAcl = {
    ...acl,
    async apply(direction, change) {
      await acl.apply(direction, change);
      made.push(change.cidr?.text);
    },
  };
  const target = createNetworkAclTarget(watched, {
    id: ACL_ID,
    leastSeverity: 1,
    directions: ["ingress"],
    ruleLimit: RULES,
    numbers: { first: 1, last: 99 },
    maxInnocents: 0,
    margin: 0,
  });
  const enforcer = {
    blocks: table.blocks,
    states: table.states,
    orders: table.orders,
    sources: { recent: async () => [] },
    sweeper: { begin: () => {} },
    timeToEntry: createTimeToEntry(),
    neverBlock: async () => ({ list: [], isCurrent: true }),
    mode: "enforce",
    log: new Logger({ logLevel: "SILENT" }),
    clock: Date.now,
  } as const;
  const convergeAll = createConvergeAll([convergenceOf(enforcer, target)], Date.now);
  const { converged, failed } = await convergeAll(Date.now() + timeMs);
  const [failure] = failed.values();
  if (failure) throw failure;
  return converged.get(ACL_ID);
}

/** Wants blocks for an hour; their ranges, strongest first. None is another's sibling. */
function wantAll(): string[] {
  const now = Date.now();
  return Array.from({ length: RULES }, (_, n) => {
    const text = `45.0.0.${2 * n}/32`;
    table.blockItems.set(text, blockOf(text, { reportedAt: now - n, seconds: 3_600 }));
    return text;
  });
}

async function control(settings: object): Promise<void> {
  await fetch(new URL("/_control", server.url), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(settings),
  });
}

test("a change of 40 rules is one converge, strongest first, though the burst is spent", async () => {
  await control({ throttle: { mutating: { burst: 1, perSecond: 5 } } });
  const cidrs = wantAll();
  const outcome = await converge(TIME_MS);
  expect(outcome).toMatchObject({ applied: RULES, left: 0 });
  expect(made).toEqual(cidrs);
}, 60_000);

test("where EC2 grants nothing a converge ends when its time is up; the next one makes it good", async () => {
  await control({ throttle: { mutating: { burst: 0, perSecond: 0 } } });
  const cidrs = wantAll();
  const outcome = await converge(2_000);
  expect(outcome).toMatchObject({ applied: 0, left: RULES });
  await control({ throttle: false });
  expect(await converge(TIME_MS)).toMatchObject({ left: 0 });
  expect(made).toEqual(cidrs);
}, 60_000);
