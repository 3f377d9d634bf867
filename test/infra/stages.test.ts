import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { PROJECT_ROOT } from "../../infra/local/package.ts";
import { readModel } from "../../infra/local/template.ts";
import { settings as blacklist } from "../../services/blacklist/settings.ts";
import { settings as crowdsec } from "../../services/crowdsec/settings.ts";
import { settings as enforcer } from "../../services/enforcer/settings.ts";
import { settings as flowLogs } from "../../services/flow-logs/settings.ts";
import { settings as worker } from "../../services/worker/settings.ts";
import { readSettings } from "../../shared/aws/settings.ts";
import { openWorkshop, type Templates, type Workshop } from "../support/packaging.ts";

// What a stage's file makes of the templates, and that nothing else does.

const ACL = "acl-0123456789abcdef0";
const BOUNDARY = "arn:aws:iam::111122223333:policy/boundary";
const KEY = "arn:aws:kms:eu-west-1:111122223333:key/0123";

const LAPI = "https://10.0.0.7:8080";
const VPC = {
  subnetIds: ["subnet-0123456789abcdef0"],
  securityGroupIds: ["sg-0123456789abcdef0"],
};

/** A shell in which somebody has worked on another deployment. */
const SHELL = {
  ...{ AWS_REGION: "us-west-2", AWS_DEFAULT_REGION: "us-west-2", AWS_PROFILE: "another" },
  ...{
    ACL_ID: "acl-ffffffff",
    WAF_IP_SETS: "other",
    ACCESS_TOKEN: "a".repeat(40),
    MODE: "monitor",
  },
  ...{
    OPERATOR_TOKEN: "b".repeat(40),
    NEVER_BLOCK: "198.51.100.0/24",
    ALARM_EMAIL: "x@example.org",
  },
  ...{ EXPIRY_TIME: "7", RULE_LIMIT: "3", RESERVED_CONCURRENCY: "off", LOG_LEVEL: "DEBUG" },
  ...{ CROWDSEC_URL: "http://other", CROWDSEC_KEY: "c".repeat(40) },
  ...{ STAGE: "another", STAGE_NAME: "another", SCORE_HALF_LIFE: "9", QUEUE_SHARDS: "7" },
};

