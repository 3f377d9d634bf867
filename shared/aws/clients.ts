import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { EC2Client } from "@aws-sdk/client-ec2";
import { SQSClient } from "@aws-sdk/client-sqs";
import { SSMClient } from "@aws-sdk/client-ssm";
import { WAFV2Client } from "@aws-sdk/client-wafv2";
import { DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";

// Plain SDK clients: `AWS_ENDPOINT_URL_EC2` and its siblings point any of them elsewhere. Every call
// is bounded: attempts × (connection + request timeout) plus the SDK's own back-off.

/** Bounds in milliseconds. The SDK would only warn of a request that takes too long. */
const bounds = (connectionTimeout: number, requestTimeout: number) => ({
  requestHandler: { connectionTimeout, requestTimeout, throwOnRequestTimeout: true },
});

/** Bounds that let a call with all its retries end within two seconds, the endpoint's promise. */
const swift = { maxAttempts: 3, ...bounds(300, 500) };

/** For the enforcer, for which nobody waits: its items are large, and a lost answer costs a round. */
export const patient = { maxAttempts: 3, ...bounds(1_000, 3_000) };

/**
 * The queue's URL names the queue; where to reach SQS is the environment's to say. The SDK builds its stack
 * of middleware anew for each call unless told otherwise; nothing of ours changes it, and the endpoint's
 * one call spends a tenth of its time on that. Not for DynamoDB: the document client's commands put
 * what they marshal into that stack.
 */
export const createSqs = () =>
  new SQSClient({ ...swift, useQueueUrlAsEndpoint: false, cacheMiddleware: true });
export const createSsm = () => new SSMClient(swift);
export const createDynamo = (limits: typeof swift = swift) =>
  DynamoDBDocumentClient.from(new DynamoDBClient(limits), {
    marshallOptions: { removeUndefinedValues: true },
  });

/**
 * EC2 throttles per account and region (50 mutating calls at once, then 5 a second). In adaptive mode
 * the SDK slows down to the rate that EC2 grants, instead of failing. A call ends within 20 s, the
 * time that a converge keeps for its last one.
 *
 * @see https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
 */
export const createEc2 = () =>
  new EC2Client({ retryMode: "adaptive", maxAttempts: 4, ...bounds(1_000, 3_000) });

/** The pace is the adapter's: WAF grants one update a second. */
export const createWaf = () => new WAFV2Client({ maxAttempts: 3, ...bounds(1_000, 5_000) });
