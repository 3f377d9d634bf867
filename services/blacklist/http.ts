import type { MiddlewareObj } from "@middy/core";
import httpJsonBodyParser from "@middy/http-json-body-parser";
import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from "aws-lambda";
import type { Logger } from "../../shared/aws/log.ts";
import { QueueUnavailableError } from "../../shared/aws/queue.ts";
import type { Caller, Tokens } from "../../shared/aws/tokens.ts";
import { badRequest, forbidden, Refusal, unauthorized, unavailable } from "./errors.ts";
import { allFields, checkSize, type Fields, queryFields, tokenOf } from "./request.ts";

/** What a route answers. */
export type Answer = {
  readonly status: number;
  readonly body: object;
  readonly headers?: Readonly<Record<string, string>>;
};

export type Authenticated = {
  readonly fields: Fields;
  readonly caller: Caller;
  readonly sourceIp: string;
};

/**
 * A route for callers with a token. A token in header or query string is checked before the body is
 * even parsed.
 */
export function authenticated(
  tokens: Tokens,
  role: Caller["role"],
  handle: (request: Authenticated) => Promise<Answer>,
) {
  const identify = async (token: string): Promise<Caller> => {
    const caller = await tokens.callerOf(token).catch(() => {
      throw unavailable("Tokens cannot be checked now.");
    });
    if (!caller) throw unauthorized();
    // An operator may do what a detector may.
    if (role === "operator" && caller.role !== "operator") throw forbidden();
    return caller;
  };
  return async (event: APIGatewayProxyEventV2): Promise<APIGatewayProxyStructuredResultV2> => {
    checkSize(event);
    const query = queryFields(event);
    const token = tokenOf(event, query);
    const early = token === undefined ? undefined : await identify(token);
    const fields = allFields(query, await parseBody(event));
    const caller = early ?? (await identify(tokenOf(event, fields) ?? ""));
    const { sourceIp } = event.requestContext.http;
    const answer = await handle({ fields, caller, sourceIp }).catch((error) => {
      if (error instanceof Refusal) error.caller = caller.name;
      throw error;
    });
    return shape(answer);
  };
}

const jsonBodyParser = httpJsonBodyParser();

/** The JSON body of a POST; undefined where there is none. @throws Refusal 400, 415 */
async function parseBody(event: APIGatewayProxyEventV2): Promise<unknown> {
  if (event.requestContext.http.method !== "POST" || !event.body) return undefined;
  const type = event.headers["content-type"]?.toLowerCase().replace(/\s*;/, ";");
  const copy = { ...event, headers: { "content-type": type } };
  try {
    // The middleware replaces the body of the event that it is given.
    await jsonBodyParser.before?.({ event: copy } as never);
  } catch (error) {
    if ((error as Error).message === "Unsupported Media Type") {
      throw new Refusal(415, "unsupported_media_type", "The body must be application/json.");
    }
    throw badRequest("invalid_json", "The body is not valid JSON.");
  }
  return copy.body;
}

/** The router's answer to what it does not know: 405 for another method of a known path, else 404. */
export function notFound(routes: readonly { readonly method: string; readonly path: string }[]) {
  return ({ path }: { path: string }): never => {
    const plain = path.length > 1 ? path.replace(/\/$/, "") : path;
    const methods = routes.filter((route) => route.path === plain).map(({ method }) => method);
    if (methods.length === 0) throw new Refusal(404, "not_found", "There is no such path.");
    const allow = methods.join(", ");
    throw new Refusal(405, "method_not_allowed", `This path takes ${allow}.`, { allow });
  };
}

/** The one place that maps errors to answers. */
export function errorAnswers(
  log: Logger,
): MiddlewareObj<APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2> {
  return {
    onError: (request) => {
      const { status, code, message, headers, caller } = refusalOf(request.error, log);
      if (status < 500) log.info("Refused", { status, code, caller });
      request.response = shape({ status, body: { error: { code, message } }, headers });
    },
  };
}

function refusalOf(error: Error | null | undefined, log: Logger): Refusal {
  if (error instanceof Refusal) {
    if (error.status >= 500) log.error(error.message, error);
    return error;
  }
  if (error instanceof QueueUnavailableError) {
    log.error(error.message, error);
    return unavailable("The queue cannot take it now.");
  }
  log.error("Unexpected error", error ?? new Error("unknown"));
  return new Refusal(500, "internal", "Something went wrong; nothing was accepted.");
}

/** An answer as the gateway takes it. */
export function shape({ status, body, headers }: Answer): APIGatewayProxyStructuredResultV2 {
  return {
    statusCode: status,
    headers: { "content-type": "application/json", "cache-control": "no-store", ...headers },
    body: JSON.stringify(body),
  };
}
