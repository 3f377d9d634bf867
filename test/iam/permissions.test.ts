import { join } from "node:path";
import { SendMessageCommand } from "@aws-sdk/client-sqs";
import { isWildcardOnlyAction } from "@cloud-copilot/iam-simulate";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { writeJson } from "../../infra/local/files.ts";
import { PROJECT_ROOT } from "../../infra/local/package.ts";
import { eventually } from "../e2e/cloud.ts";
import { ACL_IDS, IP_SETS, type Lane, LIST, startLane } from "../faults/lane.ts";
import type { Call } from "../faults/proxy.ts";
import { checkOut, REGION } from "../support/checkout.ts";
import { answer, decision, type FakeLapi, startLapi } from "../support/lapi.ts";
import { type Role, readRoles, type Statement } from "./policies.ts";
import { type Place, type Request, requestsOf } from "./requests.ts";
import { isAllowed } from "./simulate.ts";

// Every AWS call that the functions make, by function, against the policies that are packaged for them:
// each call is allowed, each thing that is allowed is called, and what a function must never do is denied.

const FUNCTIONS = ["blacklist", "worker", "enforcer", "crowdsec"] as const;
type Name = (typeof FUNCTIONS)[number];

/** What Serverless grants by itself, beside what it must: nothing here can take it away. */
const GRANTED_BY_SERVERLESS = [
  "logs:CreateLogGroup", // the template makes the groups
  "logs:TagResource",
  "dynamodb:ListStreams", // the mapping names its stream
  "sqs:ListQueues",
];

let lane: Lane;
let lapi: FakeLapi;
let roles: Readonly<Record<string, Role>>;
let place: Place;
/** The distinct calls, and how many there were of all. */
const recorded = new Map<string, Call>();
let callCount = 0;
/** What was asked of the simulator, for the documents. */
const figures: Record<string, object> = {};

beforeAll(async () => {
  // The stage of the local cloud, with the targets that it is given here.
  const stage = LIST.slice("portcullis-".length);
  const checkout = checkOut(stage, { targets: { networkAcls: ACL_IDS, wafIpSets: [IP_SETS] } });
  try {
    await checkout.serverless("package");
    ({ roles, place } = readRoles(checkout.templates(), REGION));
  } finally {
    checkout.remove();
  }
  // A few rules and no TTL: blocks wait, are swapped, and pile up once they have ended.
  lapi = await startLapi();
  const settings = {
    ...{ RULE_LIMIT: "3", TTL: "off", LOG_LEVEL: "DEBUG" },
    ...{ CROWDSEC_URL: lapi.url, CROWDSEC_KEY: "a-bouncer-s-key", PULL_SECONDS: "2" },
  };
  lane = await startLane(settings, (call) => {
    const [, name] = / app\/(\w+)/.exec(call.userAgent) ?? [];
    if (name === undefined) return undefined;
    callCount += 1;
    recorded.set(JSON.stringify([name, call.service, call.action, call.body]), call);
    return undefined;
  });
  await exercise(lane);
}, 240_000);
afterAll(async () => {
  await lane?.stop();
  await lapi?.stop();
  writeJson(join(PROJECT_ROOT, ".local/permissions.json"), { callCount, ...figures });
});

