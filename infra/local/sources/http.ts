import { randomBytes, randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { APIGatewayProxyEventV2 } from "aws-lambda";
import { SetupError } from "../errors.ts";
import { type Invoke, ThrottledError } from "../lambda.ts";
import { within } from "../waiting.ts";
import type { EventSource } from "./source.ts";

/** API Gateway's limits for an HTTP API. */
const MAX_BODY_BYTES = 10 * 1024 * 1024;
const MAX_HEADER_BYTES = 10_240;
const INTEGRATION_TIMEOUT_MS = 30_000;
/** Callers that are still sending by then are cut off. */
const STOP_TIMEOUT_MS = 6_000;

/** The answer to the caller. */
type Answer = {
  status: number;
  headers: Record<string, string>;
  cookies: readonly string[];
  body: Buffer;
};

/** A listening HTTP API. */
export type HttpSource = EventSource & { url: string };

/**
 * Serves an HTTP API of API Gateway whose `$default` route is a function, with payload format 2.0.
 *
 * @throws SetupError when the port is taken
 */
export async function startHttpSource(options: {
  port: number;
  accountId: string;
  invoke: Invoke;
}): Promise<HttpSource> {
  const running = new Set<Promise<void>>();
  const server = createServer({ maxHeaderSize: MAX_HEADER_BYTES }, (request, response) => {
    const exchange = serve(options, request)
      .catch(() => gatewayAnswer(500, "Internal Server Error"))
      .then((answer) => send(response, answer));
    running.add(exchange);
    exchange.finally(() => running.delete(exchange));
  });
  await new Promise<void>((listening, failed) => {
    server.once("error", (error: NodeJS.ErrnoException) =>
      failed(
        error.code === "EADDRINUSE"
          ? new SetupError(`Port ${options.port} is in use: choose another one with PORT.`)
          : error,
      ),
    );
    server.listen(options.port, "127.0.0.1", listening);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async stop() {
      const closed = new Promise((resolve) => server.close(resolve));
      await within(STOP_TIMEOUT_MS, Promise.all(running));
      server.closeAllConnections();
      await closed;
    },
  };
}

async function serve(
  { accountId, invoke }: { accountId: string; invoke: Invoke },
  request: IncomingMessage,
): Promise<Answer> {
  const body = await readBody(request);
  if (!body) return gatewayAnswer(413, "Request Entity Too Large");
  try {
    const outcome = await within(INTEGRATION_TIMEOUT_MS, invoke(toEvent(request, body, accountId)));
    if (!outcome) return gatewayAnswer(503, "Service Unavailable");
    return (outcome.ok && toAnswer(outcome.payload)) || gatewayAnswer(500, "Internal Server Error");
  } catch (error) {
    if (!(error instanceof ThrottledError)) throw error;
    return gatewayAnswer(503, "Service Unavailable");
  }
}

/** The whole body; `undefined` when it is too large, and then it is not kept. */
async function readBody(request: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length <= MAX_BODY_BYTES) chunks.push(chunk);
    else chunks.length = 0;
  }
  return length <= MAX_BODY_BYTES ? Buffer.concat(chunks) : undefined;
}

/**
 * The event of payload format 2.0.
 *
 * API Gateway decodes the path (`rawPath` notwithstanding) and leaves the query string unchanged; it joins
 * repeated values with commas, and moves the cookies out of the headers. It adds the caller's address to
 * `x-forwarded-for`, whatever the caller claims there.
 */
