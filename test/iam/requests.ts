import type { Place } from "./place.ts";

/** A call as it goes over the wire. */
export type Call = {
  /** As the signature names it. */
  readonly service: string;
  readonly action: string;
  readonly body: string;
};

/** What IAM is asked about a call: may this be done to that? */
export type Request = {
  readonly action: string;
  readonly resource: string;
  /** The context keys of the call that policies may look at. */
  readonly context: Readonly<Record<string, string | string[]>>;
};

/** The table's partition key. */
const PARTITION = "list";

/**
 * What IAM is asked about a call, as the service authorization reference has it: most calls are an
 * action of their own name; a PartiQL statement is an action of its own kind, and a batch of them one
 * request each; a batch of messages is authorised as a message.
 */
export function requestsOf({ service, action, body }: Call, place: Place): Request[] {
  const arn = (of: string, rest: string) =>
    `arn:aws:${of}:${place.region}:${place.accountId}:${rest}`;
  if (service === "ec2") return [ec2(action, new URLSearchParams(body), arn)];
  const input = JSON.parse(body) as Input;
  switch (service) {
    case "dynamodb":
      return dynamodb(action, input, (rest) => arn("dynamodb", rest));
    case "sqs": {
      const queue = new URL(String(input.QueueUrl)).pathname.split("/").at(-1);
      const name = action.replace(/^(Send|Delete)MessageBatch$/, "$1Message");
      return [{ action: `sqs:${name}`, resource: arn("sqs", String(queue)), context: {} }];
    }
    case "ssm":
      return [
        {
          action: `ssm:${action}`,
          resource: arn("ssm", `parameter${String(input.Name)}`),
          context: {},
        },
      ];
    case "wafv2": {
      const set = `${String(input.Scope).toLowerCase()}/ipset/${input.Name}/${input.Id}`;
      const resource = action === "ListIPSets" ? "*" : arn("wafv2", set);
      return [{ action: `wafv2:${action}`, resource, context: {} }];
    }
    default:
      throw new Error(`What is IAM asked about ${service}'s ${action}? Say it here.`);
  }
}

type Input = Readonly<Record<string, unknown>>;
type Arn = (service: string, rest: string) => string;
type Attribute = { readonly S?: string };
type Item = Readonly<Record<string, Attribute>>;

function ec2(action: string, input: URLSearchParams, arn: Arn): Request {
  const acl = input.get("NetworkAclId");
  const prefixList = input.get("PrefixListId");
  // The Describe actions know no resources: what they are asked about is a filter of the answer.
  const resource =
    acl !== null
      ? arn("ec2", `network-acl/${acl}`)
      : prefixList !== null
        ? arn("ec2", `prefix-list/${prefixList}`)
        : "*";
  return { action: `ec2:${action}`, resource, context: {} };
}

function dynamodb(action: string, input: Input, arn: (rest: string) => string): Request[] {
  const request = (name: string, table: unknown, keys: readonly (string | undefined)[]) => ({
    action: `dynamodb:${name}`,
    resource: arn(`table/${table}`),
    context: { "dynamodb:LeadingKeys": [...new Set(keys.map(known))] },
  });
  const { TableName: table } = input;
  switch (action) {
    case "GetItem":
    case "UpdateItem":
    case "DeleteItem":
      return [request(action, table, [partitionOf(input.Key as Item)])];
    case "PutItem":
      return [request(action, table, [partitionOf(input.Item as Item)])];
    case "Query": {
      const path = input.IndexName === undefined ? table : `${table}/index/${input.IndexName}`;
      return [request(action, path, [queried(input)])];
    }
    case "BatchGetItem":
      return Object.entries(input.RequestItems as Record<string, { Keys: Item[] }>).map(
        ([name, { Keys }]) => request(action, name, Keys.map(partitionOf)),
      );
    case "BatchWriteItem":
      return Object.entries(input.RequestItems as Record<string, Write[]>).map(([name, writes]) =>
        request(
          action,
          name,
          writes.map(({ PutRequest, DeleteRequest }) =>
            partitionOf((PutRequest?.Item ?? DeleteRequest?.Key) as Item),
          ),
        ),
      );
    case "BatchExecuteStatement":
      return (input.Statements as Statement[]).map((statement) => {
        const { name, of } = partiql(statement);
        return request(name, of, [statement.Parameters?.[0]?.S]);
      });
    default:
      throw new Error(`What is IAM asked about DynamoDB's ${action}? Say it here.`);
  }
}

const partitionOf = (item: Item): string | undefined => item[PARTITION]?.S;

function known(key: string | undefined): string {
  if (key === undefined) throw new Error("A call names no partition.");
  return key;
}

/** The partition that a query's key condition names. */
function queried(input: Input): string | undefined {
  const names = (input.ExpressionAttributeNames ?? {}) as Record<string, string>;
  const values = (input.ExpressionAttributeValues ?? {}) as Item;
  const conditions = String(input.KeyConditionExpression).matchAll(/(#?\w+)\s*=\s*(:\w+)/g);
  for (const [, name = "", value = ""] of conditions) {
    if ((names[name] ?? name) === PARTITION) return values[value]?.S;
  }
  return undefined;
}

type Write = { readonly PutRequest?: { Item: Item }; readonly DeleteRequest?: { Key: Item } };
type Statement = { readonly Statement: string; readonly Parameters?: readonly Attribute[] };

function partiql({ Statement: text }: Statement): { name: string; of: string } {
  const [, of] = /^DELETE FROM "([^"]+)" WHERE "list" = \?/.exec(text) ?? [];
  if (of === undefined) throw new Error(`What is IAM asked about ${text}? Say it here.`);
  return { name: "PartiQLDelete", of };
}
