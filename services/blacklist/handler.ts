import { createDynamo, createSqs, createSsm } from "../../shared/aws/clients.ts";
import { createLogger } from "../../shared/aws/log.ts";
import { createNeverBlock } from "../../shared/aws/neverBlock.ts";
import { createParameters } from "../../shared/aws/parameters.ts";
import { createQueue } from "../../shared/aws/queue.ts";
import { readSettings } from "../../shared/aws/settings.ts";
import { createTable } from "../../shared/aws/table.ts";
import { createTokens } from "../../shared/aws/tokens.ts";
import { createApp } from "./app.ts";
import { createFold } from "./fold.ts";
import { settings } from "./settings.ts";
import { createUnblocks } from "./unblocks.ts";

const config = readSettings(settings, process.env);
const log = createLogger();
const parameters = createParameters(createSsm());
const tokens = createTokens(parameters, config.TOKENS_PARAMETER, log);
const table = createTable(
  createDynamo(),
  { tableName: config.TABLE_NAME, aclId: config.ACL_ID },
  log,
);
const queue = createQueue(createSqs(), {
  url: config.QUEUE_URL,
  aclId: config.ACL_ID,
  shards: config.QUEUE_SHARDS,
});
const blacklist = {
  fold: createFold(queue, createUnblocks(table, log, Date.now)),
  neverBlock: createNeverBlock(parameters, config.NEVER_BLOCK_PARAMETER, table),
  expirySeconds: config.EXPIRY_TIME,
  maxExpirySeconds: config.MAX_EXPIRY_TIME,
  holdSeconds: config.HOLD_TIME,
  table,
  log,
};

export const handler = createApp(tokens, blacklist, Date.now);