/** What the functions are there for, all of it. */
async function exercise(lane: Lane): Promise<void> {
  const cloud = lane.cloud();
  const asOperator = (method: string, path: string, body?: object) =>
    cloud.call(path, {
      method,
      token: cloud.stack.operatorToken,
      headers: { "content-type": "application/json" },
      ...(body && { body: JSON.stringify(body) }),
    });
  const denied = async () => (await lane.entries(ACL_IDS[0])).map(({ CidrBlock }) => CidrBlock);
  const isDenied = async (ip: string) => (await denied()).includes(`${ip}/32`);

  // Blocks: one, many at once, weak ones that wait, and a strong one that takes a weak one's place.
  await cloud.block({ ip: "203.0.113.10", severity: 5 });
  await cloud.block({ ip: "2001:db8:1::1", severity: 5 });
  await eventually("a block is denied", 30, () => isDenied("203.0.113.10"));
  for (let n = 0; n < 3; n++) {
    await cloud.block({
      ips: Array.from({ length: 100 }, (_, i) => `41.0.${n}.${i}`),
      severity: 1,
    });
  }
  await cloud.block({ ip: "203.0.113.60", severity: 9 });
  await eventually("a strong one takes a place", 30, () => isDenied("203.0.113.60"));

  // Many that end at once, and stay in the table as TTL does not come for them.
  const ending = Array.from({ length: 30 }, (_, i) => `198.51.100.${i}`);
  await cloud.block({ ips: ending, severity: 10, expiryTime: 4 });
  await eventually("they are denied", 30, () => isAny(denied, "198.51.100."));
  await eventually("they have ended", 30, async () => !(await isAny(denied, "198.51.100.")));

  // What operators say.
  await cloud.list();
  await cloud.list("?ip=203.0.113.60&limit=10");
  await asOperator("POST", "/blacklistip", { ip: "203.0.113.110", severity: 10 });
  await eventually("the operator's block", 30, () => isDenied("203.0.113.110"));
  await asOperator("DELETE", "/blacklistip?ip=203.0.113.110");
  await asOperator("DELETE", "/blacklistip?ip=203.0.113.60&hold=60");
  await eventually(
    "both are unblocked",
    30,
    async () => !(await isDenied("203.0.113.60")) && !(await isDenied("203.0.113.110")),
  );
  await asOperator("POST", "/blacklistip", { ip: "203.0.113.60", severity: 10 });
  await asOperator("DELETE", "/blacklistip?ip=203.0.113.60");
  for (const mode of ["monitor", "default"]) await asOperator("PUT", "/mode", { mode });
  const since = Math.floor(Date.now() / 1000) - 600;
  await asOperator("DELETE", `/blacklist?detector=detector&since=${since}`);
  await eventually(
    "all is taken back",
    60,
    async () => (await cloud.list("?limit=200")).blocks.length <= 1,
  );

  // What CrowdSec decides, and takes back.
  const decided = [decision("203.0.113.70")];
  lapi.answers = (_, response) => answer(response, { new: decided.splice(0) });
  await eventually("what CrowdSec decides is queued", 60, async () =>
    called("crowdsec", "sqs:SendMessage", "fifo"),
  );
  lapi.answers = (_, response) => answer(response, { deleted: [decision("203.0.113.70")] });
  await eventually("what it takes back is forgotten", 60, async () =>
    [...recorded.values()].some(({ body }) => body.includes("DeleteRequest")),
  );

  // What can never be done is put aside.
  await lane.clients.sqs.send(
    new SendMessageCommand({
      QueueUrl: lane.queues().main,
      MessageBody: "no message",
      MessageGroupId: "strangers",
      MessageDeduplicationId: "strangers",
    }),
  );
  await eventually("it is dead-lettered", 30, async () =>
    called("worker", "sqs:SendMessage", "dead"),
  );
  await eventually("the ended ones are swept", 60, async () =>
    called("enforcer", "dynamodb:PartiQLDelete", ""),
  );
}

const isAny = async (denied: () => Promise<(string | undefined)[]>, prefix: string) =>
  (await denied()).some((cidr) => cidr?.startsWith(prefix));

/** What IAM was asked about each function, each thing once. */
function requests(name: string): Request[] {
  const all = [...recorded].flatMap(([key, call]) =>
    JSON.parse(key)[0] === name ? requestsOf(call, place) : [],
  );
  const distinct = new Map(all.map((one) => [JSON.stringify(one), one]));
  return [...distinct.values()];
}
const called = (name: string, action: string, resource: string) =>
  requests(name).some((one) => one.action === action && one.resource.includes(resource));

