import middy from "@middy/core";
import httpRouter, { type Route } from "@middy/http-router";
import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from "aws-lambda";
import { createDynamo, createSqs, createSsm } from "../../shared/aws/clients.ts";
import { createLogger } from "../../shared/aws/log.ts";
import { createNeverBlock } from "../../shared/aws/neverBlock.ts";
import { createParameters } from "../../shared/aws/parameters.ts";
import { createQueue } from "../../shared/aws/queue.ts";
import { readSettings } from "../../shared/aws/settings.ts";
import { createTable } from "../../shared/aws/table.ts";
import { createTokens } from "../../shared/aws/tokens.ts";
import { block, unblock } from "./blacklist.ts";
import { createFold } from "./fold.ts";
import { authenticated, errorAnswers, notFound, shape } from "./http.ts";
import { settings } from "./settings.ts";

const config = readSettings(settings, process.env);
const log = createLogger();
const parameters = createParameters(createSsm());
const tokens = createTokens(parameters, config.TOKENS_PARAMETER, log);
const table = createTable(createDynamo(), { tableName: config.TABLE_NAME, aclId: config.ACL_ID });
const queue = createQueue(createSqs(), {
  url: config.QUEUE_URL,
  aclId: config.ACL_ID,
  shards: config.QUEUE_SHARDS,
});
const blacklist = {
  fold: createFold(queue),
  neverBlock: createNeverBlock(parameters, config.NEVER_BLOCK_PARAMETER, table),
  expirySeconds: config.EXPIRY_TIME,
  maxExpirySeconds: config.MAX_EXPIRY_TIME,
  log,
};

const blockRoute = authenticated(tokens, "detector", ({ fields, caller, sourceIp }) =>
  block(fields, caller, sourceIp, blacklist, Date.now()),
);
const unblockRoute = authenticated(tokens, "operator", ({ fields, caller }) =>
  unblock(fields, caller, blacklist, Date.now()),
);

const health = async () => shape({ status: 200, body: { status: "ok" } });

const routes: Route<APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2>[] = [
  { method: "GET", path: "/health", handler: health },
  { method: "GET", path: "/blacklistip", handler: blockRoute },
  { method: "POST", path: "/blacklistip", handler: blockRoute },
  { method: "DELETE", path: "/blacklistip", handler: unblockRoute },
];

export const handler = middy<APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2>()
  .use(errorAnswers(log))
  .handler(httpRouter({ routes, notFoundResponse: notFound(routes) }));
