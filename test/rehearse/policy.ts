import { readFileSync } from "node:fs";
import { LOCAL_ACCOUNT } from "../../infra/local/template.ts";
import type { Statement } from "../iam/policies.ts";
import type { Request } from "../iam/requests.ts";
import { isAllowed } from "../iam/simulate.ts";
import { REGION } from "../support/checkout.ts";

const POLICY = new URL("../../docs/policies/deploy.json", import.meta.url);

type Recorded = {
  readonly service: string;
  readonly name: string;
  readonly input: Readonly<
    Partial<Record<"Bucket" | "Key" | "StackName" | "FunctionName", string>>
  >;
};

/** S3's calls whose action is called otherwise. */
const S3_ACTIONS: Readonly<Record<string, string>> = {
  DeleteObjects: "DeleteObject",
  HeadBucket: "ListBucket",
  HeadObject: "GetObject",
  ListObjectsV2: "ListBucket",
};

/** What IAM is asked about a call that `serverless` has sent. */
function requestOf({ service, name, input }: Recorded): Request {
  const arn = (of: string, rest: string) => `arn:aws:${of}:${REGION}:${LOCAL_ACCOUNT}:${rest}`;
  const { Bucket, Key, StackName, FunctionName } = input;
  switch (service) {
    case "CloudFormation": {
      const stack = StackName?.startsWith("arn:")
        ? StackName.split(":stack/")[1]
        : `${StackName}/0`;
      const resource = StackName === undefined ? "*" : arn("cloudformation", `stack/${stack}`);
      return { action: `cloudformation:${name}`, resource, context: {} };
    }
    case "S3": {
      const action = S3_ACTIONS[name] ?? name;
      // A call for many objects names them in its body: any of them stands for all.
      const isObject = action.endsWith("Object");
      const resource = `arn:aws:s3:::${Bucket}${isObject ? `/${Key ?? "serverless/object"}` : ""}`;
      return { action: `s3:${action}`, resource, context: {} };
    }
    case "Lambda":
      return {
        action: `lambda:${name}`,
        resource: arn("lambda", `function:${FunctionName}`),
        context: {},
      };
    case "ECR":
      // It looks for images of the service's that would have to be removed.
      return {
        action: `ecr:${name}`,
        resource: arn("ecr", "repository/serverless-portcullis-service-stage"),
        context: {},
      };
    default:
      throw new Error(`What is IAM asked about ${service}'s ${name}? Say it here.`);
  }
}

/**
 * Whether the deployer's policy allows what `serverless` has called, and its own statements nothing that
 * it has not; and whether it leaves alone what is not Portcullis's.
 *
 * @returns what is wrong
 */
export async function checkPolicy(callsFile: string): Promise<{ wrong: string[]; calls: number }> {
  const { Statement: statements } = JSON.parse(readFileSync(POLICY, "utf8")) as {
    Statement: (Statement & { readonly Sid: string })[];
  };
  const recorded = readFileSync(callsFile, "utf8").trim().split("\n");
  const all = recorded
    .map((line) => JSON.parse(line) as Recorded)
    .filter(({ name }) => name !== "GetCallerIdentity") // needs no permission
    .map(requestOf);
  const requests = [...new Map(all.map((one) => [JSON.stringify(one), one])).values()];
  const wrong: string[] = [];
  for (const one of requests) {
    if (!(await isAllowed(one, statements))) wrong.push(`Not allowed: ${JSON.stringify(one)}`);
  }
  const own = statements.filter(({ Sid }) => Sid.startsWith("Serverless"));
  for (const action of own.flatMap(({ Action }) => Action)) {
    if (!all.some((one) => one.action === action)) wrong.push(`Never called: ${action}`);
  }
  for (const one of foreign()) {
    if (await isAllowed(one, statements)) wrong.push(`Allowed: ${JSON.stringify(one)}`);
  }
  return { wrong, calls: recorded.length };
}

/** What belongs to others, or would give the deployer more than a deployment needs. */
function foreign(): Request[] {
  const arn = (of: string, rest: string) => `arn:aws:${of}:${REGION}:${LOCAL_ACCOUNT}:${rest}`;
  const on = (action: string, resource: string): Request => ({ action, resource, context: {} });
  return [
    on("cloudformation:DeleteStack", arn("cloudformation", "stack/another/0")),
    on("s3:GetObject", "arn:aws:s3:::another/key"),
    on("lambda:UpdateFunctionCode", arn("lambda", "function:another")),
    on("sqs:DeleteQueue", arn("sqs", "another")),
    on("dynamodb:DeleteTable", arn("dynamodb", "table/another")),
    on("ssm:GetParameter", arn("ssm", "parameter/another")),
    on("iam:CreateRole", `arn:aws:iam::${LOCAL_ACCOUNT}:role/another`),
    on("iam:CreateUser", `arn:aws:iam::${LOCAL_ACCOUNT}:user/portcullis-user`),
    on("ec2:CreateNetworkAclEntry", arn("ec2", "network-acl/acl-0a1b2c3d4e5f60718")),
    on("wafv2:UpdateIPSet", arn("wafv2", "regional/ipset/edge-v4/0")),
  ];
}