describe.each(FUNCTIONS)("%s", (name) => {
  const role = () => roles[name] as Role;
  const asked = () => [...requests(name), ...role().lambdaCalls];

  test("may make every call that it makes, and Lambda in its name", async () => {
    const refused = [];
    for (const one of asked()) if (!(await isAllowed(one, role().statements))) refused.push(one);
    expect(refused).toEqual([]);
    expect(requests(name).length).toBeGreaterThan(5);
  });

  test("needs whatever it may: without any action, resource or partition of a statement, a call is denied", async () => {
    const unused: string[] = [];
    const all = reductions(role().statements);
    for (const { what, statements } of all) {
      const answers = await Promise.all(asked().map((one) => isAllowed(one, statements)));
      if (answers.every((is) => is)) unused.push(what);
    }
    figures[name] = { questions: asked().length, takenOut: all.length, unused };
    expect(unused.filter((what) => !GRANTED_BY_SERVERLESS.includes(what))).toEqual([]);
  }, 180_000);

  test("may name everything only where AWS knows no resources", () => {
    for (const { Action, Resource } of role().statements) {
      if (!Resource.includes("*")) continue;
      const scoped = Action.filter((action) => !isWildcardOnly(action));
      expect(scoped).toEqual([]);
    }
    const patterns = role().statements.flatMap(({ Resource }) => Resource);
    const open = patterns.filter((arn) => arn !== "*" && /[*?]/.test(arn));
    expect(open.filter((arn) => !FORCED.some((forced) => forced.test(arn)))).toEqual([]);
  });
});

/** An id that AWS chooses, and the streams of a function's own log group. */
const FORCED = [
  /^arn:aws:wafv2:[^*]+:regional\/ipset\/[\w-]+-v[46]\/\*$/,
  /^arn:aws:logs:[^*]+:log-group:\/aws\/lambda\/[\w-]+\*:\*(:\*)?$/,
];

const isWildcardOnly = (action: string): boolean => {
  const [service = "", name = ""] = action.split(":");
  return WILDCARD_ONLY.has(`${service}:${name}`);
};
const WILDCARD_ONLY = new Set<string>();
beforeAll(async () => {
  for (const action of Object.values(roles).flatMap(({ statements }) =>
    statements.flatMap(({ Action }) => Action),
  )) {
    const [service = "", name = ""] = action.split(":");
    if (await isWildcardOnlyAction(service, name)) WILDCARD_ONLY.add(action);
  }
});

/** The statements without one action, one resource or one partition, each in its turn. */
function reductions(
  statements: readonly Statement[],
): { what: string; statements: readonly Statement[] }[] {
  return statements.flatMap((statement, index) => {
    const instead = (what: string, reduced: Statement, isLeft: boolean) => ({
      what,
      statements: isLeft ? statements.with(index, reduced) : statements.toSpliced(index, 1),
    });
    const without = (list: readonly string[], one: string) => list.filter((each) => each !== one);
    const keys = statement.Condition?.["ForAllValues:StringEquals"]?.["dynamodb:LeadingKeys"] ?? [];
    return [
      ...statement.Action.map((action) => {
        const Action = without(statement.Action, action);
        return instead(action, { ...statement, Action }, Action.length > 0);
      }),
      ...statement.Resource.map((resource) => {
        const Resource = without(statement.Resource, resource);
        return instead(
          `${statement.Action} on ${resource}`,
          { ...statement, Resource },
          Resource.length > 0,
        );
      }),
      ...keys.map((key) => {
        const left = without(keys, key);
        const Condition = { "ForAllValues:StringEquals": { "dynamodb:LeadingKeys": left } };
        return instead(
          `${statement.Action} in ${key}`,
          { ...statement, Condition },
          left.length > 0,
        );
      }),
    ];
  });
}

