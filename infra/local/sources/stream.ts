import { randomUUID } from "node:crypto";
import {
  DescribeStreamCommand,
  type DynamoDBStreamsClient,
  ExpiredIteratorException,
  GetRecordsCommand,
  GetShardIteratorCommand,
  type GetShardIteratorInput,
  ResourceNotFoundException,
  type Shard,
  type _Record as StreamRecord,
  TrimmedDataAccessException,
} from "@aws-sdk/client-dynamodb-streams";
import { messageOf } from "../errors.ts";
import type { Invoke, Outcome } from "../lambda.ts";
import { ThrottledError } from "../lambda.ts";
import type { Log } from "../log.ts";
import type { StreamMapping } from "../template.ts";
import { backoffMs, pause } from "../waiting.ts";
import { compileFilters } from "./filter.ts";
import { createdAtSeconds, sequenceNumberOf, toLambdaRecord, withSeconds } from "./records.ts";
import type { EventSource } from "./source.ts";

/** How long a shard without new records is left alone. */
export const POLL_MS = 200;
/**
 * The longest that one attempt waits for a throttled function before it loses its turn: longer
 * than an invocation of the function takes.
 */
const THROTTLE_WAIT_MS = 120_000;
const NEW_SHARDS_EVERY_MS = 1_000;

/** How far each shard has been read: it outlives the runner, as it outlives a poller of Lambda. */
export type Checkpoints = {
  get(shardId: string): string | undefined;
  set(shardId: string, sequenceNumber: string): void;
};

/** Why a batch was given up. */
type Condition = "RetryAttemptsExhausted" | "RecordAgeExceeded";

/**
 * Runs an event source mapping from a DynamoDB stream.
 *
 * Lambda's rules: every shard is read in order from the trim horizon, a parent before its children;
 * each polled several times a second. Filters drop records without an invocation. When the function
 * fails, the batch is halved (if so configured, and without costing a retry), then retried with
 * backoff until retries or record age run out; what is given up goes to the failure destination,
 * as an address in the stream, and the shard moves on. A throttled function is only waited for.
 */
