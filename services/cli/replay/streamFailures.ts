import {
  type DynamoDBStreamsClient,
  GetRecordsCommand,
  GetShardIteratorCommand,
  ResourceNotFoundException,
  type _Record as StreamRecord,
  TrimmedDataAccessException,
} from "@aws-sdk/client-dynamodb-streams";
import { InvokeCommand } from "@aws-sdk/client-lambda";
import { DeleteMessageCommand, type Message } from "@aws-sdk/client-sqs";
import type { DynamoDBRecord } from "aws-lambda";
import * as v from "valibot";
import type { Stage } from "../stage.ts";
import { countMessages, receiveAll, release, type Watch } from "./messages.ts";
import { sequenceNumberOf, toLambdaRecord } from "./records.ts";

// A stream failure is the address of records that the enforcer could not take; Lambda gave up on them and
// went on with the records behind them. The next converge has long put the targets right. What is left to
// replay is what only the records say: which blocks ended, so that their addresses count as repeat offenders.

/** @see https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html */
const failure = v.pipe(
  v.string(),
  v.parseJson(),
  v.object({
    requestContext: v.object({ condition: v.string(), approximateInvokeCount: v.number() }),
    timestamp: v.string(),
    DDBStreamBatchInfo: v.object({
      shardId: v.string(),
      startSequenceNumber: v.pipe(v.string(), v.digits()),
      endSequenceNumber: v.pipe(v.string(), v.digits()),
      batchSize: v.number(),
      streamArn: v.string(),
    }),
  }),
);

/** A stream failure as shown to the operator. */
export type StreamFailure = {
  readonly id: string;
  readonly reason: string;
  readonly attempts: number;
  readonly records: number;
  /** When Lambda gave up on the records, ISO 8601. */
  readonly since: string;
};

/** Bounds the reads of a batch, which has at most 10,000 records; streams keep them for 24 hours. */
const MAX_READS = 100;

export async function listStreamFailures(
  stage: Stage,
): Promise<{ failures: StreamFailure[]; total: number }> {
  const { sqs } = stage;
  const queueUrl = await stage.queueUrl("stream failures");
  const messages: Message[] = [];
  try {
    for await (const batch of receiveAll(sqs, queueUrl)) messages.push(...batch);
  } finally {
    await release(sqs, queueUrl, messages);
  }
  return { failures: messages.map(failureOf), total: await countMessages(sqs, queueUrl) };
}

/**
 * Hands each failure's records to the enforcer again, or lets it converge if the stream no longer has them;
 * deletes the failure once that has succeeded.
 *
 * @returns how many were replayed
 * @throws if the enforcer fails again; what was not replayed is still there
 */
export async function replayStreamFailures(
  stage: Stage,
  { signal, onProgress }: Watch,
): Promise<number> {
  const { sqs } = stage;
  const queueUrl = await stage.queueUrl("stream failures");
  let replayed = 0;
  let left: Message[] = [];
  try {
    for await (const batch of receiveAll(sqs, queueUrl)) {
      left = batch;
      for (const message of batch) {
        if (signal.aborted) return replayed;
        await enforce(stage, await recordsOf(stage.streams, message));
        const { ReceiptHandle } = message;
        await sqs.send(new DeleteMessageCommand({ QueueUrl: queueUrl, ReceiptHandle }));
        left = left.filter((one) => one !== message);
        onProgress(++replayed);
      }
    }
  } finally {
    await release(sqs, queueUrl, left);
  }
  return replayed;
}

async function enforce(
  { lambda, enforcer }: Stage,
  Records: readonly DynamoDBRecord[],
): Promise<void> {
  const Payload = JSON.stringify(Records.length > 0 ? { Records } : {});
  const answer = await lambda.send(new InvokeCommand({ FunctionName: enforcer, Payload }));
  if (answer.FunctionError === undefined) return;
  const { errorMessage } = JSON.parse(answer.Payload?.transformToString() ?? "{}");
  throw new Error(`The enforcer failed again: ${errorMessage ?? answer.FunctionError}`);
}

/** The failed records, as far as the stream still has them. */
async function recordsOf(
  streams: DynamoDBStreamsClient,
  message: Message,
): Promise<DynamoDBRecord[]> {
  const { output, success } = v.safeParse(failure, message.Body);
  if (!success) return [];
  const { shardId, startSequenceNumber, endSequenceNumber, streamArn } = output.DDBStreamBatchInfo;
  const isWanted = (record: StreamRecord) => {
    const number = BigInt(sequenceNumberOf(record));
    return number >= BigInt(startSequenceNumber) && number <= BigInt(endSequenceNumber);
  };
  const found: StreamRecord[] = [];
  try {
    let { ShardIterator } = await streams.send(
      new GetShardIteratorCommand({
        StreamArn: streamArn,
        ShardId: shardId,
        ShardIteratorType: "AT_SEQUENCE_NUMBER",
        SequenceNumber: startSequenceNumber,
      }),
    );
    for (let read = 0; ShardIterator; read++) {
      // Unread records must not pass for replayed.
      if (read === MAX_READS) throw new Error("The failed records cannot be read to their end.");
      const page = await streams.send(new GetRecordsCommand({ ShardIterator }));
      const { Records = [] } = page;
      found.push(...Records.filter(isWanted));
      const last = Records.at(-1);
      if (last && BigInt(sequenceNumberOf(last)) >= BigInt(endSequenceNumber)) break;
      ShardIterator = page.NextShardIterator;
    }
  } catch (error) {
    const gone = [TrimmedDataAccessException, ResourceNotFoundException];
    if (!gone.some((kind) => error instanceof kind)) throw error;
  }
  return found.map((record) => toLambdaRecord(record, streamArn));
}

function failureOf(message: Message): StreamFailure {
  const parsed = v.safeParse(failure, message.Body);
  const id = String(message.MessageId);
  if (!parsed.success) return { id, reason: "unreadable", attempts: 0, records: 0, since: "" };
  const { requestContext, timestamp, DDBStreamBatchInfo } = parsed.output;
  return {
    id,
    reason: requestContext.condition,
    attempts: requestContext.approximateInvokeCount,
    records: DDBStreamBatchInfo.batchSize,
    since: timestamp,
  };
}
