import {
  CloudFormationClient,
  DescribeStackEventsCommand,
  DescribeStacksCommand,
  GetTemplateCommand,
  ListStackResourcesCommand,
  type StackResourceSummary,
} from "@aws-sdk/client-cloudformation";
import { CloudWatchClient, DescribeAlarmsCommand } from "@aws-sdk/client-cloudwatch";
import { CloudWatchLogsClient, DescribeLogGroupsCommand } from "@aws-sdk/client-cloudwatch-logs";
import { DescribeTableCommand, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DescribeRuleCommand, EventBridgeClient } from "@aws-sdk/client-eventbridge";
import { GetRoleCommand, IAMClient } from "@aws-sdk/client-iam";
import {
  GetEventSourceMappingCommand,
  GetFunctionCommand,
  LambdaClient,
} from "@aws-sdk/client-lambda";
import { HeadBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { GetTopicAttributesCommand, SNSClient } from "@aws-sdk/client-sns";
import { GetQueueAttributesCommand, SQSClient } from "@aws-sdk/client-sqs";
import { GetParameterCommand, SSMClient } from "@aws-sdk/client-ssm";

/** A resource that a stack says it has. */
export type Made = {
  readonly stack: string;
  readonly name: string;
  readonly type: string;
  readonly id: string;
};

/** What a stage's stacks hold; two that are equal mean that nothing has happened in between. */
export type Snapshot = {
  readonly resources: readonly Made[];
  readonly templates: Readonly<Record<string, unknown>>;
  /** How often each stack has been created or updated, and what its functions are made of. */
  readonly history: Readonly<Record<string, readonly string[]>>;
  readonly functions: Readonly<Record<string, FunctionState>>;
};

type FunctionState = {
  readonly code: string;
  readonly variables: Readonly<Record<string, string>>;
};

/** The rehearsal's account: read by the services' own calls, not by what the deployment claims. */
export type Account = {
  /** The stacks of a stage, as `serverless` names them. */
  read(services: readonly string[], stage: string): Promise<Snapshot>;
  stacks(): Promise<string[]>;
  /** Whether it exists; undefined for a type that has no call of its own here. */
  exists(made: Made): Promise<boolean | undefined>;
  destroy(): void;
};

/** How the account is reached. */
export type Config = {
  readonly endpoint: string;
  readonly region: string;
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
};

export const configOf = (endpoint: string, region: string): Config => ({
  endpoint,
  region,
  credentials: { accessKeyId: "rehearsal", secretAccessKey: "rehearsal" },
});

export function openAccount(config: Config): Account {
  const cloudFormation = new CloudFormationClient(config);
  const cloudWatch = new CloudWatchClient(config);
  const dynamodb = new DynamoDBClient(config);
  const events = new EventBridgeClient(config);
  const iam = new IAMClient(config);
  const lambda = new LambdaClient(config);
  const logs = new CloudWatchLogsClient(config);
  const s3 = new S3Client(config);
  const sns = new SNSClient(config);
  const sqs = new SQSClient(config);
  const ssm = new SSMClient(config);

  const readers: Record<string, (id: string) => Promise<unknown>> = {
    async "AWS::CloudWatch::Alarm"(id) {
      const found = await cloudWatch.send(new DescribeAlarmsCommand({ AlarmNames: [id] }));
      if (!found.MetricAlarms?.length) throw missing();
    },
    "AWS::DynamoDB::Table": (id) => dynamodb.send(new DescribeTableCommand({ TableName: id })),
    "AWS::Events::Rule": (id) =>
      events.send(new DescribeRuleCommand({ Name: id.split("/").at(-1) })),
    "AWS::IAM::Role": (id) => iam.send(new GetRoleCommand({ RoleName: id })),
    "AWS::Lambda::EventSourceMapping": (id) =>
      lambda.send(new GetEventSourceMappingCommand({ UUID: id })),
    "AWS::Lambda::Function": (id) => lambda.send(new GetFunctionCommand({ FunctionName: id })),
    async "AWS::Logs::LogGroup"(id) {
      const found = await logs.send(new DescribeLogGroupsCommand({ logGroupNamePrefix: id }));
      if (!found.logGroups?.some(({ logGroupName }) => logGroupName === id)) throw missing();
    },
    "AWS::S3::Bucket": (id) => s3.send(new HeadBucketCommand({ Bucket: id })),
    "AWS::SNS::Topic": (id) => sns.send(new GetTopicAttributesCommand({ TopicArn: id })),
    "AWS::SQS::Queue": (id) => sqs.send(new GetQueueAttributesCommand({ QueueUrl: id })),
    "AWS::SSM::Parameter": (id) => ssm.send(new GetParameterCommand({ Name: id })),
  };

  async function resourcesOf(stack: string): Promise<Made[]> {
    const made: StackResourceSummary[] = [];
    let NextToken: string | undefined;
    do {
      const page = await cloudFormation.send(
        new ListStackResourcesCommand({ StackName: stack, NextToken }),
      );
      made.push(...(page.StackResourceSummaries ?? []));
      NextToken = page.NextToken;
    } while (NextToken);
    return made.map(({ LogicalResourceId, ResourceType, PhysicalResourceId }) => ({
      stack,
      name: LogicalResourceId ?? "",
      type: ResourceType ?? "",
      id: PhysicalResourceId ?? "",
    }));
  }

  async function functionOf({ id }: Made): Promise<FunctionState> {
    const { Configuration } = await lambda.send(new GetFunctionCommand({ FunctionName: id }));
    return {
      code: Configuration?.CodeSha256 ?? "",
      variables: Configuration?.Environment?.Variables ?? {},
    };
  }

  return {
    async read(services, stage) {
      const stacks = services.map((service) => `${service}-${stage}`);
      const resources = (await Promise.all(stacks.map(resourcesOf))).flat();
      const templates = stacks.map(async (StackName) => {
        const { TemplateBody } = await cloudFormation.send(new GetTemplateCommand({ StackName }));
        return [StackName, JSON.parse(TemplateBody ?? "")] as const;
      });
      const histories = stacks.map(async (StackName) => {
        const { StackEvents } = await cloudFormation.send(
          new DescribeStackEventsCommand({ StackName }),
        );
        return [StackName, (StackEvents ?? []).map(({ EventId }) => EventId ?? "")] as const;
      });
      const functions = resources
        .filter(({ type }) => type === "AWS::Lambda::Function")
        .map(async (made) => [made.id, await functionOf(made)] as const);
      return {
        resources,
        templates: Object.fromEntries(await Promise.all(templates)),
        history: Object.fromEntries(await Promise.all(histories)),
        functions: Object.fromEntries(await Promise.all(functions)),
      };
    },
    async stacks() {
      const { Stacks } = await cloudFormation.send(new DescribeStacksCommand());
      return (Stacks ?? [])
        .filter(({ StackStatus }) => StackStatus !== "DELETE_COMPLETE")
        .map(({ StackName }) => StackName ?? "");
    },
    async exists({ type, id }) {
      const read = readers[type];
      if (!read) return undefined;
      return read(id).then(
        () => true,
        (error: Error) => {
          if (/NotFound|NoSuchEntity|NonExistent|DoesNotExist/.test(error.name)) return false;
          throw error;
        },
      );
    },
    destroy() {
      const clients = [cloudFormation, cloudWatch, dynamodb, events, iam, lambda, logs, s3, sns];
      for (const client of [...clients, sqs, ssm]) client.destroy();
    },
  };
}

const missing = () => Object.assign(new Error("It does not exist"), { name: "NotFound" });
