import { request } from "node:http";
import { afterEach, describe, expect, it } from "@jest/globals";
import type { APIGatewayProxyEventV2 } from "aws-lambda";
import { SetupError } from "../errors.ts";
import { ThrottledError } from "../lambda.ts";
import { type HttpSource, startHttpSource } from "../sources/http.ts";
import { stubFunction } from "./support/fixtures.ts";

let api: HttpSource | undefined;
afterEach(async () => {
  await api?.stop();
  api = undefined;
});

async function start(answer?: (event: APIGatewayProxyEventV2) => unknown) {
  const stub = stubFunction<APIGatewayProxyEventV2>(answer);
  api = await startHttpSource({ port: 0, accountId: "000000000000", invoke: stub.invoke });
  return { url: api.url, events: stub.events };
}

/** The event that one request makes. */
async function eventOf(path: string, init?: RequestInit): Promise<APIGatewayProxyEventV2> {
  const { url, events } = await start();
  await fetch(url + path, init);
  const [event] = events;
  if (!event) throw new Error("no event");
  return event;
}

/** What one answer of the function comes to. */
async function answerOf(answer: unknown) {
  const { url } = await start(() => answer);
  const response = await fetch(url);
  return {
    status: response.status,
    type: response.headers.get("content-type"),
    headers: response.headers,
    body: await response.text(),
  };
}

describe("the event", () => {
  it("has payload format 2.0", async () => {
    const event = await eventOf("/blacklistip?ip=192.0.2.1", { headers: { "user-agent": "me" } });
    expect(event).toMatchObject({
      version: "2.0",
      routeKey: "$default",
      rawPath: "/blacklistip",
      rawQueryString: "ip=192.0.2.1",
      queryStringParameters: { ip: "192.0.2.1" },
      isBase64Encoded: false,
      requestContext: {
        accountId: "000000000000",
        http: {
          method: "GET",
          path: "/blacklistip",
          protocol: "HTTP/1.1",
          sourceIp: "127.0.0.1",
          userAgent: "me",
        },
        stage: "$default",
        requestId: expect.any(String),
        time: expect.stringMatching(/^\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d \+0000$/),
        timeEpoch: expect.any(Number),
      },
    });
    expect(event).not.toHaveProperty("body");
    expect(event).not.toHaveProperty("cookies");
  });

  it("has no parameters without a query string", async () => {
    expect(await eventOf("/health")).not.toHaveProperty("queryStringParameters");
  });

  it("joins repeated parameters with commas and decodes them, not so the raw string", async () => {
    const event = await eventOf("/?a=1&b=x%20y+z&a=2&__proto__=p&broken=%zz");
    expect(event.rawQueryString).toBe("a=1&b=x%20y+z&a=2&__proto__=p&broken=%zz");
    expect(Object.entries(event.queryStringParameters ?? {})).toEqual([
      ["a", "1,2"],
      ["b", "x y z"],
      ["__proto__", "p"],
      ["broken", "%zz"],
    ]);
  });

  it("has the path decoded", async () => {
    expect((await eventOf("/a%20b/%zz")).rawPath).toBe("/a%20b/%zz");
    await api?.stop();
    expect((await eventOf("/a%20b")).rawPath).toBe("/a b");
  });

  it("has lower-case headers, repeated ones joined, and the cookies beside them", async () => {
    const { url, events } = await start();
    await new Promise((done, failed) => {
      const call = request(
        url,
        { headers: { "X-A": ["1", "2"], Cookie: "a=1; b=2" } },
        (response) => response.resume().once("end", done),
      );
      call.once("error", failed).end();
    });
    expect(events[0]?.headers).toMatchObject({ "x-a": "1,2" });
    expect(events[0]?.headers).not.toHaveProperty("cookie");
    expect(events[0]?.cookies).toEqual(["a=1", "b=2"]);
  });

  it("tells the caller's address after what the caller claims", async () => {
    const event = await eventOf("/", { headers: { "x-forwarded-for": "203.0.113.9" } });
    expect(event.headers["x-forwarded-for"]).toBe("203.0.113.9, 127.0.0.1");
  });

  it.each([
    ["application/json", "ä", "ä", false],
    ["application/json; charset=utf-8", "ä", "ä", false],
    ["text/plain", "ä", "ä", false],
    ["application/x-www-form-urlencoded", "a=1", "YT0x", true],
    ["application/octet-stream", "hi", "aGk=", true],
    ["application/jsonish", "hi", "aGk=", true],
  ])("has a body of %s as API Gateway gives it", async (type, sent, body, isBase64Encoded) => {
    const event = await eventOf("/", {
      method: "POST",
      headers: { "content-type": type },
      body: sent,
    });
    expect(event).toMatchObject({ body, isBase64Encoded });
  });

  it("has a body without a type in base64", async () => {
    const event = await eventOf("/", { method: "POST", body: Buffer.from("hi") });
    expect(event).toMatchObject({ body: "aGk=", isBase64Encoded: true });
  });
});

describe("the answer", () => {
  it("is the function's response", async () => {
    const answer = await answerOf({
      statusCode: 202,
      headers: { "Content-Type": "application/json", "X-N": 1 },
      cookies: ["a=1", "b=2"],
      body: "{}",
    });
    expect(answer).toMatchObject({ status: 202, type: "application/json", body: "{}" });
    expect(answer.headers.get("x-n")).toBe("1");
    expect(answer.headers.getSetCookie()).toEqual(["a=1", "b=2"]);
  });

  it("is text where the function names no type, and decoded where it says base64", async () => {
    expect(await answerOf({ statusCode: 200, body: "aGk=", isBase64Encoded: true })).toMatchObject({
      body: "hi",
      type: "text/plain;charset=UTF-8",
    });
  });

  it("is the JSON of a 200 when it has no status", async () => {
    expect(await answerOf({ a: 1 })).toMatchObject({
      status: 200,
      type: "application/json",
      body: '{"a":1}',
    });
  });

  it.each([
    ["throws", () => Promise.reject(new Error("no"))],
    ["answers a status that is none", () => ({ statusCode: "fine" })],
  ])("is a 500 of the gateway when the function %s", async (_, answer) => {
    const { url } = await start(answer);
    const response = await fetch(url);
    expect([response.status, await response.json()]).toEqual([
      500,
      { message: "Internal Server Error" },
    ]);
  });

  it("is a 503 of the gateway when the function is throttled", async () => {
    const { url } = await start(() => {
      throw new ThrottledError();
    });
    const response = await fetch(url);
    expect([response.status, await response.json()]).toEqual([
      503,
      { message: "Service Unavailable" },
    ]);
  });

  it("is a 413 of the gateway for more than 10 MB, which no function sees", async () => {
    const { url, events } = await start();
    const post = (bytes: number) => fetch(url, { method: "POST", body: Buffer.alloc(bytes) });
    const tooLarge = await post(10 * 1024 * 1024 + 1);
    expect([tooLarge.status, await tooLarge.json()]).toEqual([
      413,
      { message: "Request Entity Too Large" },
    ]);
    expect(events).toHaveLength(0);
    expect((await post(10 * 1024 * 1024)).status).toBe(200);
  });
});

it("names the port that is in use", async () => {
  const { url } = await start();
  const port = Number(new URL(url).port);
  const { invoke } = stubFunction();
  const second = startHttpSource({ port, accountId: "000000000000", invoke });
  await expect(second).rejects.toThrow(SetupError);
  await expect(second).rejects.toThrow(String(port));
});
