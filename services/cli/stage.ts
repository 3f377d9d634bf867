import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { CloudFormationClient, DescribeStacksCommand } from "@aws-sdk/client-cloudformation";
import { CloudWatchClient } from "@aws-sdk/client-cloudwatch";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoDBStreamsClient } from "@aws-sdk/client-dynamodb-streams";
import { EC2Client } from "@aws-sdk/client-ec2";
import {
  GetFunctionConfigurationCommand,
  LambdaClient,
  ResourceNotFoundException,
} from "@aws-sdk/client-lambda";
import { GetQueueUrlCommand, QueueDoesNotExist, SQSClient } from "@aws-sdk/client-sqs";
import { SSMClient } from "@aws-sdk/client-ssm";
import { WAFV2Client } from "@aws-sdk/client-wafv2";
import { DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";
import * as v from "valibot";
import { parse } from "yaml";
import {
  aclIds,
  ipSetNames,
  names,
  readSettings,
  text,
  wholeNumber,
} from "../../shared/aws/settings.ts";
import type { Seconds } from "../../shared/domain/time.ts";
import type { TargetKind } from "../../shared/targets/target.ts";
import { UsageError } from "./errors.ts";

/** A deployment, or the local cloud: where its queues, functions, table and targets are. */
export type Stage = {
  readonly name: string;
  readonly isLocal: boolean;
  readonly region: string;
  readonly sqs: SQSClient;
  readonly streams: DynamoDBStreamsClient;
  readonly lambda: LambdaClient;
  readonly dynamo: DynamoDBDocumentClient;
  readonly ec2: EC2Client;
  readonly waf: WAFV2Client;
  readonly ssm: SSMClient;
  readonly cloudWatch: CloudWatchClient;
  /** The functions' names as deployed. */
  readonly enforcer: string;
  readonly worker: string;
  readonly blacklist: string;
  /** @throws NoStageError if there is no such queue */
  queueUrl(name: "queue" | "dead letters" | "stream failures"): Promise<string>;
  /** How the stage is deployed. @throws NoStageError if there are no functions */
  deployment(): Promise<Deployment>;
  /** The endpoint's URL. @throws NoStageError if there is none */
  api(): Promise<string>;
};

/** How a stage is deployed, according to its functions' environment. */
export type Deployment = {
  readonly tableName: string;
  readonly list: string;
  readonly targets: readonly { readonly id: string; readonly kind: TargetKind }[];
  readonly ruleLimit: number;
  readonly ruleNumbers: { readonly first: number; readonly last: number };
  readonly mode: string;
  /** How long an address is remembered after its block has ended. */
  readonly repeatMemory: Seconds;
  /** The weight that detectors must reach together; 0: any one will do. */
  readonly corroborationThreshold: number;
  /** Names of the parameters with the deployment's first callers; empty if it does without. */
  readonly parameters: {
    readonly tokens: string;
    readonly callers: string;
    readonly neverBlock: string;
  };
  /** Detectors that are callers without being listed anywhere. */
  readonly eventDetectors: readonly string[];
};

/** The stage is not running, or lacks what was looked for. */
export class NoStageError extends Error {
  override readonly name = "NoStageError";
}

/** The stage that the local cloud deploys. */
const LOCAL_STAGE = "local";

/** While the enforcer is busy, Lambda answers 429: the SDK retries with growing pauses. */
const INVOKE_ATTEMPTS = 10;

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

const parameterName = v.optional(v.string(), "");
const enforcerSettings = v.object({
  TABLE_NAME: text,
  LIST_NAME: text,
  ACL_ID: aclIds,
  WAF_IP_SETS: ipSetNames,
  RULE_LIMIT: wholeNumber(1, 40),
  RULE_NUMBER_FIRST: wholeNumber(1, 32_766),
  RULE_NUMBER_LAST: wholeNumber(1, 32_766),
  MODE: text,
  REPEAT_MEMORY: wholeNumber(0, 31_536_000),
});
const workerSettings = v.object({
  CORROBORATION_THRESHOLD: wholeNumber(0, 1000),
  EVENT_DETECTORS: v.optional(names, ""),
});
const blacklistSettings = v.object({
  TOKENS_PARAMETER: parameterName,
  CALLERS_PARAMETER: parameterName,
  NEVER_BLOCK_PARAMETER: parameterName,
});

/** Which stage: a deployed one by its name, otherwise the local cloud running in this folder. */
export type StageChoice = {
  readonly stage?: string;
  readonly local?: true;
  readonly region?: string;
};

/**
 * Opens a stage: a deployed one as the AWS CLI would reach it, in the region that its stage file states, or
 * the local cloud.
 *
 * @param root the checkout, with the stage files and the local cloud's state
 * @throws NoStageError if no local cloud runs, UsageError if the choice is invalid
 */
export function openStage(choice: StageChoice, root: string = ROOT): Stage {
  if (choice.local && choice.stage !== undefined) {
    throw new UsageError("--local and --stage exclude each other.");
  }
  const name = choice.stage ?? LOCAL_STAGE;
  if (!/^[\w-]{1,64}$/.test(name))
    throw new UsageError("A stage's name is of letters, digits, - and _.");
  const stack = choice.stage === undefined ? readStack(root) : undefined;
  const region = stack?.region ?? regionOf(root, name, choice.region);
  const options = (service: keyof NonNullable<typeof stack>["endpoints"]) =>
    stack ? localOptions(stack, service) : { region };
  const sqs = new SQSClient(options("sqs"));
  const lambda = new LambdaClient({ ...options("lambda"), maxAttempts: INVOKE_ATTEMPTS });
  const queues = {
    queue: `portcullis-${name}.fifo`,
    "dead letters": `portcullis-${name}-dead.fifo`,
    "stream failures": `portcullis-${name}-stream-failures`,
  };
  const functionName = (service: string) => `portcullis-${service}-${name}-${service}`;

  async function environmentOf(service: string): Promise<Record<string, string>> {
    const FunctionName = functionName(service);
    try {
      const found = await lambda.send(new GetFunctionConfigurationCommand({ FunctionName }));
      return found.Environment?.Variables ?? {};
    } catch (error) {
      if (!(error instanceof ResourceNotFoundException)) throw error;
      throw new NoStageError(
        `There is no function ${FunctionName} in ${region}: is ${name} the stage's name?`,
      );
    }
  }

  return {
    name,
    isLocal: stack !== undefined,
    region,
    sqs,
    streams: new DynamoDBStreamsClient(options("dynamodb")),
    lambda,
    dynamo: DynamoDBDocumentClient.from(new DynamoDBClient(options("dynamodb")), {
      marshallOptions: { removeUndefinedValues: true },
    }),
    ec2: new EC2Client(options("ec2")),
    waf: new WAFV2Client(options("wafv2")),
    ssm: new SSMClient(options("ssm")),
    cloudWatch: new CloudWatchClient({ region }),
    enforcer: functionName("enforcer"),
    worker: functionName("worker"),
    blacklist: functionName("blacklist"),

    async queueUrl(which) {
      try {
        const { QueueUrl } = await sqs.send(new GetQueueUrlCommand({ QueueName: queues[which] }));
        return String(QueueUrl);
      } catch (error) {
        if (!(error instanceof QueueDoesNotExist)) throw error;
        throw new NoStageError(`There is no queue ${queues[which]}: is ${name} the stage's name?`);
      }
    },

    async deployment() {
      const [enforcer, worker, blacklist] = await Promise.all([
        environmentOf("enforcer"),
        environmentOf("worker"),
        environmentOf("blacklist"),
      ]);
      const own = readSettings(enforcerSettings, enforcer);
      const { CORROBORATION_THRESHOLD, EVENT_DETECTORS } = readSettings(workerSettings, worker);
      const parameters = readSettings(blacklistSettings, blacklist);
      return {
        tableName: own.TABLE_NAME,
        list: own.LIST_NAME,
        targets: [
          ...own.ACL_ID.map((id) => ({ id, kind: "networkAcl" as const })),
          ...own.WAF_IP_SETS.map((id) => ({ id, kind: "wafIpSet" as const })),
        ],
        ruleLimit: own.RULE_LIMIT,
        ruleNumbers: { first: own.RULE_NUMBER_FIRST, last: own.RULE_NUMBER_LAST },
        mode: own.MODE,
        repeatMemory: own.REPEAT_MEMORY,
        corroborationThreshold: CORROBORATION_THRESHOLD,
        parameters: {
          tokens: parameters.TOKENS_PARAMETER,
          callers: parameters.CALLERS_PARAMETER,
          neverBlock: parameters.NEVER_BLOCK_PARAMETER,
        },
        eventDetectors: EVENT_DETECTORS,
      };
    },

    async api() {
      if (stack) return stack.api;
      const StackName = `portcullis-blacklist-${name}`;
      const { Stacks } = await new CloudFormationClient({ region }).send(
        new DescribeStacksCommand({ StackName }),
      );
      const outputs = Stacks?.[0]?.Outputs ?? [];
      const url = outputs.find(({ OutputKey }) => OutputKey === "Endpoint")?.OutputValue;
      if (url) return url;
      throw new NoStageError(`The stack ${StackName} names no endpoint: give it with --endpoint.`);
    },
  };
}

/** The region is stated once, in the stage's file; if that has none, it is found as by the AWS CLI. */
function regionOf(root: string, stage: string, given: string | undefined): string {
  const region = given ?? regionInFile(root, stage) ?? process.env.AWS_REGION;
  if (region) return region;
  throw new UsageError(
    `Where is ${stage}? Give --region, or AWS_REGION: there is no infra/stages/${stage}.yml.`,
  );
}

const stageFile = v.object({ region: text });

function regionInFile(root: string, stage: string): string | undefined {
  const path = resolve(root, "infra", "stages", `${stage}.yml`);
  if (!existsSync(path)) return undefined;
  const parsed = v.safeParse(stageFile, parse(readFileSync(path, "utf8")));
  if (parsed.success) return parsed.output.region;
  throw new UsageError(`infra/stages/${stage}.yml states no region.`);
}

/** The part of what the local cloud writes about itself that an operator needs. */
const stackSchema = v.pipe(
  v.string(),
  v.parseJson(),
  v.object({
    api: v.string(),
    region: v.string(),
    endpoints: v.object({
      dynamodb: v.string(),
      sqs: v.string(),
      ec2: v.string(),
      ssm: v.string(),
      wafv2: v.string(),
      lambda: v.string(),
    }),
  }),
);
type Stack = v.InferOutput<typeof stackSchema>;

function localOptions(stack: Stack, service: keyof Stack["endpoints"]) {
  const { AWS_ACCESS_KEY_ID, AWS_PROFILE } = process.env;
  // The local engines accept any credentials, but the SDK requires some.
  const credentials = { accessKeyId: "local", secretAccessKey: "local" };
  return {
    endpoint: stack.endpoints[service],
    region: stack.region,
    ...(!AWS_ACCESS_KEY_ID && !AWS_PROFILE && { credentials }),
  };
}

function readStack(root: string): Stack {
  const dir = process.env.PORTCULLIS_LOCAL_DIR || ".local";
  try {
    return v.parse(stackSchema, readFileSync(resolve(root, dir, "stack.json"), "utf8"));
  } catch {
    throw new NoStageError(
      "No local cloud runs here: start it with npm start, or name a deployed stage with --stage.",
    );
  }
}
