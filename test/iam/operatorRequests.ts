import type { Place } from "./place.ts";
import type { Request } from "./requests.ts";

/** A call as a program's SDK has sent it (test/support/record.cjs). */
export type Recorded = {
  readonly service: string;
  readonly name: string;
  readonly input: Readonly<Record<string, unknown>>;
};

type Arn = (service: string, rest: string) => string;
type Input = Recorded["input"];

/** Calls whose action is called otherwise. */
const ACTIONS: Readonly<Record<string, string>> = {
  ChangeMessageVisibilityBatch: "ChangeMessageVisibility",
  Delete: "DeleteItem",
  DeleteMessageBatch: "DeleteMessage",
  Get: "GetItem",
  Invoke: "InvokeFunction",
  Put: "PutItem",
  SendMessageBatch: "SendMessage",
  Update: "UpdateItem",
};

const request = (action: string, resource: string, context: Request["context"] = {}): Request => ({
  action,
  resource,
  context,
});

/** What IAM is asked about a call of the operator's program. */
export function requestsOf({ service, name, input }: Recorded, place: Place): Request[] {
  const arn: Arn = (of, rest) => `arn:aws:${of}:${place.region}:${place.accountId}:${rest}`;
  const action = ACTIONS[name] ?? name;
  switch (service) {
    case "CloudFormation":
      return [
        request(`cloudformation:${action}`, arn("cloudformation", `stack/${input.StackName}/0`)),
      ];
    case "CloudWatch":
      return [request(`cloudwatch:${action}`, arn("cloudwatch", "alarm:*"))];
    case "DynamoDB":
      return dynamodb(action, input, arn);
    case "DynamoDB Streams":
      return [request(`dynamodb:${action}`, arn("dynamodb", `table/${streamOf(input)}`))];
    case "EC2":
      return [request(`ec2:${action}`, "*")]; // all that it calls are Describe actions
    case "Lambda": {
      // The mappings of one function are a filter of the answer.
      const isList = action === "ListEventSourceMappings";
      const resource = isList ? "*" : arn("lambda", `function:${input.FunctionName}`);
      return [request(`lambda:${action}`, resource)];
    }
    case "SQS":
      return sqs(action, input, arn);
    case "SSM":
      return [request(`ssm:${action}`, arn("ssm", `parameter${input.Name}`))];
    case "WAFV2": {
      const set = `${String(input.Scope).toLowerCase()}/ipset/${input.Name}/${input.Id}`;
      return [request(`wafv2:${action}`, action === "ListIPSets" ? "*" : arn("wafv2", set))];
    }
    default:
      throw new Error(`What is IAM asked about ${service}'s ${name}? Say it here.`);
  }
}

type Item = { readonly list: string };
/** One of a transaction's writes: IAM is asked about each. */
type Write = Readonly<Record<string, { TableName: string; Key?: Item; Item?: Item }>>;

function dynamodb(action: string, input: Input, arn: Arn): Request[] {
  const on = (name: string, table: unknown, partition?: unknown) =>
    request(
      `dynamodb:${name}`,
      arn("dynamodb", `table/${table}`),
      partition === undefined ? {} : { "dynamodb:LeadingKeys": [String(partition)] },
    );
  const { TableName, Key, Item, ExpressionAttributeValues } = input;
  switch (action) {
    case "DeleteItem":
    case "GetItem":
    case "PutItem":
    case "UpdateItem":
      return [on(action, TableName, ((Key ?? Item) as Item).list)];
    case "Query": {
      // The partition's is the value that the key condition names first.
      const [, value = ""] = /= (:\w+)/.exec(String(input.KeyConditionExpression)) ?? [];
      return [on(action, TableName, (ExpressionAttributeValues as Record<string, unknown>)[value])];
    }
    case "TransactWrite":
      return (input.TransactItems as Write[]).flatMap((write) =>
        Object.entries(write).map(([name, one]) =>
          on(ACTIONS[name] ?? name, one.TableName, (one.Key ?? one.Item)?.list),
        ),
      );
    default:
      return [on(action, TableName)];
  }
}

/** The table and the stream of a call, also where an iterator stands for it. */
function streamOf(input: Input): string {
  const text = String(input.StreamArn ?? input.ShardIterator);
  const [, found] = /:table\/([\w-]+\/stream\/[\w:.-]+)/.exec(text) ?? [];
  if (found === undefined) throw new Error(`Of what stream is ${text}?`);
  return found;
}

function sqs(action: string, input: Input, arn: Arn): Request[] {
  const { QueueName, QueueUrl, SourceArn, TaskHandle } = input;
  const on = (name: string, queue: unknown) => request(`sqs:${name}`, arn("sqs", String(queue)));
  // The handle of a task says whose it is.
  const url = QueueUrl === undefined ? undefined : new URL(String(QueueUrl)).pathname;
  const queue =
    QueueName ??
    url?.split("/").at(-1) ??
    String(SourceArn ?? TaskHandle)
      .split(":")
      .at(-1);
  if (action !== "StartMessageMoveTask") return [on(action, queue)];
  // SQS moves in the caller's name (API reference: StartMessageMoveTask).
  const main = String(queue).replace("-dead.fifo", ".fifo");
  const alike = ["ReceiveMessage", "DeleteMessage", "GetQueueAttributes"];
  return [on(action, queue), ...alike.map((name) => on(name, queue)), on("SendMessage", main)];
}
