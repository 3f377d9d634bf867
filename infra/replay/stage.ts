import { join } from "node:path";
import { DynamoDBStreamsClient } from "@aws-sdk/client-dynamodb-streams";
import { LambdaClient } from "@aws-sdk/client-lambda";
import { GetQueueUrlCommand, QueueDoesNotExist, SQSClient } from "@aws-sdk/client-sqs";
import { dummyCredentials } from "../local/clients.ts";
import type { Stack } from "../local/cloud.ts";
import { SetupError } from "../local/errors.ts";
import { readJson } from "../local/files.ts";
import { readSettings } from "../local/settings.ts";

/** A deployment, or the local cloud: where its queues and functions are. */
export type Stage = {
  readonly sqs: SQSClient;
  readonly streams: DynamoDBStreamsClient;
  readonly lambda: LambdaClient;
  readonly enforcer: string;
  /** @throws SetupError where there is no such queue */
  queueUrl(name: "queue" | "dead letters" | "stream failures"): Promise<string>;
};

/** The stage that the local cloud deploys. */
const LOCAL_STAGE = "dev";

/** While the enforcer is busy, Lambda answers 429: the SDK asks again, with growing pauses. */
const INVOKE_ATTEMPTS = 10;

/**
 * A deployed stage, reached as the AWS CLI reaches it; without a name, the local cloud that runs in this
 * folder.
 *
 * @throws SetupError where none runs
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
        throw new SetupError(`There is no queue ${names[which]}: is ${stage} the stage's name?`);
      }
    },
  };
}

function localOptions() {
  const { localDir } = readSettings(process.env);
  const stack = readJson<Stack>(join(localDir, "stack.json"));
  if (!stack) {
    throw new SetupError(
      "No local cloud runs here: start it with npm start, or name a deployed stage with --stage.",
    );
  }
  const dummy = dummyCredentials(process.env);
  return (service: keyof Stack["endpoints"]) => ({
    endpoint: stack.endpoints[service],
    region: stack.region,
    ...(dummy && {
      credentials: {
        accessKeyId: dummy.AWS_ACCESS_KEY_ID,
        secretAccessKey: dummy.AWS_SECRET_ACCESS_KEY,
      },
    }),
  });
}
