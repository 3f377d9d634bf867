import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { EC2Client } from "@aws-sdk/client-ec2";
import { SQSClient } from "@aws-sdk/client-sqs";
import { SSMClient } from "@aws-sdk/client-ssm";
import { WAFV2Client } from "@aws-sdk/client-wafv2";
import { DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";

// Plain SDK clients: `AWS_ENDPOINT_URL_EC2` and its siblings point any of them elsewhere. Every call
// is bounded: attempts × (connection + request timeout) plus the SDK's own back-off.

/** Bounds in milliseconds. By default, the SDK would only warn about a request that takes too long. */
const bounds = (connectionTimeout: number, requestTimeout: number) => ({
  requestHandler: { connectionTimeout, requestTimeout, throwOnRequestTimeout: true },
});

/** Bounds that end a call, all retries included, within two seconds, as the endpoint promises. */
const swift = { maxAttempts: 3, ...bounds(300, 500) };

/** For the enforcer. No caller waits for it, its items are large, and a lost answer costs a round. */
export const patient = { maxAttempts: 3, ...bounds(1_000, 3_000) };

/**
 * The queue's URL names the queue; the environment says where to reach SQS. By default, the SDK rebuilds its
 * middleware stack for each call. Nothing of ours changes the stack, and the rebuild takes a tenth of the
 * endpoint's one call. Not for DynamoDB: the document client's commands put what they marshal into that
 * stack.
 */
export const createSqs = () =>
  new SQSClient({ ...swift, useQueueUrlAsEndpoint: false, cacheMiddleware: true });
export const createSsm = () => new SSMClient(swift);
export const createDynamo = (limits: typeof swift = swift) =>
  DynamoDBDocumentClient.from(new DynamoDBClient(limits), {
    marshallOptions: { removeUndefinedValues: true },
  });

/**
 * EC2 throttles per account and region (50 mutating calls at once, then 5 a second). In adaptive mode, the
 * SDK slows down to the rate that EC2 grants instead of failing. A call ends within 20 s, the time that a
 * converge reserves for its last one.
 *
 * @see https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
 */
export const createEc2 = () =>
  new EC2Client({ retryMode: "adaptive", maxAttempts: 4, ...bounds(1_000, 3_000) });

/** The adapter sets the pace: WAF grants one update a second. */
export const createWaf = () => new WAFV2Client({ maxAttempts: 3, ...bounds(1_000, 5_000) });
