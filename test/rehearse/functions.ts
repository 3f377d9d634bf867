import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { DescribeTableCommand, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoDBStreamsClient } from "@aws-sdk/client-dynamodb-streams";
import { GetFunctionConfigurationCommand, LambdaClient } from "@aws-sdk/client-lambda";
import { GetObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { GetQueueAttributesCommand, GetQueueUrlCommand, SQSClient } from "@aws-sdk/client-sqs";
import { unzipSync } from "fflate";
import { createFunction, type LambdaFunction } from "../../infra/local/lambda.ts";
import { type Log, openLog } from "../../infra/local/log.ts";
import { startHttpSource } from "../../infra/local/sources/http.ts";
import { startQueueSource } from "../../infra/local/sources/queue.ts";
import { startSchedule } from "../../infra/local/sources/schedule.ts";
import type { EventSource } from "../../infra/local/sources/source.ts";
import { startStreamSource } from "../../infra/local/sources/stream.ts";
import { type Created, readModel } from "../../infra/local/template.ts";
import type { Checkout } from "../support/checkout.ts";
import type { Config, Snapshot } from "./account.ts";

/** How often the rehearsal reconciles: a minute would be long. */
const RECONCILE_SECONDS = 2;
const GRACE_MS = 2_000;

/** Functions that run. */
export type Running = {
  /** Where the endpoint is. */
  readonly api: string;
  /** What they have logged. */
  readonly logDir: string;
  stop(): Promise<void>;
};

/**
 * Runs a stage's functions, which moto only keeps: the code that has been uploaded, with the environment
 * that it has been deployed with, on the event sources that its templates declare.
 */
export async function runFunctions(
  config: Config,
  checkout: Pick<Checkout, "templates">,
  { resources }: Pick<Snapshot, "resources">,
): Promise<Running> {
  const { region, endpoint } = config;
  const dir = mkdtempSync(join(tmpdir(), "portcullis-functions-"));
  const [lambda, s3, sqs, dynamodb, streams] = [
    new LambdaClient(config),
    new S3Client(config),
    new SQSClient(config),
    new DynamoDBClient(config),
    new DynamoDBStreamsClient(config),
  ];
  const model = readModel(checkout.templates(), { region, created: await created() });
  const env = {
    AWS_ENDPOINT_URL: endpoint,
    AWS_ACCESS_KEY_ID: config.credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: config.credentials.secretAccessKey,
    AWS_REGION: region,
  };

  async function created(): Promise<Created> {
    const idsOf = (type: string) => resources.filter((made) => made.type === type);
    const queues = idsOf("AWS::SQS::Queue").map(async ({ id }) => {
      const QueueName = id.split("/").at(-1) ?? "";
      const { QueueUrl: url = "" } = await sqs.send(new GetQueueUrlCommand({ QueueName }));
      const { Attributes } = await sqs.send(
        new GetQueueAttributesCommand({ QueueUrl: url, AttributeNames: ["QueueArn"] }),
      );
      return [QueueName, { url, arn: Attributes?.QueueArn ?? "" }] as const;
    });
    const [table] = idsOf("AWS::DynamoDB::Table");
    const { Table } = await dynamodb.send(new DescribeTableCommand({ TableName: table?.id }));
    const { TableArn: arn = "", LatestStreamArn: streamArn = "" } = Table ?? {};
    return { queues: Object.fromEntries(await Promise.all(queues)), table: { arn, streamArn } };
  }

  /** The artefact as it lies in the deployment's bucket. */
  async function fetchCode(name: string): Promise<void> {
    for (const template of checkout.templates()) {
      for (const { Type, Properties = {} } of Object.values(template.Resources)) {
        if (Type !== "AWS::Lambda::Function" || Properties.FunctionName !== name) continue;
        const { S3Key } = Properties.Code as { S3Key: string };
        const artefact =
          S3Key.split("/")
            .at(-1)
            ?.replace(/\.zip$/, "") ?? "";
        const service = resources.find(({ id }) => id === name)?.stack;
        const bucket = resources.find(
          ({ stack, type }) => stack === service && type === "AWS::S3::Bucket",
        );
        const { Body } = await s3.send(new GetObjectCommand({ Bucket: bucket?.id, Key: S3Key }));
        const zip = unzipSync((await Body?.transformToByteArray()) ?? new Uint8Array());
        for (const [path, bytes] of Object.entries(zip)) {
          const file = join(dir, artefact, path);
          mkdirSync(dirname(file), { recursive: true });
          if (!path.endsWith("/")) writeFileSync(file, bytes);
        }
      }
    }
  }

  const logs: Log[] = [];
  const functions = new Map<string, { lambda: LambdaFunction; log: Log }>();
  for (const fn of model.functions) {
    await fetchCode(fn.name);
    const deployed = await lambda.send(
      new GetFunctionConfigurationCommand({ FunctionName: fn.name }),
    );
    const log = openLog(join(dir, "logs"), fn.artefact);
    logs.push(log);
    const own = deployed.Environment?.Variables ?? {};
    functions.set(fn.name, {
      lambda: createFunction(fn, { codeDir: dir, env: { ...env, ...own }, log }),
      log,
    });
  }
  const find = (name: string) => {
    const found = functions.get(name);
    if (!found) throw new Error(`No function ${name} is deployed.`);
    return found;
  };

  const sources: EventSource[] = [];
  const api = await startHttpSource({
    port: 0,
    accountId: model.accountId,
    invoke: find(model.apiFunctionName).lambda.invoke,
  });
  sources.push(api);
  const queues = await created();
  for (const mapping of model.queueMappings) {
    const { lambda: own, log } = find(mapping.functionName);
    const queueUrl =
      Object.values(queues.queues).find(({ arn }) => arn === mapping.queueArn)?.url ?? "";
    sources.push(
      startQueueSource({
        ...{ sqs, queueUrl, region, mapping, invoke: own.invoke, log },
        // While a message is under way, moto's long poll keeps the whole server busy.
        isShortPolling: true,
      }),
    );
  }
  for (const mapping of model.streamMappings) {
    const { lambda: own, log } = find(mapping.functionName);
    const known = new Map<string, string>();
    sources.push(
      startStreamSource({
        ...{ streams, streamArn: mapping.streamArn, functionArn: mapping.functionName, mapping },
        ...{ invoke: own.invoke, log, sendFailure: async () => {} },
        checkpoints: { get: (id) => known.get(id), set: (id, at) => void known.set(id, at) },
      }),
    );
  }
  for (const schedule of model.schedules) {
    const { lambda: own, log } = find(schedule.functionName);
    const asynchronous = { maximumRetryAttempts: 0, maximumEventAgeSeconds: 60 };
    sources.push(
      startSchedule({
        schedule: { ...schedule, periodSeconds: RECONCILE_SECONDS },
        ...{ asynchronous, region, accountId: model.accountId, invoke: own.invoke, log },
      }),
    );
  }
  return {
    api: api.url,
    logDir: join(dir, "logs"),
    async stop() {
      const closing = [...functions.values()].map((own) => own.lambda.close(GRACE_MS));
      await Promise.all([...sources.map((source) => source.stop()), ...closing]);
      await Promise.all(logs.map((log) => log.close()));
      for (const client of [lambda, s3, sqs, dynamodb, streams]) client.destroy();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
