import { createDynamo, createSqs, createSsm } from "../../shared/aws/clients.ts";
import { createLogger } from "../../shared/aws/log.ts";
import { createNeverBlock } from "../../shared/aws/neverBlock.ts";
import { createParameters } from "../../shared/aws/parameters.ts";
import { createQueue } from "../../shared/aws/queue.ts";
import { readSettings } from "../../shared/aws/settings.ts";
import { createBlocks } from "../../shared/aws/table/blocks.ts";
import { createTargetStates } from "../../shared/aws/table/targetStates.ts";
import { createUnblockCount } from "../../shared/aws/table/unblockCount.ts";
import { createTokens } from "../../shared/aws/tokens.ts";
import { createApp } from "./app.ts";
import { createFold } from "./fold.ts";
import { settings } from "./settings.ts";
import { createUnblocks } from "./unblocks.ts";

const config = readSettings(settings, process.env);
const log = createLogger();
const parameters = createParameters(createSsm());
const tokens = createTokens(parameters, config.TOKENS_PARAMETER, log);
const dynamo = createDynamo();
const tableConfig = { tableName: config.TABLE_NAME, list: config.LIST_NAME };
const states = createTargetStates(dynamo, tableConfig);
const queue = createQueue(createSqs(), {
  url: config.QUEUE_URL,
  list: config.LIST_NAME,
  shards: config.QUEUE_SHARDS,
});
const blacklist = {
  fold: createFold(queue, createUnblocks(createUnblockCount(dynamo, tableConfig), log, Date.now)),
  neverBlock: createNeverBlock(parameters, config.NEVER_BLOCK_PARAMETER, states),
  expirySeconds: config.EXPIRY_TIME,
  maxExpirySeconds: config.MAX_EXPIRY_TIME,
  holdSeconds: config.HOLD_TIME,
  blocks: createBlocks(dynamo, tableConfig, log),
  states,
  targets: [
    ...config.ACL_ID.map((id) => ({ id, kind: "networkAcl" as const })),
    ...config.WAF_IP_SETS.map((id) => ({ id, kind: "wafIpSet" as const })),
  ],
  log,
};

export const handler = createApp(tokens, blacklist, Date.now);
