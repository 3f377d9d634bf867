import type { MiddlewareObj } from "@middy/core";
import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from "aws-lambda";
import type { Logger } from "../../shared/aws/log.ts";
import { type Origin, QueueUnavailableError } from "../../shared/aws/queue.ts";
import type { LastRefusal, Seen } from "../../shared/aws/table/activity.ts";
import type { Tokens } from "../../shared/aws/tokens.ts";
import type { EpochMillis } from "../../shared/domain/time.ts";
import { type Access, authenticate, type Content } from "./authenticate.ts";
import type { Blacklist, Metric, Request } from "./blacklist.ts";
import { Refusal, unavailable } from "./errors.ts";

/** A route's answer. */
export type Answer = {
  readonly status: number;
  readonly body: object;
  readonly headers?: Readonly<Record<string, string>>;
  /** What became of a detector's reports. */
  readonly seen?: Seen;
};

/** A call of a caller that is recognised. */
export type Call = Content & {
  readonly request: Request;
  /** The variable part of the path. */
  readonly detector: string | undefined;
};

/** A route for recognised callers whose role suffices. */
export function authenticated(
  tokens: Tokens,
  access: Access,
  { sources, activity, measure }: Pick<Blacklist, "sources" | "activity" | "measure">,
  clock: () => number,
  handle: (call: Call) => Promise<Answer>,
) {
  return async (event: APIGatewayProxyEventV2): Promise<APIGatewayProxyStructuredResultV2> => {
    const now = clock();
    const origin = originOf(event);
    const { sourceIp } = origin;
    const source = sources.addressOf(sourceIp);
    const { caller, read } = await authenticate(event, access, { tokens, measure }, source, now);
    const trace = { ...origin, caller: caller.name };
    const noted = sources.note(sourceIp, now);
    const request = { caller, source, now, origin, trace };
    const detector = event.pathParameters?.detector;
    try {
      const answer = await handle({ ...(await read()), request, detector });
      if (answer.seen) await activity.saw(caller.name, answer.seen, now);
      return shape(answer);
    } catch (error) {
      if (error instanceof Refusal) error.caller = caller.name;
      if (access.role === "detector") await activity.saw(caller.name, refusedFor(error, now), now);
      throw error;
    } finally {
      await noted;
    }
  };
}

function refusedFor(error: unknown, now: EpochMillis): Seen {
  return { accepted: 0, refused: 1, lastRefusal: lastRefusalOf(error, now) };
}

/** The sentence is included only if it is entirely ours: others may repeat what the caller sent. */
export function lastRefusalOf(error: unknown, at: EpochMillis): LastRefusal {
  if (!(error instanceof Refusal)) return { code: "unavailable", at };
  const { code, message } = error;
  return { code, ...(code === "not_understood" && { message }), at };
}

/** Where a request came from, as the gateway saw it, so that a stolen token can be traced. */
function originOf({ requestContext }: APIGatewayProxyEventV2): Origin {
  return { sourceIp: requestContext.http.sourceIp, gatewayRequestId: requestContext.requestId };
}

/** The router's answer to unknown routes: 405 for another method of a known path, else 404. */
export function notFound(routes: readonly { readonly method: string; readonly path: string }[]) {
  return ({ path }: { path: string }): never => {
    const plain = path.length > 1 ? path.replace(/\/$/, "") : path;
    const isIt = (pattern: string) =>
      new RegExp(`^${pattern.replace(/\{\w+\}/g, "[^/]+")}$`).test(plain);
    const methods = routes.filter((route) => isIt(route.path)).map(({ method }) => method);
    if (methods.length === 0) throw new Refusal(404, "not_found", "There is no such path.");
    const allow = methods.join(", ");
    throw new Refusal(405, "method_not_allowed", `This path takes ${allow}.`, { allow });
  };
}

/** The metrics that the alarms watch, by status. */
const METRICS: Readonly<Record<number, Metric>> = {
  401: "Unauthorized",
  403: "Forbidden",
  429: "OverBudget",
};

/** The one place that maps errors to answers. */
export function errorAnswers({
  log,
  refusals,
  measure,
}: Pick<Blacklist, "log" | "refusals" | "measure">): MiddlewareObj<
  APIGatewayProxyEventV2,
  APIGatewayProxyStructuredResultV2
> {
  return {
    before: () => refusals.endMinute(),
    onError: (request) => {
      const { status, code, message, headers, caller } = refusalOf(request.error, log);
      refusals.note(code, { status, code, caller, ...originOf(request.event) });
      const metric = METRICS[status];
      if (metric) measure(metric);
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

/** An answer in the gateway's format. */
export function shape({ status, body, headers }: Answer): APIGatewayProxyStructuredResultV2 {
  return {
    statusCode: status,
    headers: { "content-type": "application/json", "cache-control": "no-store", ...headers },
    body: JSON.stringify(body),
  };
}
