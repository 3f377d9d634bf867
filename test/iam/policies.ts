import { resolve, type Template } from "../../infra/local/intrinsics.ts";
import { createScope, LOCAL_ACCOUNT } from "../../infra/local/template.ts";
import type { Request } from "./requests.ts";

export type Statement = {
  readonly Effect: string;
  readonly Action: readonly string[];
  readonly Resource: readonly string[];
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;
};

/** A function's role as it is packaged, every reference resolved. */
export type Role = {
  readonly functionName: string;
  readonly statements: readonly Statement[];
  /** What Lambda itself calls in the role's name, beside what the function's code calls. */
  readonly lambdaCalls: readonly Request[];
};

type Properties = Record<string, unknown>;

/** The roles of all functions, by the short names of these. */
export function readRoles(
  templates: readonly Template[],
  region: string,
): Readonly<Record<string, Role>> {
  const scope = createScope(templates, { region });
  const roles: Record<string, Role> = {};
  for (const template of templates) {
    const all = (type: string) =>
      Object.values(template.Resources).filter((resource) => resource.Type === type);
    for (const { Properties: fn = {} } of all("AWS::Lambda::Function")) {
      const { "Fn::GetAtt": [roleId] = [] } = fn.Role as { "Fn::GetAtt": string[] };
      const role = template.Resources[String(roleId)]?.Properties ?? {};
      const documents = resolve(
        scope,
        template,
        (role.Policies as { PolicyDocument: unknown }[]).map((policy) => policy.PolicyDocument),
      ) as { Statement: Properties[] }[];
      const functionName = String(resolve(scope, template, fn.FunctionName));
      const mappings = all("AWS::Lambda::EventSourceMapping").map(
        ({ Properties: mapping }) => resolve(scope, template, mapping) as Properties,
      );
      const name = String((fn.Code as { S3Key: string }).S3Key.match(/([^/]+)\.zip$/)?.[1]);
      roles[name] = {
        functionName,
        statements: documents.flatMap((document) => document.Statement.map(normal)),
        lambdaCalls: [
          ...logCalls(functionName, region),
          ...mappings.flatMap((mapping) => mappingCalls(mapping)),
        ],
      };
    }
  }
  return roles;
}

const list = (value: unknown): string[] =>
  Array.isArray(value) ? value.map(String) : [String(value)];

function normal({ Effect, Action, Resource, Condition }: Properties): Statement {
  return {
    Effect: String(Effect),
    Action: list(Action),
    Resource: list(Resource),
    ...(Condition !== undefined && { Condition: Condition as NonNullable<Statement["Condition"]> }),
  };
}

const request = (action: string, resource: string): Request => ({ action, resource, context: {} });

/** Lambda writes the log in the role's name. */
function logCalls(functionName: string, region: string): Request[] {
  const stream = `arn:aws:logs:${region}:${LOCAL_ACCOUNT}:log-group:/aws/lambda/${functionName}:log-stream:2026/01/01/[$LATEST]0`;
  return [request("logs:CreateLogStream", stream), request("logs:PutLogEvents", stream)];
}

/** And so it reads queues and streams, and puts aside what the function could not take. */
function mappingCalls(mapping: Properties): Request[] {
  const source = String(mapping.EventSourceArn);
  const actions = source.includes(":sqs:")
    ? ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
    : ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"];
  const { DestinationConfig: destination } = mapping as {
    DestinationConfig?: { OnFailure?: { Destination?: string } };
  };
  const failures = destination?.OnFailure?.Destination;
  return [
    ...actions.map((action) => request(action, source)),
    ...(failures ? [request("sqs:SendMessage", failures)] : []),
  ];
}
