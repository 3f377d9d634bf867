import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { DynamoDBStreamsClient } from "@aws-sdk/client-dynamodb-streams";
import { LambdaClient } from "@aws-sdk/client-lambda";
import { GetQueueUrlCommand, QueueDoesNotExist, SQSClient } from "@aws-sdk/client-sqs";
import * as v from "valibot";

/** A deployment, or the local cloud: where its queues and functions are. */
export type Stage = {
  readonly sqs: SQSClient;
  readonly streams: DynamoDBStreamsClient;
  readonly lambda: LambdaClient;
  readonly enforcer: string;
  /** @throws NoStageError where there is no such queue */
  queueUrl(name: "queue" | "dead letters" | "stream failures"): Promise<string>;
};

/** The stage does not run, or lacks what is looked for. */
export class NoStageError extends Error {
  override name = "NoStageError";
}

/** The stage that the local cloud deploys. */
const LOCAL_STAGE = "dev";

/** While the enforcer is busy, Lambda answers 429: the SDK asks again, with growing pauses. */
const INVOKE_ATTEMPTS = 10;

/**
 * A deployed stage, reached as the AWS CLI reaches it; without a name, the local cloud that runs in this
 * folder.
 *
 * @throws NoStageError where none runs
 */
export function openStage(name: string | undefined): Stage {
  const local = name === undefined ? localOptions() : undefined;
  const stage = name ?? LOCAL_STAGE;
  const sqs = new SQSClient(local?.("sqs") ?? {});
  const names = {
    queue: `portcullis-${stage}.fifo`,
    "dead letters": `portcullis-${stage}-dead.fifo`,
    "stream failures": `portcullis-${stage}-stream-failures`,
  };
  return {
    sqs,
    streams: new DynamoDBStreamsClient(local?.("dynamodb") ?? {}),
    lambda: new LambdaClient({ ...local?.("lambda"), maxAttempts: INVOKE_ATTEMPTS }),
    enforcer: `portcullis-enforcer-${stage}-enforcer`,
    async queueUrl(which) {
      try {
        const { QueueUrl } = await sqs.send(new GetQueueUrlCommand({ QueueName: names[which] }));
        return String(QueueUrl);
      } catch (error) {
        if (!(error instanceof QueueDoesNotExist)) throw error;
        throw new NoStageError(`There is no queue ${names[which]}: is ${stage} the stage's name?`);
      }
    },
  };
}

/** Options of SDK clients for the local cloud, by the name that its stack.json has for an endpoint. */
function localOptions() {
  const stack = readStack();
  const { AWS_ACCESS_KEY_ID, AWS_PROFILE } = process.env;
  // The local engines take any credentials, but the SDK does not go without.
  const credentials = { accessKeyId: "local", secretAccessKey: "local" };
  return (service: keyof typeof stack.endpoints) => ({
    endpoint: stack.endpoints[service],
    region: stack.region,
    ...(!AWS_ACCESS_KEY_ID && !AWS_PROFILE && { credentials }),
  });
}

/** What the local cloud writes about itself, as far as a replay needs it. */
const stackSchema = v.pipe(
  v.string(),
  v.parseJson(),
  v.object({
    region: v.string(),
    endpoints: v.object({ dynamodb: v.string(), sqs: v.string(), lambda: v.string() }),
  }),
);

function readStack(): v.InferOutput<typeof stackSchema> {
  const dir = process.env.PORTCULLIS_LOCAL_DIR || ".local";
  const root = fileURLToPath(new URL("../..", import.meta.url));
  try {
    return v.parse(stackSchema, readFileSync(resolve(root, dir, "stack.json"), "utf8"));
  } catch {
    throw new NoStageError(
      "No local cloud runs here: start it with npm start, or name a deployed stage with --stage.",
    );
  }
}