describe("what a function must never do", () => {
  const arn = (service: string, rest: string) =>
    `arn:aws:${service}:${place.region}:${place.accountId}:${rest}`;
  const tableArn = () =>
    requests("worker").find(({ action }) => action === "dynamodb:PutItem")?.resource ?? "";
  const inTable = (action: string, partition: string): Request => ({
    action: `dynamodb:${action}`,
    resource: tableArn(),
    context: { "dynamodb:LeadingKeys": [partition] },
  });
  const on = (action: string, resource: string): Request => ({ action, resource, context: {} });
  const parameter = (name: "tokens" | "callers" | "never-block" | "crowdsec-key") => {
    const asked = requests(name === "crowdsec-key" ? "crowdsec" : "blacklist");
    return asked.find(({ resource }) => resource.endsWith(`/${name}`))?.resource ?? "";
  };
  const secrets = (...own: readonly string[]): Request[] =>
    (["tokens", "crowdsec-key"] as const)
      .filter((name) => !own.includes(name))
      .map((name) => on("ssm:GetParameter", parameter(name)));
  const queueOf = (name: Name) =>
    requests(name).find(({ action }) => action === "sqs:SendMessage")?.resource ?? "";
  const everybody = (): Request[] => [
    { ...inTable("Scan", LIST), context: {} },
    inTable("GetItem", "another-list"),
    inTable("PutItem", "another-list"),
    inTable("UpdateItem", LIST),
    on("dynamodb:DeleteTable", tableArn()),
    on("dynamodb:UpdateTable", tableArn()),
    on("dynamodb:UpdateTimeToLive", tableArn()),
    on("dynamodb:GetItem", arn("dynamodb", "table/another")),
    on("ssm:PutParameter", parameter("never-block")),
    on("ssm:GetParameter", arn("ssm", "parameter/another")),
    on("sqs:PurgeQueue", queueOf("blacklist")),
    on("ec2:CreateNetworkAclEntry", arn("ec2", "network-acl/acl-0cccccccccccccccc")),
    on("ec2:ReplaceNetworkAclAssociation", arn("ec2", `network-acl/${ACL_IDS[0]}`)),
    on("ec2:DeleteNetworkAcl", arn("ec2", `network-acl/${ACL_IDS[0]}`)),
    on("wafv2:UpdateIPSet", arn("wafv2", "regional/ipset/another-v4/0")),
    on("wafv2:DeleteIPSet", arn("wafv2", `regional/ipset/${IP_SETS}-v4/0`)),
    on("lambda:InvokeFunction", arn("lambda", "function:portcullis-enforcer-dev-enforcer")),
    on("iam:PassRole", `arn:aws:iam::${place.accountId}:role/another`),
    on("logs:PutLogEvents", arn("logs", "log-group:/aws/lambda/another:log-stream:0")),
  ];
  const targets = (): Request[] => [
    on("ec2:CreateNetworkAclEntry", arn("ec2", `network-acl/${ACL_IDS[0]}`)),
    on("ec2:DeleteNetworkAclEntry", arn("ec2", `network-acl/${ACL_IDS[0]}`)),
    on("ec2:DescribeNetworkAcls", "*"),
    on("wafv2:UpdateIPSet", arn("wafv2", `regional/ipset/${IP_SETS}-v4/0`)),
    inTable("PutItem", `${LIST}#targets`),
  ];
  const forbidden: Record<Name, () => Request[]> = {
    blacklist: () => [
      ...targets(),
      ...secrets("tokens"),
      inTable("PutItem", LIST),
      inTable("DeleteItem", LIST),
      inTable("PartiQLDelete", LIST),
      inTable("GetItem", `${LIST}#memory`),
      inTable("UpdateItem", `${LIST}#outstanding`),
      on("sqs:ReceiveMessage", queueOf("blacklist")),
      on("sqs:DeleteMessage", queueOf("blacklist")),
    ],
    worker: () => [
      ...targets(),
      ...secrets(),
      inTable("PutItem", `${LIST}#callers`),
      inTable("UpdateItem", `${LIST}#budgets`),
    ],
    enforcer: () => [
      ...secrets(),
      on("ssm:GetParameter", parameter("callers")),
      inTable("PutItem", LIST),
      inTable("PutItem", `${LIST}#orders`),
      inTable("DeleteItem", `${LIST}#orders`),
      inTable("PutItem", `${LIST}#memory`),
      on("sqs:SendMessage", queueOf("blacklist")),
      on("sqs:ReceiveMessage", queueOf("blacklist")),
    ],
    crowdsec: () => [
      ...targets(),
      ...secrets("crowdsec-key"),
      on("ssm:GetParameter", parameter("never-block")),
      inTable("Query", LIST),
      inTable("PutItem", LIST),
      inTable("BatchWriteItem", LIST),
      inTable("BatchGetItem", LIST),
      inTable("BatchWriteItem", `${LIST}#settings`),
      inTable("Query", `${LIST}#tokens`),
      inTable("PutItem", `${LIST}#orders`),
      inTable("UpdateItem", `${LIST}#outstanding`),
      on("sqs:ReceiveMessage", queueOf("crowdsec")),
    ],
  };

  test.each(FUNCTIONS)("%s", async (name) => {
    const allowed = [];
    for (const one of [...everybody(), ...forbidden[name]()]) {
      expect(one.resource).not.toBe("");
      if (await isAllowed(one, (roles[name] as Role).statements)) allowed.push(one);
    }
    expect(allowed).toEqual([]);
  });
});
