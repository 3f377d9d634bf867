import { Logger } from "@aws-lambda-powertools/logger";
import type { EC2Client } from "@aws-sdk/client-ec2";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { DEFAULT_VPC } from "../../infra/local/engines/ec2/acls.ts";
import { startEc2 } from "../../infra/local/engines/ec2/server.ts";
import { converge, type Enforcer } from "../../services/enforcer/converge.ts";
import { createEc2 } from "../../shared/aws/clients.ts";
import { createNetworkAcl, type NetworkAcl } from "../../shared/aws/networkAcl.ts";
import { applyReport } from "../../shared/domain/block.ts";
import type { Change } from "../../shared/domain/plan.ts";
import { createMemoryTable } from "../support/memoryTable.ts";
import { reportOf } from "../support/reports.ts";

// converge through the real SDK client, which slows down to the rate that EC2 grants.

const RULES = 40;
/** As the handler has it. */
const TIME_MS = 40_000;
const ACL_ID = DEFAULT_VPC.defaultNetworkAclId;

let server: Awaited<ReturnType<typeof startEc2>>;
let ec2: EC2Client;
let table: ReturnType<typeof createMemoryTable>;
/** The ranges put in place, in order. */
let made: (string | null)[];

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

function enforcer(): Enforcer {
  const acl = createNetworkAcl(ec2, ACL_ID);
  const watched: NetworkAcl = {
    ...acl,
    async apply(direction, change: Change) {
      await acl.apply(direction, change);
      made.push(change.cidr);
    },
  };
  return {
    table,
    acl: watched,
    neverBlock: async () => [],
    directions: ["ingress"],
    ruleLimit: RULES,
    numbers: { first: 1, last: 99 },
    maxInnocents: 0,
    mode: "enforce",
    log: new Logger({ logLevel: "SILENT" }),
    clock: Date.now,
  };
}

/** Wants blocks for an hour; their ranges, strongest first. None is another's sibling. */
function wantAll(): string[] {
  const now = Date.now();
  return Array.from({ length: RULES }, (_, n) => {
    const cidr = `45.0.0.${2 * n}/32`;
    const report = reportOf(cidr, { reportedAt: now - n, severity: 5, seconds: 3_600 });
    const block = applyReport(undefined, report, 0, { factor: 1, maxSeconds: 1 }, now);
    if (block) table.blocks.set(cidr, block);
    return cidr;
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
  const outcome = await converge(enforcer(), Date.now() + TIME_MS);
  expect(outcome).toMatchObject({ applied: RULES, left: 0 });
  expect(made).toEqual(cidrs);
}, 60_000);

test("where EC2 grants nothing a converge ends when its time is up; the next one makes it good", async () => {
  await control({ throttle: { mutating: { burst: 0, perSecond: 0 } } });
  const cidrs = wantAll();
  const outcome = await converge(enforcer(), Date.now() + 2_000);
  expect(outcome).toMatchObject({ applied: 0, left: RULES });
  await control({ throttle: false });
  expect(await converge(enforcer(), Date.now() + TIME_MS)).toMatchObject({ left: 0 });
  expect(made).toEqual(cidrs);
}, 60_000);