let workshop: Workshop;
let bare: Templates;
let full: Templates;
let inShell: Templates;
let firstTry: Templates;
beforeAll(async () => {
  workshop = openWorkshop();
  workshop.stage(
    "full",
    "example",
    ["wafIpSets: []", "wafIpSets: [web-app]"],
    ["tags: {}", "tags: { team: security }"],
    [/# (permissionsBoundary: ).*/, `$1${BOUNDARY}`],
    [/# (kmsKey: ).*/, `$1${KEY}`],
    ["tracing: off", "tracing: on"],
    ["endpoint: 50", "endpoint: off"],
    ["worker: 10", "worker: off"],
    ["enforcer: 1", "enforcer: off"],
    ["lanes: 10", "lanes: 5"],
    ["onRemove: keep", "onRemove: delete"],
    ["deletionProtection: off", "deletionProtection: on"],
    ["logRetention: 90", "logRetention: 30"],
    [/# (flowLogs: ).*/, "$1{ logGroup: /vpc/flow-logs }"],
    [/# (crowdsec: ).*/, `$1{ url: "${LAPI}", origins: [CAPI], vpc: ${JSON.stringify(VPC)} }`],
  );
  bare = await workshop.package("example");
  inShell = await workshop.package("example", SHELL);
  full = await workshop.package("full");
  firstTry = await workshop.package("first-try", SHELL);
}, 400_000);
afterAll(() => workshop.remove());

type Properties = Record<string, unknown>;
const resources = (templates: Templates, type: string) =>
  Object.values(templates).flatMap((template) =>
    Object.values(template.Resources).filter(({ Type }) => Type === type),
  );
const properties = (templates: Templates, type: string): Properties[] =>
  resources(templates, type).map(({ Properties = {} }) => Properties);
const fn = (templates: Templates, name: string): Properties => {
  const all = properties(templates, "AWS::Lambda::Function");
  return all.find(({ FunctionName }) => String(FunctionName).endsWith(`-${name}`)) ?? {};
};
const NONE = { Ref: "AWS::NoValue" };

describe("packaging", () => {
  test("reads the stage's file alone: no variable of the shell changes a template", () => {
    // An artefact's key in the bucket holds the moment of packaging.
    const withoutTime = (templates: Templates) =>
      JSON.parse(JSON.stringify(templates).replace(/\d{13}-[\d-]{10}T[\d:.]+Z/g, "…"));
    expect(withoutTime(inShell)).toEqual(withoutTime(bare));
  });

  test("of a stage without a file fails in a sentence", async () => {
    await expect(workshop.package("prod")).rejects.toThrow(
      "There is no infra/stages/prod.yml: copy infra/stages/example.yml to it and fill it in.",
    );
  }, 60_000);

  test.each(["Prod", "../prod", "a-name-that-is-too-long"])("knows no stage %s", (stage) => {
    expect(() => workshop.read(stage)).toThrow(`"${stage}" is no name of a stage`);
  });

  test.each<[string, [string | RegExp, string], string]>([
    ["region", [/region: eu-west-1/, "region: here"], "region: must be a region"],
    ["region", [/^region:.*$/m, ""], 'Invalid key: Expected "region"'],
    ["mode", ["mode: monitor", "mode: drop"], "mode: Invalid type"],
    [
      "concurrency",
      ["worker: 10", "worker: 9"],
      "worker must be off, or at least as many as lanes",
    ],
    ["targets", [ACL, ""], "targets must name at least one"],
    ["targets", [ACL, "acl-1"], "targets.networkAcls.0: must be an id"],
    ["LAPI", [/# (crowdsec: ).*/, "$1{ url: 10.0.0.7 }"], "crowdsec.url: must be an address"],
    [
      "LAPI",
      [/# (crowdsec: ).*/, '$1{ url: "http://user:secret@10.0.0.7" }'],
      "crowdsec.url: must be an address",
    ],
    ["a setting", ["holdTime:", "holdTme:"], "holdTme"],
  ])("refuses a file whose %s is not right", (_what, change, sentence) => {
    workshop.stage("wrong", "example", change);
    expect(() => workshop.read("wrong")).toThrow(sentence);
    expect(() => workshop.read("wrong")).toThrow("infra/stages/wrong.yml: ");
  });

  test("gives every function settings that it takes", () => {
    const counts = [
      [bare, 3],
      [full, 5],
      [firstTry, 3],
    ] as const;
    for (const [templates, count] of counts) {
      const { functions } = readModel(Object.values(templates), { region: "eu-west-1" });
      for (const { artefact, environment } of functions) {
        const schema = { blacklist, worker, enforcer, crowdsec, "flow-logs": flowLogs }[artefact];
        if (!schema) throw new Error(`No schema for ${artefact}`);
        expect(readSettings(schema, environment)).toBeDefined();
      }
      expect(functions).toHaveLength(count);
    }
  });
});

describe("a first try", () => {
  const environment = (name: string) =>
    (fn(firstTry, name).Environment as { Variables: Properties }).Variables;

  test("takes the talk's four parameters from the shell", () => {
    expect(environment("enforcer")).toMatchObject({ ACL_ID: "acl-ffffffff", RULE_LIMIT: "3" });
    expect(environment("blacklist")).toMatchObject({
      EXPIRY_TIME: "7",
      LIST_NAME: expect.any(String),
    });
    const names = properties(firstTry, "AWS::SSM::Parameter").map(({ Name }) => Name);
    expect(names).toEqual(
      ["callers", "tokens", "never-block"].map((name) => `/portcullis/first-try/${name}`),
    );
  });

  test("and nothing but them", () => {
    expect(environment("enforcer")).toMatchObject({ MODE: "enforce", WAF_IP_SETS: "" });
    expect(JSON.stringify(firstTry)).not.toMatch(/us-west-2|198\.51\.100|x@example\.org/);
  });

  test("puts no token into any template", () => {
    expect(JSON.stringify(firstTry)).not.toMatch(/a{40}|b{40}/);
  });

  test.each(["ACL_ID", "ACCESS_TOKEN"])(
    "fails without %s, and so empties nothing",
    async (name) => {
      // Each service reads the same file; one that fails is as good as five.
      const failure = workshop.package("first-try", { ...SHELL, [name]: "" }, "infra");
      await expect(failure).rejects.toThrow(`A first try needs ${name} each time it is deployed.`);
    },
    60_000,
  );
});

test("tokens, callers and never-block list are nobody's but the operators'", () => {
  expect(properties(bare, "AWS::SSM::Parameter")).toEqual([]);
  expect(fn(bare, "blacklist").Environment).toMatchObject({
    Variables: {
      TOKENS_PARAMETER: "/portcullis/example/tokens",
      CALLERS_PARAMETER: "/portcullis/example/callers",
      NEVER_BLOCK_PARAMETER: "/portcullis/example/never-block",
    },
  });
});

describe("two stages in one account and region", () => {
  const NAMES =
    /^(TableName|QueueName|FunctionName|RoleName|TopicName|AlarmName|DashboardName|LogGroupName)$/;

  test("share no name", () => {
    const named = Object.values(bare).flatMap(({ Resources }) =>
      Object.values(Resources).flatMap(({ Type, Properties = {} }) =>
        // These name what they belong to, not themselves.
        /Permission|EventInvokeConfig|EventSourceMapping/.test(Type)
          ? []
          : Object.entries(Properties).filter(([key]) => NAMES.test(key)),
      ),
    );
    expect(named.length).toBeGreaterThan(40);
    for (const [, name] of named) expect(JSON.stringify(name)).toContain("example");
  });

  test("export nothing under the same name", () => {
    const outputs = Object.values(bare).flatMap(({ Outputs = {} }) => Object.values(Outputs));
    const exported = outputs.flatMap(({ Export }) => Export?.Name ?? []);
    expect(exported.length).toBeGreaterThan(8);
    for (const name of exported) expect(name).toContain("example");
  });

  test("mix no metric: each of ours has the stage as a dimension", () => {
    const ours = properties(bare, "AWS::CloudWatch::Alarm").filter(
      ({ Namespace }) => Namespace === "Portcullis",
    );
    expect(ours.length).toBeGreaterThan(10);
    for (const { Dimensions } of ours)
      expect(Dimensions).toContainEqual({ Name: "stage", Value: "example" });
    expect(fn(bare, "enforcer").Environment).toMatchObject({
      Variables: { STAGE_NAME: "example" },
    });
  });
});

describe("the table", () => {
  const [kept, deleted] = [() => bare, () => full].map(
    (of) => () => resources(of(), "AWS::DynamoDB::Table")[0] as unknown as Properties,
  );

  test("leaves with a first deployment that rolls back, and stays when the stage is removed", () => {
    expect(kept?.()).toMatchObject({
      DeletionPolicy: "RetainExceptOnCreate",
      UpdateReplacePolicy: "Retain",
      // With it, CloudFormation could not take back what it has just made.
      Properties: { DeletionProtectionEnabled: false },
    });
  });

  test("goes where the file says so, and is protected where it says so", () => {
    expect(deleted?.()).toMatchObject({
      DeletionPolicy: "Delete",
      Properties: { DeletionProtectionEnabled: true },
    });
  });
});

describe("concurrency", () => {
  const reserved = (templates: Templates) =>
    ["blacklist", "worker", "enforcer"].map(
      (name) => fn(templates, name).ReservedConcurrentExecutions,
    );

  test("is capped for the endpoint, guaranteed for the worker, one for the enforcer", () => {
    expect(reserved(bare)).toEqual([50, 10, 1]);
  });

  test("is left alone where the account has none to give", () => {
    expect(reserved(full)).toEqual([NONE, NONE, NONE]);
    expect(reserved(firstTry)).toEqual([NONE, NONE, NONE]);
  });

  test.each([
    ["as many lanes as the worker has", () => bare, 10],
    ["as many lanes as the file says", () => full, 5],
  ])("%s", (_what, templates, MaximumConcurrency) => {
    const mappings = properties(templates(), "AWS::Lambda::EventSourceMapping");
    const scaled = mappings.filter(({ ScalingConfig }) => ScalingConfig);
    expect(scaled).toHaveLength(1);
    expect(scaled[0]).toMatchObject({ ScalingConfig: { MaximumConcurrency } });
  });
});

test("the gateway throttles before a function starts", () => {
  expect(properties(bare, "AWS::ApiGatewayV2::Stage")).toMatchObject([
    { DefaultRouteSettings: { ThrottlingBurstLimit: 1_000, ThrottlingRateLimit: 500 } },
  ]);
});

test("tags, permissions boundary, key, retention and tracing are as the file says", () => {
  expect(fn(full, "worker")).toMatchObject({
    Tags: [{ Key: "team", Value: "security" }],
    KmsKeyArn: KEY,
    TracingConfig: { Mode: "Active" },
  });
  expect(fn(bare, "worker")).not.toHaveProperty("TracingConfig");
  for (const role of properties(full, "AWS::IAM::Role"))
    expect(role.PermissionsBoundary).toBe(BOUNDARY);
  for (const queue of properties(full, "AWS::SQS::Queue"))
    expect(queue).toMatchObject({ KmsMasterKeyId: KEY, SqsManagedSseEnabled: NONE });
  for (const queue of properties(bare, "AWS::SQS::Queue"))
    expect(queue).toMatchObject({ KmsMasterKeyId: NONE, SqsManagedSseEnabled: true });
  expect(properties(full, "AWS::DynamoDB::Table")).toMatchObject([
    { SSESpecification: { SSEEnabled: true, SSEType: "KMS", KMSMasterKeyId: KEY } },
  ]);
  const logs = properties(full, "AWS::Logs::LogGroup");
  expect(logs.map(({ RetentionInDays }) => RetentionInDays)).toEqual([30, 30, 30, 30, 30]);
});

describe("the count of knocks", () => {
  const actionsOf = (templates: Templates) =>
    Object.values(templates["services/flow-logs"]?.Resources ?? {}).flatMap(
      ({ Type, Properties }) =>
        Type === "AWS::IAM::Role"
          ? (
              Properties as {
                Policies: { PolicyDocument: { Statement: { Action: string[] }[] } }[];
              }
            ).Policies.flatMap(({ PolicyDocument }) =>
              PolicyDocument.Statement.flatMap(({ Action }) => Action),
            )
          : [],
    );

  test("is there only where the file names a log group", () => {
    const { Resources = {} } = bare["services/flow-logs"] ?? {};
    expect(Object.values(Resources).map(({ Type }) => Type)).toEqual([
      "AWS::S3::Bucket",
      "AWS::S3::BucketPolicy",
    ]);
  });

  test("hears of what was rejected alone, and can queue nothing unless it is to extend", () => {
    expect(properties(full, "AWS::Logs::SubscriptionFilter")).toMatchObject([
      {
        LogGroupName: "/vpc/flow-logs",
        FilterPattern: expect.stringContaining('action = "REJECT"'),
      },
    ]);
    expect(actionsOf(full)).toContain("dynamodb:GetItem");
    expect(actionsOf(full)).not.toContain("sqs:SendMessage");
  });
});

describe("CrowdSec's pull", () => {
  test("is there only where the file names a LAPI: else no function, no role, no alarm", () => {
    const { Resources = {} } = bare["services/crowdsec"] ?? {};
    expect(Object.values(Resources).map(({ Type }) => Type)).toEqual([
      "AWS::S3::Bucket", // each service has one
      "AWS::S3::BucketPolicy",
    ]);
    const alarms = properties(bare, "AWS::CloudWatch::Alarm").map(({ AlarmName }) => AlarmName);
    expect(alarms).not.toContainEqual(expect.stringMatching(/pull|crowdsec/i));
  });

  test("asks where the file says, from where it says", () => {
    expect(fn(full, "crowdsec")).toMatchObject({
      VpcConfig: { SubnetIds: VPC.subnetIds, SecurityGroupIds: VPC.securityGroupIds },
      Environment: {
        Variables: {
          CROWDSEC_URL: LAPI,
          CROWDSEC_ORIGINS: "CAPI",
          CROWDSEC_KEY_PARAMETER: "/portcullis/full/crowdsec-key",
        },
      },
    });
  });

  test("is outside of every VPC otherwise, and heeds what was detected or decided here", async () => {
    workshop.stage("outside", "example", [/# (crowdsec: ).*/, `$1{ url: "${LAPI}" }`]);
    const outside = await workshop.package("outside");
    expect(fn(outside, "crowdsec")).not.toHaveProperty("VpcConfig");
    expect(fn(outside, "crowdsec").Environment).toMatchObject({
      Variables: { CROWDSEC_ORIGINS: "crowdsec,cscli" },
    });
    for (const { ManagedPolicyArns } of properties(outside, "AWS::IAM::Role"))
      expect(ManagedPolicyArns).toBeUndefined();
  }, 100_000);
});

describe("every alarm", () => {
  const alarms = () => properties(full, "AWS::CloudWatch::Alarm");

  test("says when it is over, too", () => {
    for (const { AlarmActions, OKActions } of alarms()) {
      expect(AlarmActions).toEqual([{ Ref: "Alarms" }]);
      expect(OKActions).toEqual(AlarmActions);
    }
  });

  test("links to a runbook that is there", () => {
    for (const { AlarmDescription } of alarms()) {
      const [, page = ""] =
        / Runbook: (docs\/runbooks\/[a-z-]+\.md)$/.exec(String(AlarmDescription)) ?? [];
      expect([page, existsSync(join(PROJECT_ROOT, page))]).toEqual([expect.any(String), true]);
    }
  });

  test("is calm on a first day, when there is no data yet", () => {
    for (const alarm of alarms()) expect(alarm.TreatMissingData).not.toBe("breaching");
  });

  test("but the enforcer's silence is told, once it has been heard", () => {
    const silent = alarms().filter(({ InsufficientDataActions }) => InsufficientDataActions);
    expect(silent).toMatchObject([{ MetricName: "Converges", TreatMissingData: "missing" }]);
  });

  test.each([
    ["5xx", "AWS/ApiGateway", 1],
    ["4xx", "AWS/ApiGateway", 1],
    ["Errors", "AWS/Lambda", 5],
    ["Throttles", "AWS/Lambda", 2],
    ["OverBudget", "Portcullis", 1],
    ["IteratorAge", "AWS/Lambda", 1],
    ["ApproximateAgeOfOldestMessage", "AWS/SQS", 3],
    ["ApproximateNumberOfMessagesVisible", "AWS/SQS", 2],
  ])("on every hop: %s of %s", (MetricName, Namespace, count) => {
    const found = alarms().filter(
      (alarm) => alarm.MetricName === MetricName && alarm.Namespace === Namespace,
    );
    expect(found).toHaveLength(count);
  });

  test.each([
    ["Unauthorized", 100],
    ["Forbidden", 10],
    ["OverBudget", 100],
    ["MalformedParameter", 0],
    ["ParameterUnreadable", 0],
  ])("on the way in goes off after more than so many: %s, %d", (MetricName, Threshold) => {
    expect(alarms().filter((alarm) => alarm.MetricName === MetricName)).toMatchObject([
      { Threshold, ComparisonOperator: "GreaterThanThreshold", Statistic: "Sum" },
    ]);
  });

  test.each([
    "TimeToEntry",
    "TargetMissing",
    "TargetFailed",
    "Unassociated",
    "Shadowed",
    "Waiting",
  ])("%s is each target's own", (MetricName) => {
    const found = alarms().filter((alarm) => alarm.MetricName === MetricName);
    const targets = found.map(({ Dimensions }) =>
      (Dimensions as Properties[]).find(({ Name }) => Name === "target"),
    );
    expect(targets.map((dimension) => dimension?.Value)).toEqual([ACL, "web-app"]);
  });

  test("on the time from acceptance to entry looks at its p99", () => {
    const [alarm] = alarms().filter(({ MetricName }) => MetricName === "TimeToEntry");
    expect(alarm).toMatchObject({ ExtendedStatistic: "p99", Threshold: 30_000 });
  });

  test("reaches those whom the file names", () => {
    expect(properties(bare, "AWS::SNS::Subscription")).toMatchObject([
      { Protocol: "email", Endpoint: "security@example.org" },
    ]);
  });
});

test("the dashboard shows every hop, in the stage's region", () => {
  const [dashboard] = properties(full, "AWS::CloudWatch::Dashboard");
  const body = dashboard?.DashboardBody as { "Fn::Sub": [string, object] } | undefined;
  const [text = "", variables = {}] = body?.["Fn::Sub"] ?? [];
  const { widgets } = JSON.parse(text) as {
    widgets: { properties: { title: string; region: string; metrics: string[][] } }[];
  };
  expect(variables).toEqual({ ApiId: { "Fn::ImportValue": "portcullis-full-ApiId" } });
  for (const { properties: widget } of widgets) {
    expect(widget.region).toBe("eu-west-1");
    expect(widget.metrics.length).toBeGreaterThan(0);
  }
  expect(widgets.flatMap(({ properties: { metrics } }) => metrics.map(([, name]) => name))).toEqual(
    expect.arrayContaining([
      ...["Count", "Enforced", "Waiting", "TimeToEntry", "ChangesApplied", "ChangesLeft"],
      ...["ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage", "IteratorAge"],
      ...["Invocations", "ConsumedWriteCapacityUnits", "IncomingBytes"],
    ]),
  );
});
