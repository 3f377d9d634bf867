import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoDBStreamsClient } from "@aws-sdk/client-dynamodb-streams";
import { EC2Client } from "@aws-sdk/client-ec2";
import { SQSClient } from "@aws-sdk/client-sqs";
import { SSMClient } from "@aws-sdk/client-ssm";
import { WAFV2Client } from "@aws-sdk/client-wafv2";
import type { Engines } from "./engines.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** Plain SDK clients, as anyone would point them at the engines. */
export type Clients = {
  dynamodb: DynamoDBClient;
  streams: DynamoDBStreamsClient;
  sqs: SQSClient;
  ec2: EC2Client;
  ssm: SSMClient;
  wafv2: WAFV2Client;
};

/** Clients for the endpoints; `destroy` closes their connections. */
export function createClients(
  endpoints: Engines["endpoints"],
  region: string,
  env: Environment = process.env,
): Clients & { destroy(): void } {
  const dummy = dummyCredentials(env);
  const options = (endpoint: string) => ({
    endpoint,
    region,
    ...(dummy && {
      credentials: {
        accessKeyId: dummy.AWS_ACCESS_KEY_ID,
        secretAccessKey: dummy.AWS_SECRET_ACCESS_KEY,
      },
    }),
  });
  const clients = {
    dynamodb: new DynamoDBClient(options(endpoints.dynamodb)),
    streams: new DynamoDBStreamsClient(options(endpoints.dynamodbStreams)),
    sqs: new SQSClient(options(endpoints.sqs)),
    ec2: new EC2Client(options(endpoints.ec2)),
    ssm: new SSMClient(options(endpoints.ssm)),
    // A person's calls share WAF's rate limit with the enforcer's.
    wafv2: new WAFV2Client({ ...options(endpoints.wafv2), maxAttempts: 10 }),
  };
  return {
    ...clients,
    destroy() {
      for (const client of Object.values(clients)) client.destroy();
    },
  };
}

/** The engines accept any credentials, but the SDK requires some: made up when none are set. */
export function dummyCredentials(
  env: Environment,
): { AWS_ACCESS_KEY_ID: string; AWS_SECRET_ACCESS_KEY: string } | undefined {
  if (env.AWS_ACCESS_KEY_ID || env.AWS_PROFILE) return undefined;
  return { AWS_ACCESS_KEY_ID: "local", AWS_SECRET_ACCESS_KEY: "local" };
}