export function startStreamSource(options: {
  streams: DynamoDBStreamsClient;
  streamArn: string;
  functionArn: string;
  mapping: StreamMapping;
  invoke: Invoke;
  /** Puts a message into the failure destination. */
  sendFailure: (message: string) => Promise<void>;
  checkpoints: Checkpoints;
  log: Log;
  pollMs?: number;
}): EventSource {
  const { streams, streamArn, mapping, invoke, checkpoints, log, pollMs = POLL_MS } = options;
  const stopping = new AbortController();
  const { signal } = stopping;
  const passes = compileFilters(mapping.filterPatterns);
  const finished = new Set<string>();
  const reading = new Map<string, Promise<void>>();

  async function watchShards(): Promise<void> {
    while (!signal.aborted) {
      try {
        const shards = await listShards();
        const known = new Set(shards.map(idOf));
        for (const shard of shards) {
          const id = idOf(shard);
          const parent = shard.ParentShardId;
          const turn = !parent || !known.has(parent) || finished.has(parent);
          if (turn && !finished.has(id) && !reading.has(id)) reading.set(id, readShard(id));
        }
      } catch (error) {
        if (!signal.aborted) log.line(`DescribeStream failed: ${messageOf(error)}`);
      }
      await pause(NEW_SHARDS_EVERY_MS, signal);
    }
  }

  async function listShards(): Promise<Shard[]> {
    const shards: Shard[] = [];
    let start: string | undefined;
    do {
      const { StreamDescription: page } = await streams.send(
        new DescribeStreamCommand({ StreamArn: streamArn, ExclusiveStartShardId: start }),
        { abortSignal: signal },
      );
      shards.push(...(page?.Shards ?? []));
      start = page?.LastEvaluatedShardId;
    } while (start);
    return shards;
  }

  async function readShard(shardId: string): Promise<void> {
    let iterator: string | undefined;
    let failures = 0;
    while (!signal.aborted) {
      try {
        iterator ??= await iteratorOf(shardId);
        const { Records = [], NextShardIterator } = await streams.send(
          new GetRecordsCommand({ ShardIterator: iterator, Limit: batchLimit(mapping) }),
          { abortSignal: signal },
        );
        failures = 0;
        const records = Records.map((record) => withSeconds(record, Date.now()));
        await deliver(shardId, records.filter(isWanted));
        const last = Records.at(-1);
        if (last && !signal.aborted) checkpoints.set(shardId, sequenceNumberOf(last));
        if (!NextShardIterator) {
          finished.add(shardId);
          break;
        }
        iterator = NextShardIterator;
        if (Records.length === 0) await pause(pollMs, signal);
      } catch (error) {
        if (signal.aborted) break;
        iterator = undefined;
        if (error instanceof ResourceNotFoundException) {
          finished.add(shardId);
          break;
        }
        if (error instanceof ExpiredIteratorException) continue;
        log.line(`Reading ${shardId} failed: ${messageOf(error)}`);
        await pause(backoffMs(failures++, 2_000), signal);
      }
    }
    reading.delete(shardId);
  }

  /** After the last checkpoint, or from the oldest record if that has been trimmed. */
  async function iteratorOf(shardId: string): Promise<string | undefined> {
    const ask = async (
      from: Pick<GetShardIteratorInput, "ShardIteratorType" | "SequenceNumber">,
    ) => {
      const command = new GetShardIteratorCommand({
        StreamArn: streamArn,
        ShardId: shardId,
        ...from,
      });
      return (await streams.send(command, { abortSignal: signal })).ShardIterator;
    };
    const SequenceNumber = checkpoints.get(shardId);
    try {
      if (SequenceNumber)
        return await ask({ ShardIteratorType: "AFTER_SEQUENCE_NUMBER", SequenceNumber });
    } catch (error) {
      if (!(error instanceof TrimmedDataAccessException)) throw error;
    }
    return ask({ ShardIteratorType: "TRIM_HORIZON" });
  }

  const isWanted = (record: StreamRecord): boolean => passes(toLambdaRecord(record, streamArn));

  /** Hands a batch to the function until the function has taken it or the batch is given up. */
  async function deliver(shardId: string, batch: readonly StreamRecord[]): Promise<void> {
    let records = batch;
    for (let failed = 0; records.length > 0 && !signal.aborted; ) {
      const [tooOld, young] = partitionByAge(records);
      if (tooOld.length > 0) await giveUp(shardId, tooOld, "RecordAgeExceeded", failed);
      records = young;
      if (records.length === 0) return;

      const outcome = await attempt(records);
      if (outcome === "throttled") continue;
      if (outcome.ok || signal.aborted) return;
      if (mapping.bisectBatchOnFunctionError && records.length > 1) {
        const middle = Math.ceil(records.length / 2);
        await deliver(shardId, records.slice(0, middle));
        await deliver(shardId, records.slice(middle));
        return;
      }
      failed += 1;
      const { maximumRetryAttempts } = mapping;
      if (maximumRetryAttempts >= 0 && failed > maximumRetryAttempts) {
        await giveUp(shardId, records, "RetryAttemptsExhausted", failed);
        return;
      }
      await pause(backoffMs(failed - 1), signal);
    }
  }

  async function attempt(records: readonly StreamRecord[]): Promise<Outcome | "throttled"> {
    const event = { Records: records.map((record) => toLambdaRecord(record, streamArn)) };
    try {
      return await invoke(event, { waitMs: THROTTLE_WAIT_MS });
    } catch (error) {
      if (!(error instanceof ThrottledError)) throw error;
      await pause(pollMs, signal);
      return "throttled";
    }
  }

  function partitionByAge(records: readonly StreamRecord[]): [StreamRecord[], StreamRecord[]] {
    const limit = mapping.maximumRecordAgeSeconds;
    const oldest = limit < 0 ? Number.NEGATIVE_INFINITY : Date.now() / 1_000 - limit;
    const isOld = (record: StreamRecord) => createdAtSeconds(record) < oldest;
    return [records.filter(isOld), records.filter((record) => !isOld(record))];
  }

  async function giveUp(
    shardId: string,
    records: readonly StreamRecord[],
    condition: Condition,
    invokeCount: number,
  ): Promise<void> {
    const numbers = records.map(sequenceNumberOf);
    log.line(`${condition}: gave up ${numbers.length} records from ${numbers[0]}`);
    if (!mapping.failureQueueArn) return;
    const message = {
      requestContext: {
        requestId: randomUUID(),
        functionArn: options.functionArn,
        condition,
        approximateInvokeCount: invokeCount,
      },
      ...(invokeCount > 0 && {
        responseContext: {
          statusCode: 200,
          executedVersion: "$LATEST",
          functionError: "Unhandled",
        },
      }),
      version: "1.0",
      timestamp: new Date().toISOString(),
      DDBStreamBatchInfo: {
        shardId,
        startSequenceNumber: numbers[0],
        endSequenceNumber: numbers.at(-1),
        approximateArrivalOfFirstRecord: arrivalOf(records[0]),
        approximateArrivalOfLastRecord: arrivalOf(records.at(-1)),
        batchSize: records.length,
        streamArn,
      },
    };
    await options.sendFailure(JSON.stringify(message)).catch((error) => {
      log.line(`The failure destination did not take it: ${messageOf(error)}`);
    });
  }

  const watching = watchShards();
  return {
    async stop() {
      stopping.abort();
      await watching;
      await Promise.all(reading.values());
    },
  };
}

const idOf = (shard: Shard): string => String(shard.ShardId);

/** GetRecords takes at most 1,000, a mapping's batch size may be 10,000. */
const batchLimit = ({ batchSize }: StreamMapping): number => Math.min(1_000, batchSize);

const arrivalOf = (record: StreamRecord | undefined): string =>
  new Date(record ? createdAtSeconds(record) * 1_000 : 0).toISOString();
