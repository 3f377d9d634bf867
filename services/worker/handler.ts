import type { SQSEvent } from "aws-lambda";
import { createDynamo, createSqs, createSsm } from "../../shared/aws/clients.ts";
import { createDeadLetters } from "../../shared/aws/deadLetters.ts";
import { createLogger } from "../../shared/aws/log.ts";
import { createNeverBlock } from "../../shared/aws/neverBlock.ts";
import { createParameters } from "../../shared/aws/parameters.ts";
import { readSettings } from "../../shared/aws/settings.ts";
import { createAddresses } from "../../shared/aws/table/addresses.ts";
import { createTargetStates } from "../../shared/aws/table/targetStates.ts";
import { processBatch } from "./batch.ts";
import { settings } from "./settings.ts";

const config = readSettings(settings, process.env);
const log = createLogger();
const dynamo = createDynamo();
const tableConfig = { tableName: config.TABLE_NAME, list: config.LIST_NAME };
const worker = {
  addresses: createAddresses(dynamo, tableConfig, log),
  deadLetters: createDeadLetters(createSqs(), config.DEAD_LETTER_QUEUE_URL),
  policy: {
    escalation: { factor: config.REPEAT_PERCENT / 100, max: config.REPEAT_MAX },
    halfLife: config.SCORE_HALF_LIFE * 1000,
    corroboration: {
      threshold: config.CORROBORATION_THRESHOLD,
      window: config.CORROBORATION_WINDOW,
    },
  },
  neverBlock: createNeverBlock(
    createParameters(createSsm()),
    config.NEVER_BLOCK_PARAMETER,
    createTargetStates(dynamo, tableConfig),
  ),
  log,
};

export const handler = (event: SQSEvent) => processBatch(event.Records, worker, Date.now());
