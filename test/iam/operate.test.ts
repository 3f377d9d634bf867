import { execFile } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { CloudFormationClient, CreateStackCommand } from "@aws-sdk/client-cloudformation";
import { CloudWatchClient, PutMetricAlarmCommand } from "@aws-sdk/client-cloudwatch";
import {
  DescribeStreamCommand,
  DynamoDBStreamsClient,
  GetRecordsCommand,
  GetShardIteratorCommand,
  ListStreamsCommand,
} from "@aws-sdk/client-dynamodb-streams";
import { CreateManagedPrefixListCommand } from "@aws-sdk/client-ec2";
import { GetQueueUrlCommand, SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { isWildcardOnlyAction } from "@cloud-copilot/iam-simulate";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { writeJson } from "../../infra/local/files.ts";
import { PROJECT_ROOT } from "../../infra/local/package.ts";
import { LOCAL_ACCOUNT } from "../../infra/local/template.ts";
import * as support from "../../infra/local/test/support/moto.ts";
import { eventually, startTestCloud, type TestCloud } from "../e2e/cloud.ts";
import { type Recorded, requestsOf } from "./operatorRequests.ts";
import type { Statement } from "./policies.ts";
import { reductions } from "./reductions.ts";
import type { Request } from "./requests.ts";
import { isAllowed } from "./simulate.ts";

// Every AWS call that `portcullis` makes against a deployed stage, against the policy that is shipped for its
// operators: each call is allowed, each thing that is allowed is called, and what belongs to others is denied.
// The stage is the local cloud's, reached as a deployed one is; moto has its stack and its alarms.

const CLI = fileURLToPath(new URL("../../services/cli/portcullis.ts", import.meta.url));
const RECORDER = fileURLToPath(new URL("../support/record.cjs", import.meta.url));
const POLICY = new URL("../../docs/policies/operate.json", import.meta.url);
const CALLS = join(PROJECT_ROOT, ".local/operate-calls.jsonl");
const STAGE = "local";
const WAF = "edge";
const credentials = { accessKeyId: "local", secretAccessKey: "local" };

const statements: readonly Statement[] = JSON.parse(
  readFileSync(POLICY, "utf8").replaceAll("STAGE", STAGE),
).Statement;

(support.hasMoto ? describe : describe.skip)("the policy of an operator's shell", () => {
  let moto: support.Server;
  let cloud: TestCloud;
  let moving: Awaited<ReturnType<typeof moveTasksBefore>>;
  let requests: readonly Request[];

  beforeAll(async () => {
    rmSync(CALLS, { force: true });
    moto = await support.startMoto();
    cloud = await startTestCloud({ WAF_IP_SETS: WAF });
    moving = await moveTasksBefore(cloud.stack.endpoints.sqs);
    await provide();
    await operate();
    const place = { region: cloud.stack.region, accountId: LOCAL_ACCOUNT };
    const all = recorded().flatMap((call) => requestsOf(call, place));
    requests = [...new Map(all.map((one) => [JSON.stringify(one), one])).values()];
  }, 300_000);
  afterAll(async () => {
    moving?.close();
    await cloud?.stop();
    await moto?.stop();
  });

  const recorded = (): Recorded[] =>
    existsSync(CALLS)
      ? readFileSync(CALLS, "utf8")
          .trim()
          .split("\n")
          .map((line) => JSON.parse(line))
      : [];

  /** What a deployment has beside what the local cloud makes: a stack that names the endpoint, and alarms. */
  async function provide(): Promise<void> {
    const options = { endpoint: moto.url, region: cloud.stack.region, credentials };
    const cloudFormation = new CloudFormationClient(options);
    await cloudFormation.send(
      new CreateStackCommand({
        StackName: `portcullis-blacklist-${STAGE}`,
        TemplateBody: JSON.stringify({
          Resources: { Topic: { Type: "AWS::SNS::Topic" } },
          Outputs: { Endpoint: { Value: cloud.stack.api } },
        }),
      }),
    );
    const cloudWatch = new CloudWatchClient(options);
    await cloudWatch.send(
      new PutMetricAlarmCommand({
        ...{ AlarmName: `portcullis-${STAGE}-worker-errors`, MetricName: "Errors" },
        ...{ Namespace: "AWS/Lambda", Statistic: "Sum", Period: 60, EvaluationPeriods: 1 },
        ...{ Threshold: 0, ComparisonOperator: "GreaterThanThreshold" },
      }),
    );
    cloudFormation.destroy();
    cloudWatch.destroy();
  }

  type Outcome = { readonly code: number; readonly out: string; readonly err: string };

  /** @param hasBegun when to stop it as a person does */
  function run(args: readonly string[], hasBegun?: Promise<void>): Promise<Outcome> {
    const { dynamodb, ec2, ssm, wafv2, lambda } = cloud.stack.endpoints;
    const env = {
      ...process.env,
      NODE_OPTIONS: `--require ${RECORDER}`,
      AWS_CALLS: CALLS,
      AWS_ACCESS_KEY_ID: "local",
      AWS_SECRET_ACCESS_KEY: "local",
      AWS_ENDPOINT_URL: moto.url,
      AWS_ENDPOINT_URL_DYNAMODB: dynamodb,
      AWS_ENDPOINT_URL_DYNAMODB_STREAMS: dynamodb,
      AWS_ENDPOINT_URL_EC2: ec2,
      AWS_ENDPOINT_URL_SSM: ssm,
      AWS_ENDPOINT_URL_WAFV2: wafv2,
      AWS_ENDPOINT_URL_LAMBDA: lambda,
      AWS_ENDPOINT_URL_SQS: moving.url,
    };
    return new Promise((done) => {
      const all = [CLI, ...args, "--stage", STAGE, "--json"];
      const child = execFile(process.execPath, all, { env, timeout: 120_000 }, (_error, out, err) =>
        done({ code: child.exitCode ?? 1, out, err }),
      );
      hasBegun?.then(() => child.kill("SIGINT"));
    });
  }

  async function done(...args: string[]): Promise<unknown> {
    const { code, out, err } = await run(args);
    if (code !== 0) throw new Error(`portcullis ${args.join(" ")}: ${err}`);
    return JSON.parse(out);
  }

  /** All that an operator does, with every call that it takes. */
  async function operate(): Promise<void> {
    await done("token", "new", "zeek", "--signing");
    await done("token", "list");
    await done("token", "rotate", "zeek");
    await done("token", "revoke", "zeek");

    const { PrefixList } = await cloud.ec2.send(
      new CreateManagedPrefixListCommand({
        ...{ PrefixListName: "partners", AddressFamily: "IPv4", MaxEntries: 1 },
        Entries: [{ Cidr: "203.0.113.200/29" }],
      }),
    );
    const entries = ["203.0.113.64/28", String(PrefixList?.PrefixListId)];
    await done("never-block", "add", ...entries);
    await done("never-block", "list");
    await done("never-block", "remove", ...entries);

    await done("mode");
    await done("mode", "monitor");
    await done("mode", "default");

    // The local Lambda knows no event source mappings, and there are no alarms; all hops must be there.
    const smoke = await run(["smoke"]);
    const { hops } = JSON.parse(smoke.out) as { hops: { what: string; ms?: number }[] };
    expect(hops.filter(({ ms }) => ms === undefined)).toEqual([]);
    expect(smoke.err).toContain("3 failures: event sources of the worker; event sources of the");

    await fail();
    expect(await done("stream-failures", "list")).toMatchObject({ total: 1 });
    expect(await done("stream-failures", "replay")).toMatchObject({ replayed: 1, left: 0 });
    const { items } = (await done("dead-letters", "list")) as { items: { id: string }[] };
    expect(items).toHaveLength(1);
    await done("dead-letters", "replay", "--id", String(items[0]?.id));
    const stopped = await run(["dead-letters", "replay"], moving.begun);
    expect(stopped.code).toBe(130);

    await done("drain");
  }

  /** A message that can never succeed, and a record that the enforcer could not take. */
  async function fail(): Promise<void> {
    const { endpoints, region, queueUrl, tableName } = cloud.stack;
    const options = { region, credentials };
    const sqs = new SQSClient({ ...options, endpoint: endpoints.sqs });
    await sqs.send(
      new SendMessageCommand({
        ...{ QueueUrl: queueUrl, MessageBody: "no message" },
        ...{ MessageGroupId: "strangers", MessageDeduplicationId: "strangers" },
      }),
    );
    const streams = new DynamoDBStreamsClient({ ...options, endpoint: endpoints.dynamodb });
    const { Streams } = await streams.send(new ListStreamsCommand({ TableName: tableName }));
    const StreamArn = String(Streams?.[0]?.StreamArn);
    const { StreamDescription } = await streams.send(new DescribeStreamCommand({ StreamArn }));
    const ShardId = String(StreamDescription?.Shards?.[0]?.ShardId);
    const { ShardIterator } = await streams.send(
      new GetShardIteratorCommand({ StreamArn, ShardId, ShardIteratorType: "TRIM_HORIZON" }),
    );
    const { Records } = await streams.send(new GetRecordsCommand({ ShardIterator }));
    const number = Records?.[0]?.dynamodb?.SequenceNumber;
    const { QueueUrl } = await sqs.send(
      new GetQueueUrlCommand({ QueueName: `portcullis-${STAGE}-stream-failures` }),
    );
    await sqs.send(
      new SendMessageCommand({
        QueueUrl,
        MessageBody: JSON.stringify({
          requestContext: { condition: "RetryAttemptsExhausted", approximateInvokeCount: 11 },
          timestamp: new Date().toISOString(),
          DDBStreamBatchInfo: {
            ...{ shardId: ShardId, streamArn: StreamArn, batchSize: 1 },
            ...{ startSequenceNumber: number, endSequenceNumber: number },
          },
        }),
      }),
    );
    streams.destroy();
    sqs.destroy();
    await eventually("the message is dead-lettered", 30, async () => {
      const { total } = (await done("dead-letters", "list")) as { total: number };
      return total === 1;
    });
  }

  test("allows every call that portcullis makes", async () => {
    const refused = [];
    for (const one of requests) if (!(await isAllowed(one, statements))) refused.push(one);
    expect(refused).toEqual([]);
    expect(requests.length).toBeGreaterThan(30);
  });

  test("allows nothing more: without any action, resource or partition, a call is denied", async () => {
    const unused: string[] = [];
    const all = reductions(statements);
    for (const { what, statements: left } of all) {
      const answers = await Promise.all(requests.map((one) => isAllowed(one, left)));
      if (answers.every((is) => is)) unused.push(what);
    }
    const calls = recorded().length;
    writeJson(join(PROJECT_ROOT, ".local/operate.json"), {
      ...{ calls, questions: requests.length, takenOut: all.length, unused },
    });
    expect(unused).toEqual([]);
  }, 180_000);

  test("names everything only where AWS knows no resources", async () => {
    const everywhere = statements.filter(({ Resource }) => Resource.includes("*"));
    const actions = everywhere.flatMap(({ Action }) => Action);
    const scoped = [];
    for (const action of actions) {
      const [service = "", name = ""] = action.split(":");
      if (!(await isWildcardOnlyAction(service, name))) scoped.push(action);
    }
    expect(scoped).toEqual([]);
  });

  test("leaves alone what is another stage's, the product's own or anybody else's", async () => {
    const allowed = [];
    for (const one of foreign(cloud.stack)) {
      if (await isAllowed(one, statements)) allowed.push(one);
    }
    expect(allowed).toEqual([]);
  });
});

function foreign({ region, tableName }: TestCloud["stack"]): Request[] {
  const arn = (of: string, rest: string) => `arn:aws:${of}:${region}:${LOCAL_ACCOUNT}:${rest}`;
  const on = (action: string, resource: string): Request => ({ action, resource, context: {} });
  const inTable = (action: string, partition: string, table = tableName): Request => ({
    action: `dynamodb:${action}`,
    resource: arn("dynamodb", `table/${table}`),
    context: { "dynamodb:LeadingKeys": [partition] },
  });
  const list = `portcullis-${STAGE}`;
  const queue = (name: string) => arn("sqs", name);
  const fn = (name: string) => arn("lambda", `function:${name}`);
  return [
    // Blocks, what is remembered of them, and what is ours in the targets are the functions' to write.
    ...["PutItem", "UpdateItem", "DeleteItem", "Query"].map((action) => inTable(action, list)),
    inTable("PutItem", `${list}#targets`),
    inTable("DeleteItem", `${list}#targets`),
    inTable("PutItem", `${list}#memory`),
    inTable("UpdateItem", `${list}#budgets`),
    inTable("UpdateItem", `${list}#orders`),
    on("dynamodb:Scan", arn("dynamodb", `table/${tableName}`)),
    on("dynamodb:DeleteTable", arn("dynamodb", `table/${tableName}`)),
    on("dynamodb:UpdateTable", arn("dynamodb", `table/${tableName}`)),
    on("dynamodb:UpdateTimeToLive", arn("dynamodb", `table/${tableName}`)),
    // Another stage's.
    inTable("PutItem", "portcullis-prod#tokens"),
    inTable("PutItem", "portcullis-prod#tokens", "portcullis-prod-blacklist_ip"),
    on("ssm:GetParameter", arn("ssm", "parameter/portcullis/prod/tokens")),
    on("sqs:ReceiveMessage", queue("portcullis-prod-dead.fifo")),
    on("sqs:SendMessage", queue("portcullis-prod.fifo")),
    on("lambda:InvokeFunction", fn("portcullis-enforcer-prod-enforcer")),
    on("cloudformation:DescribeStacks", arn("cloudformation", "stack/portcullis-blacklist-prod/0")),
    // Queues that nobody but the functions reads or fills.
    on("sqs:ReceiveMessage", queue(`${list}.fifo`)),
    on("sqs:DeleteMessage", queue(`${list}.fifo`)),
    on("sqs:PurgeQueue", queue(`${list}-dead.fifo`)),
    on("sqs:SendMessage", queue(`${list}-stream-failures`)),
    // The functions and their settings are the deployer's, the targets the enforcer's.
    on("lambda:InvokeFunction", fn(`portcullis-worker-${STAGE}-worker`)),
    on("lambda:UpdateFunctionConfiguration", fn(`portcullis-enforcer-${STAGE}-enforcer`)),
    on("lambda:UpdateFunctionCode", fn(`portcullis-enforcer-${STAGE}-enforcer`)),
    on("ssm:PutParameter", arn("ssm", `parameter/portcullis/${STAGE}/tokens`)),
    on("cloudwatch:DeleteAlarms", arn("cloudwatch", `alarm:portcullis-${STAGE}-worker-errors`)),
    on("ec2:CreateNetworkAclEntry", arn("ec2", "network-acl/acl-0a1b2c3d4e5f60718")),
    on("ec2:DeleteNetworkAclEntry", arn("ec2", "network-acl/acl-0a1b2c3d4e5f60718")),
    on("wafv2:UpdateIPSet", arn("wafv2", `regional/ipset/${WAF}-v4/0`)),
    on("iam:PassRole", `arn:aws:iam::${LOCAL_ACCOUNT}:role/another`),
  ];
}

/**
 * SQS before the engine, which knows no move tasks: they are answered here, as SQS answers them, by a task
 * that goes on until it is cancelled.
 */
async function moveTasksBefore(engine: string) {
  let begin = () => {};
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const TaskHandle = `arn:aws:sqs:us-east-1:${LOCAL_ACCOUNT}:portcullis-${STAGE}-dead.fifo`;
  const answers: Readonly<Record<string, () => object>> = {
    StartMessageMoveTask: () => ({ TaskHandle }),
    ListMessageMoveTasks() {
      begin();
      return { Results: [{ Status: "RUNNING", ApproximateNumberOfMessagesMoved: 0, TaskHandle }] };
    },
    CancelMessageMoveTask: () => ({ ApproximateNumberOfMessagesMoved: 0 }),
  };
  const server: Server = createServer(async (incoming, response) => {
    const [, action = ""] = String(incoming.headers["x-amz-target"]).split(".");
    const body = Buffer.concat(await incoming.toArray());
    const type = { "content-type": "application/x-amz-json-1.0" };
    const own = answers[action];
    if (own) {
      response.writeHead(200, type).end(JSON.stringify(own()));
      return;
    }
    const target = { "x-amz-target": `AmazonSQS.${action}` };
    const reply = await fetch(engine, { method: "POST", headers: { ...type, ...target }, body });
    response.writeHead(reply.status, type).end(await reply.text());
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    begun,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
