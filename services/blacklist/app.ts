import middy from "@middy/core";
import httpRouter, { type Route } from "@middy/http-router";
import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from "aws-lambda";
import type { Tokens } from "../../shared/aws/tokens.ts";
import { detectorNamed, takeAlerts } from "./alerts.ts";
import type { Access } from "./authenticate.ts";
import type { Blacklist, Request } from "./blacklist.ts";
import { block, blockAll } from "./block.ts";
import { type Answer, authenticated, type Call, errorAnswers, notFound, shape } from "./http.ts";
import { list } from "./list.ts";
import { listDetectors } from "./listDetectors.ts";
import { setMode } from "./mode.ts";
import { release } from "./release.ts";
import type { Fields } from "./request.ts";
import { undo } from "./undo.ts";

/** The endpoint: its routes, and who may call them. */
export function createApp(tokens: Tokens, blacklist: Blacklist, clock: () => number) {
  const route = (
    access: Access,
    handle: (fields: Fields, request: Request, blacklist: Blacklist) => Promise<Answer>,
  ) =>
    authenticated(tokens, access, blacklist, clock, ({ fields, request }) =>
      handle(fields, request, blacklist),
    );
  const alerts = ({ fields, documents, request, detector }: Call) =>
    takeAlerts(detectorNamed(detector), documents, fields, request, blacklist);
  const report: typeof block = (fields, request) =>
    "ips" in fields ? blockAll(fields, request, blacklist) : block(fields, request, blacklist);
  const health = async () => shape({ status: 200, body: { status: "ok" } });
  const talk = route({ role: "detector", isTokenInQuery: true }, report);

  const routes: Route<APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2>[] = [
    { method: "GET", path: "/health", handler: health },
    { method: "GET", path: "/blacklistip", handler: talk },
    { method: "POST", path: "/blacklistip", handler: route({ role: "detector" }, report) },
    { method: "DELETE", path: "/blacklistip", handler: route({ role: "detector" }, release) },
    {
      method: "POST",
      path: "/alerts/{detector}",
      handler: authenticated(
        tokens,
        { role: "detector", hasDocuments: true },
        blacklist,
        clock,
        alerts,
      ),
    },
    { method: "GET", path: "/blacklist", handler: route({ role: "reader" }, list) },
    { method: "DELETE", path: "/blacklist", handler: route({ role: "operator" }, undo) },
    {
      method: "GET",
      path: "/detectors",
      handler: route({ role: "reader" }, (_, request) => listDetectors(request, blacklist)),
    },
    { method: "PUT", path: "/mode", handler: route({ role: "operator" }, setMode) },
  ];

  return middy<APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2>()
    .use(errorAnswers(blacklist))
    .handler(httpRouter({ routes, notFoundResponse: notFound(routes) }));
}
