import type { SQSEvent } from "aws-lambda";
import { createDynamo, createSqs, createSsm } from "../../shared/aws/clients.ts";
import { createDeadLetters } from "../../shared/aws/deadLetters.ts";
import { createLogger } from "../../shared/aws/log.ts";
import { createNeverBlock } from "../../shared/aws/neverBlock.ts";
import { createParameters } from "../../shared/aws/parameters.ts";
import { readSettings } from "../../shared/aws/settings.ts";
import { createTable } from "../../shared/aws/table.ts";
import { workOff } from "./batch.ts";
import { settings } from "./settings.ts";

const config = readSettings(settings, process.env);
const log = createLogger();
const table = createTable(
  createDynamo(),
  { tableName: config.TABLE_NAME, aclId: config.ACL_ID },
  log,
);
const worker = {
  table,
  deadLetters: createDeadLetters(createSqs(), config.DEAD_LETTER_QUEUE_URL),
  escalation: { factor: config.REPEAT_PERCENT / 100, maxSeconds: config.REPEAT_MAX },
  corroboration: {
    threshold: config.CORROBORATION_THRESHOLD,
    windowSeconds: config.CORROBORATION_WINDOW,
  },
  neverBlock: createNeverBlock(createParameters(createSsm()), config.NEVER_BLOCK_PARAMETER, table),
  log,
};

export const handler = (event: SQSEvent) => workOff(event.Records, worker, Date.now());
