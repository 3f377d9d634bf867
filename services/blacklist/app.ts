import middy from "@middy/core";
import httpRouter, { type Route } from "@middy/http-router";
import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from "aws-lambda";
import type { Tokens } from "../../shared/aws/tokens.ts";
import type { Blacklist } from "./blacklist.ts";
import { block, blockAll } from "./block.ts";
import { authenticated, errorAnswers, notFound, shape } from "./http.ts";
import { list } from "./list.ts";
import { unblock } from "./unblock.ts";

/** The endpoint: its routes, and who may call them. */
export function createApp(tokens: Tokens, blacklist: Blacklist, clock: () => number) {
  const blockRoute = authenticated(tokens, "detector", ({ fields, caller, sourceIp }) =>
    "ips" in fields
      ? blockAll(fields, { caller, sourceIp, now: clock() }, blacklist)
      : block(fields, { caller, sourceIp, now: clock() }, blacklist),
  );
  const unblockRoute = authenticated(tokens, "operator", ({ fields, caller }) =>
    unblock(fields, caller, blacklist, clock()),
  );
  const listRoute = authenticated(tokens, "operator", ({ fields }) =>
    list(fields, blacklist, clock()),
  );
  const health = async () => shape({ status: 200, body: { status: "ok" } });

  const routes: Route<APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2>[] = [
    { method: "GET", path: "/health", handler: health },
    { method: "GET", path: "/blacklistip", handler: blockRoute },
    { method: "POST", path: "/blacklistip", handler: blockRoute },
    { method: "DELETE", path: "/blacklistip", handler: unblockRoute },
    { method: "GET", path: "/blacklist", handler: listRoute },
  ];

  return middy<APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2>()
    .use(errorAnswers(blacklist.log))
    .handler(httpRouter({ routes, notFoundResponse: notFound(routes) }));
}
