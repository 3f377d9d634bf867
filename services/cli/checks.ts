import { DescribeAlarmsCommand } from "@aws-sdk/client-cloudwatch";
import {
  DescribeContinuousBackupsCommand,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
} from "@aws-sdk/client-dynamodb";
import { ListEventSourceMappingsCommand } from "@aws-sdk/client-lambda";
import * as v from "valibot";
import { createTargetStates } from "../../shared/aws/table/targetStates.ts";
import { createNetworkAcl } from "../../shared/targets/networkAcl/ec2.ts";
import { aclRecord } from "../../shared/targets/networkAcl/record.ts";
import type { Deployment, Stage } from "./stage.ts";

/** The result of checking one thing. */
export type Check = {
  readonly what: string;
  readonly result: "ok" | "failed" | "skipped";
  readonly detail: string;
};

type Verdict = Pick<Check, "result" | "detail">;
const ok = (detail: string): Verdict => ({ result: "ok", detail });
const failed = (detail: string): Verdict => ({ result: "failed", detail });
const verdict = (isOk: boolean, detail: string): Verdict => (isOk ? ok(detail) : failed(detail));

/** How AWS-compatible endpoints say that they do not know a call. */
const UNSUPPORTED = /UnknownOperation|InvalidAction|NotImplemented|UnsupportedOperation/;

/** Checks whatever blocks need to come and go. Skips calls that an AWS-compatible endpoint does not know. */
export async function runChecks(stage: Stage, deployment: Deployment): Promise<Check[]> {
  const check = async (what: string, run: () => Promise<Verdict>): Promise<Check> => {
    try {
      return { what, ...(await run()) };
    } catch (error) {
      return { what, ...verdictOn(error as Error, stage) };
    }
  };
  const { targets } = deployment;
  return Promise.all([
    ...targets.map(({ id, kind }) =>
      check(`target ${id}`, () => stateOf(stage, deployment, id, kind)),
    ),
    ...targets
      .filter(({ kind }) => kind === "networkAcl")
      .flatMap(({ id }) => [
        check(`subnets of ${id}`, () => subnetsOf(stage, id)),
        check(`rules of ${id}`, () => rulesOf(stage, deployment, id)),
        check(`quota of ${id}`, () => quotaOf(stage, deployment, id)),
      ]),
    check("time to live of the table", () => timeToLive(stage, deployment)),
    check("stream of the table", () => streamOf(stage, deployment)),
    check("recovery of the table", () => recoveryOf(stage, deployment)),
    check("event sources of the worker", () => eventSourcesOf(stage, stage.worker)),
    check("event sources of the enforcer", () => eventSourcesOf(stage, stage.enforcer)),
    check("alarms", () => alarmsOf(stage)),
  ]);
}

function verdictOn(
  error: Error & { readonly $metadata?: { readonly httpStatusCode?: number } },
  { isLocal }: Pick<Stage, "isLocal">,
): Verdict {
  const isUnknown = isLocal && error.$metadata?.httpStatusCode === 404;
  if (isUnknown || UNSUPPORTED.test(error.name)) {
    return { result: "skipped", detail: "the endpoint does not know the call" };
  }
  return failed(error.message || error.name);
}

async function stateOf(
  { dynamo }: Stage,
  deployment: Deployment,
  id: string,
  kind: Deployment["targets"][number]["kind"],
): Promise<Verdict> {
  const { problem, convergedAt, enforced, waiting } = await createTargetStates(
    dynamo,
    deployment,
  ).read(id, kind);
  if (convergedAt === 0) return failed("the enforcer has never looked at it");
  const seconds = Math.round((Date.now() - convergedAt) / 1000);
  const detail = `${enforced} enforced, ${waiting} waiting, recorded ${seconds} s ago`;
  return verdict(problem === null, problem ? `${problem}; ${detail}` : detail);
}

async function subnetsOf({ ec2 }: Stage, id: string): Promise<Verdict> {
  const { subnets } = await createNetworkAcl(ec2, id).describe();
  return verdict(subnets > 0, subnets > 0 ? `it guards ${subnets}` : "it guards none");
}