function toEvent(
  request: IncomingMessage,
  body: Buffer,
  accountId: string,
): APIGatewayProxyEventV2 {
  const [path = "/", rawQueryString = ""] = splitOnce(request.url ?? "/", "?");
  const rawPath = decoded(path);
  const { cookie, ...headers } = joinedHeaders(request);
  const sourceIp = request.socket.remoteAddress ?? "127.0.0.1";
  const forwardedFor = headers["x-forwarded-for"];
  const domainName = headers.host ?? "localhost";
  const now = new Date();
  const isText = isTextType(headers["content-type"]);
  const query = joinedQuery(rawQueryString);
  return {
    version: "2.0",
    routeKey: "$default",
    rawPath,
    rawQueryString,
    ...(cookie !== undefined && { cookies: cookie.split(/; ?/) }),
    headers: {
      ...headers,
      "x-amzn-trace-id": `Root=1-${Math.floor(now.getTime() / 1_000).toString(16)}-${randomBytes(12).toString("hex")}`,
      "x-forwarded-for": forwardedFor ? `${forwardedFor}, ${sourceIp}` : sourceIp,
      "x-forwarded-port": String(request.socket.localPort),
      "x-forwarded-proto": "http",
    },
    ...(rawQueryString !== "" && { queryStringParameters: query }),
    requestContext: {
      accountId,
      apiId: "local",
      domainName,
      domainPrefix: domainName.split(".")[0] ?? "",
      http: {
        method: request.method ?? "GET",
        path: rawPath,
        protocol: `HTTP/${request.httpVersion}`,
        sourceIp,
        userAgent: headers["user-agent"] ?? "",
      },
      requestId: randomUUID(),
      routeKey: "$default",
      stage: "$default",
      time: commonLogTime(now),
      timeEpoch: now.getTime(),
    },
    ...(body.length > 0 && { body: body.toString(isText ? "utf8" : "base64") }),
    isBase64Encoded: body.length > 0 && !isText,
  };
}

/**
 * What API Gateway passes on as text; anything else is base64, including forms and bodies without a type.
 */
const isTextType = (contentType = ""): boolean =>
  /^\s*(text\/|application\/(json|xml|javascript)\s*(;|$))/i.test(contentType);

function joinedHeaders(request: IncomingMessage): Record<string, string> {
  return Object.fromEntries(
    Object.entries(request.headersDistinct).map(([name, values = []]) => [name, values.join(",")]),
  );
}

function joinedQuery(rawQueryString: string): Record<string, string> {
  const byName = Map.groupBy(new URLSearchParams(rawQueryString), ([name]) => name);
  return Object.fromEntries(
    [...byName].map(([name, pairs]) => [name, pairs.map(([, value]) => value).join(",")]),
  );
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

/** `12/Mar/2020:19:03:58 +0000` */
function commonLogTime(date: Date): string {
  const [, day, month, year, time] = date.toUTCString().split(" ");
  return `${day}/${month}/${year}:${time} +0000`;
}

/**
 * What a function's answer means.
 *
 * API Gateway's inference: an object with a `statusCode` is a response; anything else is the JSON
 * body of a 200. An answer that cannot be one is `undefined`.
 */
function toAnswer(payload: unknown): Answer | undefined {
  if (typeof payload !== "object" || payload === null || !("statusCode" in payload)) {
    const text = typeof payload === "string" ? payload : JSON.stringify(payload);
    return {
      status: 200,
      headers: { "content-type": "application/json" },
      cookies: [],
      body: Buffer.from(text),
    };
  }
  const { statusCode, headers, cookies, body, isBase64Encoded } = payload as {
    statusCode: unknown;
    headers?: Record<string, unknown> | null;
    cookies?: unknown[] | null;
    body?: unknown;
    isBase64Encoded?: unknown;
  };
  const status = Number(statusCode);
  if (!Number.isInteger(status) || status < 100 || status > 599) return undefined;
  const text = typeof body === "string" ? body : body === undefined ? "" : JSON.stringify(body);
  return {
    status,
    headers: {
      "content-type": "text/plain;charset=UTF-8",
      ...Object.fromEntries(
        Object.entries(headers ?? {}).map(([name, value]) => [name.toLowerCase(), String(value)]),
      ),
    },
    cookies: (cookies ?? []).map(String),
    body: Buffer.from(text, isBase64Encoded === true ? "base64" : "utf8"),
  };
}

const gatewayAnswer = (status: number, message: string): Answer => ({
  status,
  headers: { "content-type": "application/json" },
  cookies: [],
  body: Buffer.from(JSON.stringify({ message })),
});

/** Headers that are the connection's, not the function's. */
const OWN_HEADERS = new Set(["connection", "content-length", "transfer-encoding"]);

function send(response: ServerResponse, { status, headers, cookies, body }: Answer): void {
  const own = Object.entries(headers).filter(([name]) => !OWN_HEADERS.has(name));
  response.writeHead(status, {
    ...Object.fromEntries(own),
    ...(cookies.length > 0 && { "set-cookie": [...cookies] }),
    ...(status === 204 || status === 304 ? {} : { "content-length": body.length }),
  });
  response.end(body);
}
