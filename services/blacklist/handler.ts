import type { APIGatewayProxyEventV2, Context } from "aws-lambda";
import { createAdded } from "../../shared/aws/added.ts";
import { createCallers } from "../../shared/aws/callers.ts";
import { createDynamo, createSqs, createSsm } from "../../shared/aws/clients.ts";
import { createLogger, createMetrics } from "../../shared/aws/log.ts";
import { createNeverBlock } from "../../shared/aws/neverBlock.ts";
import { createParameters } from "../../shared/aws/parameters.ts";
import { createQueue } from "../../shared/aws/queue.ts";
import { readSettings } from "../../shared/aws/settings.ts";
import { createActivities } from "../../shared/aws/table/activity.ts";
import { createAdditions } from "../../shared/aws/table/additions.ts";
import { createBlocks } from "../../shared/aws/table/blocks.ts";
import { createBudgets } from "../../shared/aws/table/budgets.ts";
import { partition } from "../../shared/aws/table/items.ts";
import { createOrderBook } from "../../shared/aws/table/orders.ts";
import { createOutstanding } from "../../shared/aws/table/outstanding.ts";
import { createSources } from "../../shared/aws/table/sources.ts";
import { createTargetStates } from "../../shared/aws/table/targetStates.ts";
import { createTokens } from "../../shared/aws/tokens.ts";
import { createDetectorActivity } from "./activity.ts";
import { createApp } from "./app.ts";
import type { Blacklist } from "./blacklist.ts";
import { createBudget } from "./budget.ts";
import { countReports, createCounts } from "./counts.ts";
import { createFold } from "./fold.ts";
import { createStandingOrders } from "./orders.ts";
import { createRefusals } from "./refusals.ts";
import { settings } from "./settings.ts";
import { createCallerSources } from "./sources.ts";

const config = readSettings(settings, process.env);
const log = createLogger();
const metrics = createMetrics(config.STAGE_NAME);
const counts = createCounts(metrics, Date.now);
const parameters = createParameters(createSsm(), () => counts.measure("ParameterUnreadable"));
const dynamo = createDynamo();
const tableConfig = { tableName: config.TABLE_NAME, list: config.LIST_NAME };
const addedIn = (partition: string) =>
  createAdded(createAdditions(dynamo, tableConfig, partition), log, Date.now);
const added = addedIn(partition.settings(config.LIST_NAME));
const addedTokens = addedIn(partition.tokens(config.LIST_NAME));
const callers = createCallers(parameters, config.CALLERS_PARAMETER, added, log, Date.now);
const tokens = createTokens(
  parameters,
  config.TOKENS_PARAMETER,
  addedTokens,
  callers,
  log,
  Date.now,
);
const states = createTargetStates(dynamo, tableConfig);
const orderBook = createOrderBook(dynamo, tableConfig, log);
const orders = createStandingOrders(orderBook, log, Date.now);
const queue = createQueue(createSqs(), {
  url: config.QUEUE_URL,
  list: config.LIST_NAME,
  shards: config.QUEUE_SHARDS,
});
const blacklist: Blacklist = {
  fold: createFold(queue, orders),
  orders,
  orderBook,
  budget: createBudget(
    createBudgets(dynamo, tableConfig),
    createOutstanding(dynamo, tableConfig),
    config.BLOCK_LIMIT,
    log,
  ),
  sources: createCallerSources(createSources(dynamo, tableConfig, log), log),
  activity: createDetectorActivity(
    createActivities(dynamo, tableConfig, log),
    log,
    countReports(metrics, config.WATCHED_DETECTORS),
  ),
  neverBlock: createNeverBlock(
    parameters,
    config.NEVER_BLOCK_PARAMETER,
    added,
    states,
    log,
    Date.now,
  ),
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
  refusals: createRefusals(log, Date.now),
  measure: counts.measure,
};
const app = createApp(tokens, blacklist, Date.now);

export async function handler(event: APIGatewayProxyEventV2, context: Context) {
  try {
    return await app(event, context);
  } finally {
    counts.publish();
  }
}
