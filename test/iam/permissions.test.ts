import { isWildcardOnlyAction } from "@cloud-copilot/iam-simulate";
import { beforeAll, describe, expect, test } from "@jest/globals";
import { packagedRoles } from "./judge.ts";
import { LIST, PLACE, TARGETS } from "./place.ts";
import type { Role } from "./policies.ts";
import { refused } from "./proof.ts";
import type { Request } from "./requests.ts";

// What can be said of the packaged policies without a call. That each call is allowed, and nothing more, is
// proven at the end of a run: reporter.ts.

const FUNCTIONS = ["blacklist", "worker", "enforcer", "crowdsec", "flow-logs"] as const;
type Name = (typeof FUNCTIONS)[number];

let roles: Readonly<Record<string, Role>>;
beforeAll(async () => {
  roles = await packagedRoles();
}, 180_000);
const roleOf = (name: Name) => roles[name] as Role;

const request = (action: string, resource: string, partition?: string): Request => ({
  action,
  resource,
  context: partition === undefined ? {} : { "dynamodb:LeadingKeys": [partition] },
});

/** Ids that AWS chooses, and the streams of a function's own log group. */
const FORCED = [
  /^arn:aws:wafv2:[^*]+:regional\/ipset\/[\w-]+-v[46]\/\*$/,
  /^arn:aws:ec2:[^*]+:\*:prefix-list\/\*$/, // which ones, operators say while it runs
  /^arn:aws:logs:[^*]+:log-group:\/aws\/lambda\/[\w-]+\*:\*(:\*)?$/,
];

test.each(FUNCTIONS)("%s may name everything only where AWS leaves nothing else", async (name) => {
  const { statements } = roleOf(name);
  const onAll = statements.filter(({ Resource }) => Resource.includes("*"));
  for (const action of onAll.flatMap(({ Action }) => Action)) {
    const [service = "", called = ""] = action.split(":");
    expect([action, await isWildcardOnlyAction(service, called)]).toEqual([action, true]);
  }
  const patterns = statements.flatMap(({ Resource }) => Resource);
  const open = patterns.filter((arn) => arn !== "*" && /[*?]/.test(arn));
  expect(open.filter((arn) => !FORCED.some((forced) => forced.test(arn)))).toEqual([]);
});

describe("what a function must never do", () => {
  const { region, accountId } = PLACE;
  const arn = (service: string, rest: string) =>
    `arn:aws:${service}:${region}:${accountId}:${rest}`;
  /** What the role is granted under an action: the names are those of the templates. */
  const granted = (name: Name, action: string, pattern = /^/) =>
    roleOf(name)
      .statements.filter(({ Action }) => Action.includes(action))
      .flatMap(({ Resource }) => Resource)
      .find((resource) => pattern.test(resource)) ?? "";
  const tableArn = () => granted("worker", "dynamodb:PutItem");
  const inTable = (action: string, partition?: string) =>
    request(`dynamodb:${action}`, tableArn(), partition);
  const parameter = (parameterName: "tokens" | "callers" | "never-block") =>
    granted("blacklist", "ssm:GetParameter", new RegExp(`/${parameterName}$`));
  const crowdsecKey = () => granted("crowdsec", "ssm:GetParameter", /\/crowdsec-key$/);
  /** What others are told in confidence. */
  const secrets = (): Request[] =>
    [parameter("tokens"), crowdsecKey()].map((name) => request("ssm:GetParameter", name));
  const queue = () => granted("blacklist", "sqs:SendMessage");
  const acl = arn("ec2", `network-acl/${TARGETS.networkAcl}`);
  const ipSet = arn("wafv2", `regional/ipset/${TARGETS.ipSets}-v4/0`);

  const everybody = (): Request[] => [
    inTable("Scan"),
    inTable("GetItem", "another-list"),
    inTable("PutItem", "another-list"),
    inTable("UpdateItem", LIST),
    inTable("DeleteTable"),
    inTable("UpdateTable"),
    inTable("UpdateTimeToLive"),
    request("dynamodb:GetItem", arn("dynamodb", "table/another")),
    request("ssm:PutParameter", parameter("never-block")),
    request("ssm:GetParameter", arn("ssm", "parameter/another")),
    request("sqs:PurgeQueue", queue()),
    request("ec2:CreateNetworkAclEntry", arn("ec2", "network-acl/acl-0cccccccccccccccc")),
    request("ec2:ReplaceNetworkAclAssociation", acl),
    request("ec2:DeleteNetworkAcl", acl),
    request("wafv2:UpdateIPSet", arn("wafv2", "regional/ipset/another-v4/0")),
    request("wafv2:DeleteIPSet", ipSet),
    request("lambda:InvokeFunction", arn("lambda", "function:portcullis-enforcer-dev-enforcer")),
    request("iam:PassRole", `arn:aws:iam::${accountId}:role/another`),
    request("logs:PutLogEvents", arn("logs", "log-group:/aws/lambda/another:log-stream:0")),
  ];
  const targets = (): Request[] => [
    request("ec2:CreateNetworkAclEntry", acl),
    request("ec2:DeleteNetworkAclEntry", acl),
    request("ec2:DescribeNetworkAcls", "*"),
    request("wafv2:UpdateIPSet", ipSet),
    inTable("PutItem", `${LIST}#targets`),
  ];
  const forbidden: Record<Name, () => Request[]> = {
    blacklist: () => [
      ...targets(),
      request("ssm:GetParameter", crowdsecKey()),
      inTable("PutItem", LIST),
      inTable("DeleteItem", LIST),
      inTable("PartiQLDelete", LIST),
      inTable("GetItem", `${LIST}#memory`),
      inTable("UpdateItem", `${LIST}#outstanding`),
      request("sqs:ReceiveMessage", queue()),
      request("sqs:DeleteMessage", queue()),
    ],
    worker: () => [
      ...targets(),
      ...secrets(),
      inTable("PutItem", `${LIST}#callers`),
      inTable("UpdateItem", `${LIST}#budgets`),
    ],
    enforcer: () => [
      ...secrets(),
      request("ssm:GetParameter", parameter("callers")),
      inTable("PutItem", LIST),
      inTable("PutItem", `${LIST}#orders`),
      inTable("DeleteItem", `${LIST}#orders`),
      inTable("PutItem", `${LIST}#memory`),
      request("sqs:SendMessage", queue()),
      request("sqs:ReceiveMessage", queue()),
    ],
    crowdsec: () => [
      ...targets(),
      request("ssm:GetParameter", parameter("tokens")),
      request("ssm:GetParameter", parameter("never-block")),
      inTable("Query", LIST),
      inTable("PutItem", LIST),
      inTable("BatchWriteItem", LIST),
      inTable("BatchGetItem", LIST),
      inTable("BatchWriteItem", `${LIST}#settings`),
      inTable("Query", `${LIST}#tokens`),
      inTable("PutItem", `${LIST}#orders`),
      inTable("UpdateItem", `${LIST}#outstanding`),
      request("sqs:ReceiveMessage", queue()),
    ],
    "flow-logs": () => [
      ...targets(),
      ...secrets(),
      inTable("Query", LIST),
      inTable("PutItem", LIST),
      inTable("GetItem", LIST),
      inTable("GetItem", `${LIST}#settings`),
      request("ssm:GetParameter", parameter("callers")),
      request("sqs:ReceiveMessage", queue()),
    ],
  };

  test.each(FUNCTIONS)("%s", async (name) => {
    const all = [...everybody(), ...forbidden[name]()];
    expect(all.filter(({ resource }) => resource === "")).toEqual([]);
    expect(await refused(roleOf(name), all)).toEqual(all);
  });
});
