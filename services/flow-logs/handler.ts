import type { CloudWatchLogsEvent } from "aws-lambda";
import { createDynamo, createSqs, patient } from "../../shared/aws/clients.ts";
import { createLogger, createMetrics } from "../../shared/aws/log.ts";
import { createQueue } from "../../shared/aws/queue.ts";
import { readSettings } from "../../shared/aws/settings.ts";
import { createBlocks } from "../../shared/aws/table/blocks.ts";
import { createTargetStates } from "../../shared/aws/table/targetStates.ts";
import { countKnocks, createExtend, type FlowLogs } from "./knocks.ts";
import { linesOf } from "./records.ts";
import { settings } from "./settings.ts";

const config = readSettings(settings, process.env);
const log = createLogger();
const metrics = createMetrics(config.STAGE_NAME);
const dynamo = createDynamo(patient);
const tableConfig = { tableName: config.TABLE_NAME, list: config.LIST_NAME };
const extend = createExtend(
  createBlocks(dynamo, tableConfig, log),
  createQueue(createSqs(), {
    url: config.QUEUE_URL,
    list: config.LIST_NAME,
    shards: config.QUEUE_SHARDS,
  }),
  config.EXPIRY_TIME,
  log,
);
const flowLogs: FlowLogs = {
  aclIds: config.ACL_ID,
  states: createTargetStates(dynamo, tableConfig),
  log,
  ...(config.FLOW_LOGS_EXTEND === "on" && { extend }),
};

/** Failures are not retried: only a count is lost, and the next records bring the next extension. */
export async function handler(event: CloudWatchLogsEvent): Promise<void> {
  const packets = await countKnocks(linesOf(event), flowLogs, Date.now());
  metrics.addMetric("Knocks", "Count", packets);
  metrics.publishStoredMetrics();
}
