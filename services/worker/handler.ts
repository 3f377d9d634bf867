import type { SQSEvent } from "aws-lambda";
import { createAdded } from "../../shared/aws/added.ts";
import { createCallers, detectorsNamed } from "../../shared/aws/callers.ts";
import { createDynamo, createSqs, createSsm } from "../../shared/aws/clients.ts";
import { createDeadLetters } from "../../shared/aws/deadLetters.ts";
import { createLogger, createMetrics } from "../../shared/aws/log.ts";
import { createNeverBlock } from "../../shared/aws/neverBlock.ts";
import { createParameters } from "../../shared/aws/parameters.ts";
import { createQueue } from "../../shared/aws/queue.ts";
import { readSettings } from "../../shared/aws/settings.ts";
import { createAdditions } from "../../shared/aws/table/additions.ts";
import { createAddresses } from "../../shared/aws/table/addresses.ts";
import { createBlocks } from "../../shared/aws/table/blocks.ts";
import { partition } from "../../shared/aws/table/items.ts";
import { createOrderBook } from "../../shared/aws/table/orders.ts";
import { createOutstanding } from "../../shared/aws/table/outstanding.ts";
import { createTargetStates } from "../../shared/aws/table/targetStates.ts";
import { processBatch } from "./batch.ts";
import { settings } from "./settings.ts";
import type { Worker } from "./worker.ts";

const config = readSettings(settings, process.env);
const log = createLogger();
const metrics = createMetrics(config.STAGE_NAME);
const dynamo = createDynamo();
const sqs = createSqs();
const parameters = createParameters(createSsm());
const tableConfig = { tableName: config.TABLE_NAME, list: config.LIST_NAME };
const added = createAdded(
  createAdditions(dynamo, tableConfig, partition.settings(config.LIST_NAME)),
  log,
  Date.now,
);
const worker: Worker = {
  addresses: createAddresses(dynamo, tableConfig, log),
  blocks: createBlocks(dynamo, tableConfig, log),
  orders: createOrderBook(dynamo, tableConfig, log),
  outstanding: createOutstanding(dynamo, tableConfig),
  queue: createQueue(sqs, {
    url: config.QUEUE_URL,
    list: config.LIST_NAME,
    shards: 1, // the worker itself sends only the pages of undos and the few blocks from events
  }),
  deadLetters: createDeadLetters(sqs, config.DEAD_LETTER_QUEUE_URL),
  callers: createCallers(
    parameters,
    config.CALLERS_PARAMETER,
    added,
    log,
    Date.now,
    detectorsNamed(config.EVENT_DETECTORS),
  ),
  maxExpirySeconds: config.MAX_EXPIRY_TIME,
  policy: {
    escalation: { factor: config.REPEAT_PERCENT / 100, max: config.REPEAT_MAX },
    withdrawalGrace: config.WITHDRAWAL_GRACE,
    halfLife: config.SCORE_HALF_LIFE * 1000,
    corroboration: {
      threshold: config.CORROBORATION_THRESHOLD,
      window: config.CORROBORATION_WINDOW,
    },
  },
  neverBlock: createNeverBlock(
    parameters,
    config.NEVER_BLOCK_PARAMETER,
    added,
    createTargetStates(dynamo, tableConfig),
    log,
    Date.now,
  ),
  log,
  measure: (name, count) => metrics.addMetric(name, "Count", count),
};

export async function handler(event: SQSEvent) {
  try {
    return await processBatch(event.Records, worker, Date.now());
  } finally {
    // It warns of a batch that has counted nothing.
    if (metrics.hasStoredMetrics()) metrics.publishStoredMetrics();
  }
}
