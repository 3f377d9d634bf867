import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

// A server that answers as CrowdSec's LAPI has answered, or as a test tells it to.

export type Asked = {
  readonly startup: string | null;
  readonly key: string | undefined;
  readonly agent: string | undefined;
};

type Answers = (asked: Asked, response: ServerResponse, request: IncomingMessage) => void;

export type FakeLapi = {
  readonly url: string;
  /** What it was asked, in its order. */
  readonly asked: Asked[];
  /** What it answers from now on. */
  answers: Answers;
  stop(): Promise<void>;
};

export async function startLapi(answers: Answers = nothing): Promise<FakeLapi> {
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "", "http://lapi");
    if (pathname !== "/v1/decisions/stream") {
      response.writeHead(404).end();
      return;
    }
    const asked = {
      startup: searchParams.get("startup"),
      key: request.headers["x-api-key"]?.toString(),
      agent: request.headers["user-agent"],
    };
    lapi.asked.push(asked);
    lapi.answers(asked, response, request);
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const lapi: FakeLapi = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked: [],
    answers,
    stop: () =>
      new Promise((stopped) => {
        server.close(() => stopped());
        server.closeAllConnections();
      }),
  };
  return lapi;
}

export type StreamAnswer = {
  readonly new?: readonly object[] | null;
  readonly deleted?: readonly object[] | null;
};

/** Answers as JSON; null for the lists that are not given, as CrowdSec does. */
export function answer(response: ServerResponse, { new: added, deleted }: StreamAnswer = {}): void {
  response.writeHead(200, { "content-type": "application/json; charset=utf-8" });
  response.end(JSON.stringify({ deleted: deleted ?? null, new: added ?? null }));
}

export const nothing: Answers = (_, response) => answer(response);

/** A decision as the stream tells it. */
export const decision = (value: string, change: object = {}) => ({
  ...{ id: 1, duration: "3h59m57.5s", origin: "crowdsec", scenario: "crowdsecurity/ssh-bf" },
  ...{ scope: value.includes("/") ? "Range" : "Ip", type: "ban", value },
  ...change,
});

/** The answers of CrowdSec 1.4.6, as recorded, in their order. */
export const RECORDED: readonly { readonly when: string; readonly body: string }[] = readFileSync(
  new URL("../shared/detectors/fixtures/crowdsec-stream.jsonl", import.meta.url),
  "utf8",
)
  .split("\n")
  .filter(Boolean)
  .map((line) => JSON.parse(line))
  .map((one) => ({ when: one.when, body: one.answer.body }));