/** An allow numbered below our rules lets in what they deny; our rules must stand below all allows. */
async function rulesOf(
  { ec2 }: Stage,
  { ruleNumbers: { first, last } }: Deployment,
  id: string,
): Promise<Verdict> {
  const { entries } = await createNetworkAcl(ec2, id).describe();
  const allows = entries.ingress.filter(({ kind }) => kind === "allow");
  const before = allows.filter(({ ruleNumber }) => ruleNumber < last);
  const above = allows.length - before.length;
  const range = `ours are ${first} to ${last}`;
  if (before.length === 0) return ok(`${range}, below ${above} that allow`);
  const list = before.map(({ ruleNumber, cidr }) => `${ruleNumber} (${cidr.text})`).join(", ");
  return failed(`${range}, and allow before or among them: ${list}`);
}

async function quotaOf({ dynamo }: Stage, deployment: Deployment, id: string): Promise<Verdict> {
  const { record } = await createTargetStates(dynamo, deployment).read(id, "networkAcl");
  const { learntLimits } = record === null ? aclRecord.empty : v.parse(aclRecord.schema, record);
  const met = Object.entries(learntLimits)
    .filter(([, { limit }]) => limit < deployment.ruleLimit)
    .map(([quota, { limit }]) => `${quota}: ${limit}`);
  if (met.length === 0) return ok(`EC2 has refused none of ${deployment.ruleLimit} entries`);
  return failed(`EC2 grants fewer than ${deployment.ruleLimit} entries (${met.join(", ")})`);
}

async function timeToLive({ dynamo }: Stage, { tableName }: Deployment): Promise<Verdict> {
  const { TimeToLiveDescription: ttl } = await dynamo.send(
    new DescribeTimeToLiveCommand({ TableName: tableName }),
  );
  const isOn = ttl?.TimeToLiveStatus === "ENABLED" && ttl.AttributeName === "expiresAt";
  return verdict(isOn, isOn ? "on expiresAt" : `${ttl?.TimeToLiveStatus ?? "DISABLED"}`);
}

async function streamOf({ dynamo }: Stage, { tableName }: Deployment): Promise<Verdict> {
  const { Table } = await dynamo.send(new DescribeTableCommand({ TableName: tableName }));
  const view = Table?.StreamSpecification?.StreamViewType ?? "there is none";
  return verdict(view === "NEW_AND_OLD_IMAGES", view);
}

async function recoveryOf({ dynamo }: Stage, { tableName }: Deployment): Promise<Verdict> {
  const { ContinuousBackupsDescription } = await dynamo.send(
    new DescribeContinuousBackupsCommand({ TableName: tableName }),
  );
  const status =
    ContinuousBackupsDescription?.PointInTimeRecoveryDescription?.PointInTimeRecoveryStatus;
  return verdict(status === "ENABLED", status ?? "DISABLED");
}

async function eventSourcesOf({ lambda }: Stage, FunctionName: string): Promise<Verdict> {
  const { EventSourceMappings = [] } = await lambda.send(
    new ListEventSourceMappingsCommand({ FunctionName }),
  );
  const off = EventSourceMappings.filter(({ State }) => State !== "Enabled");
  if (EventSourceMappings.length === 0) return failed("there is none");
  const [first] = off;
  return first
    ? failed(`${first.EventSourceArn}: ${first.State}`)
    : ok(`${EventSourceMappings.length} enabled`);
}

async function alarmsOf({ name, isLocal, cloudWatch }: Stage): Promise<Verdict> {
  if (isLocal) return { result: "skipped", detail: "the local cloud has none" };
  const AlarmNamePrefix = `portcullis-${name}-`;
  const red: string[] = [];
  let all = 0;
  let NextToken: string | undefined;
  do {
    const page = await cloudWatch.send(
      new DescribeAlarmsCommand({ AlarmNamePrefix, ...(NextToken && { NextToken }) }),
    );
    for (const { AlarmName = "", StateValue } of page.MetricAlarms ?? []) {
      // A lower-case letter here means another stage, whose name begins with this one's.
      if (!/^[A-Z]/.test(AlarmName.slice(AlarmNamePrefix.length))) continue;
      all++;
      if (StateValue === "ALARM") red.push(AlarmName);
    }
    NextToken = page.NextToken;
  } while (NextToken);
  if (all === 0) return failed(`no alarm begins with ${AlarmNamePrefix}`);
  return verdict(red.length === 0, red.length > 0 ? red.join(", ") : `${all}, none of them red`);
}
