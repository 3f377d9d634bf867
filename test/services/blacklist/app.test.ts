import { beforeEach, describe, expect, test } from "@jest/globals";
import { PROTECTED } from "../../../services/blacklist/intake.ts";
import { protect } from "../../../shared/domain/neverBlock.ts";
import {
  bearer,
  type Call,
  GATEWAY_REQUEST,
  json,
  queueDown,
  SOURCE_IP,
  startEndpoint,
} from "../../support/endpoint.ts";
import { NOW } from "../../support/reports.ts";
import { DETECTOR_TOKEN, OPERATOR_TOKEN, READER_TOKEN } from "../../support/tokens.ts";

type Endpoint = ReturnType<typeof startEndpoint>;

let endpoint: Endpoint;
beforeEach(() => {
  endpoint = startEndpoint();
});

const error = (code: string) => ({ error: { code, message: expect.stringMatching(/^[^\n]+\.$/) } });
const ADDRESS = "203.0.113.9";
const URL = `/blacklistip?ip=${ADDRESS}`;
const asDetector = { headers: bearer(DETECTOR_TOKEN) };
const asOperator = { headers: bearer(OPERATOR_TOKEN) };

describe("a detector's report", () => {
  test("is queued, and answered with what became of it", async () => {
    const answer = await endpoint.report({
      ip: ADDRESS,
      expiryTime: 600,
      severity: 8,
      reason: "port scan",
    });
    expect(answer).toMatchObject({
      status: 202,
      headers: { "content-type": "application/json", "cache-control": "no-store" },
    });
    expect(answer.body).toEqual({
      status: "queued",
      requestId: expect.stringMatching(/^[0-9a-f-]{36}$/),
      cidr: "203.0.113.9/32",
      expiresAt: NOW / 1000 + 600,
    });
    expect(endpoint.messages()).toEqual([
      {
        kind: "block",
        cidr: "203.0.113.9/32",
        expiresAt: NOW / 1000 + 600,
        reportedAt: NOW,
        severity: 8,
        reason: "port scan",
        detector: "suricata",
        count: 1,
        requestId: answer.body.requestId,
        origin: { sourceIp: SOURCE_IP, gatewayRequestId: GATEWAY_REQUEST },
      },
    ]);
  });

  test("may be the call of the talk, to the letter", async () => {
    const url = `/blacklistip?accessToken=${DETECTOR_TOKEN}&ip=${ADDRESS}`;
    expect(await endpoint.call("GET", url)).toMatchObject({
      status: 202,
      body: { status: "queued", cidr: "203.0.113.9/32", expiresAt: NOW / 1000 + 3_600 },
    });
    expect(endpoint.messages()).toMatchObject([{ kind: "block", severity: 5, reason: "" }]);
    expect(endpoint.queue.sent).toMatchObject([{ lane: "detectors" }]);
  });

  test("may be a POST with everything in the query string and no body", async () => {
    const url = `${URL}&expiryTime=60&severity=10&reason=brute%20force`;
    expect(await endpoint.call("POST", url, asDetector)).toMatchObject({ status: 202 });
    expect(endpoint.messages()).toMatchObject([
      { expiresAt: NOW / 1000 + 60, severity: 10, reason: "brute force" },
    ]);
  });

  test("may name some parameters in the query string and some in the body", async () => {
    const answer = await endpoint.call("POST", `${URL}&severity=7`, {
      headers: { ...bearer(DETECTOR_TOKEN), ...json },
      body: { expiryTime: 60 },
    });
    expect(answer).toMatchObject({ status: 202, body: { expiresAt: NOW / 1000 + 60 } });
    expect(endpoint.messages()).toMatchObject([{ severity: 7 }]);
  });

  test("may be an operator's", async () => {
    expect(await endpoint.call("POST", URL, asOperator)).toMatchObject({ status: 202 });
    expect(endpoint.messages()).toMatchObject([{ detector: "night-shift" }]);
    expect(endpoint.queue.sent).toMatchObject([{ lane: "operators" }]);
  });
});

describe("an operator's unblock", () => {
  test("goes through the same queue", async () => {
    const answer = await endpoint.call("DELETE", URL, asOperator);
    expect(answer).toMatchObject({ status: 202 });
    expect(answer.body).toEqual({
      status: "queued",
      requestId: expect.any(String),
      cidr: "203.0.113.9/32",
    });
    expect(endpoint.messages()).toEqual([
      {
        kind: "unblock",
        cidr: "203.0.113.9/32",
        requestedAt: NOW,
        operator: "night-shift",
        holdUntil: 0,
        requestId: answer.body.requestId,
      },
    ]);
  });

  test("of something that is no address is refused", async () => {
    expect(await endpoint.call("DELETE", "/blacklistip?ip=nonsense", asOperator)).toMatchObject({
      status: 400,
      body: error("invalid_ip"),
    });
  });

  test("is no detector's to ask for, nor is a hold", async () => {
    await endpoint.call("DELETE", URL, asDetector);
    expect(endpoint.messages().map(({ kind }) => kind)).toEqual(["withdraw"]);
    expect(await endpoint.call("DELETE", `${URL}&hold=60`, asDetector)).toMatchObject({
      status: 403,
      body: error("forbidden"),
    });
  });

  test("is refused while the queue is down", async () => {
    endpoint.queue.failure = queueDown();
    expect(await endpoint.call("DELETE", URL, asOperator)).toMatchObject({
      status: 503,
      headers: { "retry-after": expect.stringMatching(/^[1-9]\d*$/) },
      body: error("unavailable"),
    });
  });
});

test("health says that it is there, to anyone, and nothing more", async () => {
  const answer = await endpoint.call("GET", "/health");
  expect(answer).toMatchObject({ status: 200, body: { status: "ok" } });
  expect(Object.keys(answer.body)).toEqual(["status"]);
});

describe("tokens", () => {
  const accepted = { status: 202 };
  const refused = {
    status: 401,
    headers: { "www-authenticate": "Bearer" },
    body: error("unauthorized"),
  };
  const UNKNOWN = "unknown-token";

  test("are taken from the header", async () => {
    expect(await endpoint.call("GET", URL, asDetector)).toMatchObject(accepted);
  });

  test.each(["bearer", "BEARER", "Bearer  "])("with the scheme written as %j", async (scheme) => {
    const headers = { authorization: `${scheme.trimEnd()} ${DETECTOR_TOKEN}` };
    expect(await endpoint.call("GET", URL, { headers })).toMatchObject(accepted);
  });

  test("are taken from the query string of a detector's GET, and of no other call", async () => {
    const url = `${URL}&accessToken=${DETECTOR_TOKEN}`;
    expect(await endpoint.call("GET", url)).toMatchObject(accepted);
    expect(await endpoint.call("POST", url)).toMatchObject(refused);
  });

  test.each([
    ["GET", URL, OPERATOR_TOKEN],
    ["GET", "/blacklist?", OPERATOR_TOKEN],
    ["DELETE", URL, OPERATOR_TOKEN],
    ["DELETE", "/blacklist?detector=suricata&since=0", OPERATOR_TOKEN],
    ["PUT", "/mode?mode=off", OPERATOR_TOKEN],
    ["GET", "/blacklist?", READER_TOKEN],
  ])(
    "of operators and readers are taken from no query string: %s %s",
    async (method, url, token) => {
      expect(await endpoint.call(method, `${url}&accessToken=${token}`)).toMatchObject(refused);
      expect(endpoint.queue.sent).toEqual([]);
    },
  );

  test("are taken from a detector's body, and from nobody else's", async () => {
    const post = (accessToken: string) =>
      endpoint.call("POST", "/blacklistip", { headers: json, body: { ip: ADDRESS, accessToken } });
    expect(await post(DETECTOR_TOKEN)).toMatchObject(accepted);
    expect(await post(OPERATOR_TOKEN)).toMatchObject(refused);
    expect(await post(READER_TOKEN)).toMatchObject(refused);
    const body = { mode: "off", accessToken: OPERATOR_TOKEN };
    expect(await endpoint.call("PUT", "/mode", { headers: json, body })).toMatchObject(refused);
  });

  test.each([
    ["none at all", {}],
    ["an unknown one", { headers: bearer(UNKNOWN) }],
    ["an empty one", { headers: { authorization: "Bearer " } }],
    ["another scheme", { headers: { authorization: `Basic ${DETECTOR_TOKEN}` } }],
    ["no scheme", { headers: { authorization: DETECTOR_TOKEN } }],
    ["two in one header", { headers: bearer(`${DETECTOR_TOKEN} ${OPERATOR_TOKEN}`) }],
    ["one with a tail", { headers: bearer(`${DETECTOR_TOKEN},x`) }],
  ])("%s is refused", async (_what, call) => {
    expect(await endpoint.call("GET", URL, call)).toMatchObject(refused);
    expect(endpoint.messages()).toEqual([]);
  });

  test("the header's counts before those of query string and body", async () => {
    const body = { ip: ADDRESS, accessToken: UNKNOWN };
    const url = `${URL}&accessToken=${UNKNOWN}`;
    const headers = { ...bearer(DETECTOR_TOKEN), ...json };
    expect(await endpoint.call("POST", url, { headers, body })).toMatchObject(accepted);
  });

  test("a bad one in the header is refused, whatever query string and body hold", async () => {
    const headers = { ...bearer(UNKNOWN), ...json };
    const body = { ip: ADDRESS, accessToken: DETECTOR_TOKEN };
    const url = `${URL}&accessToken=${DETECTOR_TOKEN}`;
    expect(await endpoint.call("POST", url, { headers, body })).toMatchObject(refused);
  });

  test("a header that holds none is not passed over for one elsewhere", async () => {
    const headers = { authorization: `Basic ${DETECTOR_TOKEN}` };
    const url = `${URL}&accessToken=${DETECTOR_TOKEN}`;
    expect(await endpoint.call("GET", url, { headers })).toMatchObject(refused);
  });

  test("one in the body that is no string is refused", async () => {
    const body = { ip: ADDRESS, accessToken: [DETECTOR_TOKEN] };
    expect(await endpoint.call("POST", URL, { headers: json, body })).toMatchObject(refused);
  });

  test("a bad one is refused before its body is even parsed", async () => {
    const headers = { ...bearer(UNKNOWN), ...json };
    expect(await endpoint.call("POST", URL, { headers, body: "{" })).toMatchObject(refused);
  });

  test("that cannot be checked are answered 503, and nothing is accepted", async () => {
    const blind = startEndpoint({
      tokenList: () => {
        throw new Error("The parameter store is down.");
      },
    });
    expect(await blind.call("GET", URL, asDetector)).toMatchObject({
      status: 503,
      headers: { "retry-after": expect.any(String) },
      body: error("unavailable"),
    });
    expect(blind.messages()).toEqual([]);
  });
});

describe("never-block is 200: a retrying detector must not retry", () => {
  const ignored = (cidr: string, reason: string) => ({
    status: 200,
    body: { status: "ignored", cidr, reason },
  });
  const asOperatorReports = (fields: object, call: Call = {}) =>
    endpoint.report(fields, { ...call, headers: bearer(OPERATOR_TOKEN) });

  test.each([
    ["a private address", "10.1.2.3", "10.1.2.3/32", "private range"],
    ["a private range", "192.168.7.0/24", "192.168.7.0/24", "private range"],
    ["loopback", "127.0.0.1", "127.0.0.1/32", "loopback"],
    ["IPv6 loopback", "::1", "::1/128", "loopback"],
    ["link-local", "169.254.169.254", "169.254.169.254/32", "link-local"],
    ["IPv6 link-local", "fe80::1", "fe80::1/128", "link-local"],
    ["multicast", "224.0.0.251", "224.0.0.251/32", "multicast"],
    ["IPv6 multicast", "ff02::fb", "ff02::fb/128", "multicast"],
    ["this network", "0.0.0.0", "0.0.0.0/32", "this network"],
    ["broadcast", "255.255.255.255", "255.255.255.255/32", "reserved range"],
    ["a carrier's shared range", "100.64.1.1", "100.64.1.1/32", "shared range of carriers"],
    ["the benchmarking range", "198.18.0.1", "198.18.0.1/32", "benchmarking range"],
    ["unique local IPv6", "fd00::1", "fd00::1/128", "private range"],
    ["the unspecified address", "::", "::/128", "unspecified address"],
    ["a mapped private address", "::ffff:10.1.2.3", "10.1.2.3/32", "private range"],
  ])("%s", async (_what, ip, cidr, reason) => {
    expect(await asOperatorReports({ ip })).toMatchObject(ignored(cidr, reason));
    // A detector that heard why could search for what is protected.
    expect(await endpoint.report({ ip })).toMatchObject(ignored(cidr, PROTECTED));
    expect(endpoint.messages()).toEqual([]);
  });

  test("an address of the owner's list, and a range that contains one", async () => {
    const list = startEndpoint({ neverBlock: async () => protect([[ADDRESS, "office"]]) });
    expect(await list.report({ ip: ADDRESS })).toMatchObject(ignored(`${ADDRESS}/32`, PROTECTED));
    expect(await list.report({ ip: "203.0.113.0/24" })).toMatchObject(
      ignored("203.0.113.0/24", PROTECTED),
    );
    expect(await list.report({ ip: "203.0.113.8" })).toMatchObject({ status: 202 });
    expect(list.messages()).toHaveLength(1);
  });

  test("the caller's own address, and a range that contains it", async () => {
    const own = "the caller's own address";
    for (const [report, reason] of [
      [endpoint.report, PROTECTED],
      [asOperatorReports, own],
    ] as const) {
      expect(await report({ ip: SOURCE_IP })).toMatchObject(ignored(`${SOURCE_IP}/32`, reason));
      expect(await report({ ip: "198.51.100.0/24" })).toMatchObject(
        ignored("198.51.100.0/24", reason),
      );
      const call = { sourceIp: "2001:db8::7" };
      expect(await report({ ip: "2001:db8::/64" }, call)).toMatchObject(
        ignored("2001:db8::/64", reason),
      );
    }
    expect(endpoint.messages()).toEqual([]);
  });

  test("the caller's own address is the one that the gateway saw, not one that a header claims", async () => {
    const headers = { "x-forwarded-for": ADDRESS, forwarded: `for=${ADDRESS}` };
    expect(await endpoint.report({ ip: ADDRESS }, { headers })).toMatchObject({ status: 202 });
  });

  test("bad input is refused even of such an address", async () => {
    expect(await endpoint.report({ ip: "10.1.2.3", expiryTime: -1 })).toMatchObject({
      status: 400,
      body: error("invalid_expiry"),
    });
  });

  test("the special ranges hold while the list cannot be read, and other blocks are accepted", async () => {
    const blind = startEndpoint({
      neverBlock: async () => {
        throw new Error("The parameter store is down.");
      },
    });
    expect(await blind.report({ ip: "10.1.2.3" })).toMatchObject({ status: 200 });
    expect(await blind.report({ ip: ADDRESS })).toMatchObject({ status: 202 });
  });
});

describe("bodies", () => {
  const post = (body: string, contentType: string | undefined, isBase64Encoded = false) =>
    endpoint.call("POST", "/blacklistip", {
      headers: { ...asDetector.headers, ...(contentType && { "content-type": contentType }) },
      body,
      isBase64Encoded,
    });
  const BODY = JSON.stringify({ ip: ADDRESS });

  test.each([
    "application/json",
    "Application/JSON",
    "application/json; charset=utf-8",
    "application/json;charset=UTF-8",
    "application/json ; charset=utf-8",
    "application/vnd.api+json",
  ])("are taken as %s", async (contentType) => {
    expect(await post(BODY, contentType)).toMatchObject({ status: 202 });
  });

  test.each([
    undefined,
    "",
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "application/jsonp",
    "text/json",
    "application/xml; note=application/json",
  ])("are refused as %s", async (contentType) => {
    expect(await post(BODY, contentType)).toMatchObject({
      status: 415,
      body: error("unsupported_media_type"),
    });
  });

  test("may be encoded in base64, as the gateway does", async () => {
    const encoded = Buffer.from(BODY).toString("base64");
    expect(await post(encoded, "application/json", true)).toMatchObject({ status: 202 });
  });

  test.each([
    ["cut off", '{"ip":"203.0.113.9"'],
    ["with a trailing comma", '{"ip":"203.0.113.9",}'],
    ["with single quotes", "{'ip':'203.0.113.9'}"],
    ["that are a form", "ip=203.0.113.9"],
    ["of white space", "  "],
    ["of two documents", "{}{}"],
    ["with a number that is none", '{"ip":"203.0.113.9","expiryTime":NaN}'],
  ])("%s are no JSON", async (_what, body) => {
    expect(await post(body, "application/json")).toMatchObject({
      status: 400,
      body: error("invalid_json"),
    });
  });

  test("that are no base64 are no JSON", async () => {
    expect(await post("%%%", "application/json", true)).toMatchObject({
      status: 400,
      body: error("invalid_json"),
    });
  });

  test.each(["[]", '[{"ip":"203.0.113.9"}]', "null", "true", "42", '"203.0.113.9"'])(
    "%s is no JSON object",
    async (body) => {
      expect(await post(body, "application/json")).toMatchObject({
        status: 400,
        body: error("invalid_body"),
      });
    },
  );

  test("are not even looked at without a token that is known", async () => {
    const call = { headers: { ...bearer("unknown"), ...json }, body: "[" };
    expect(await endpoint.call("POST", "/blacklistip", call)).toMatchObject({ status: 401 });
  });

  describe("of one megabyte", () => {
    /** A report of that length. */
    const ofBytes = (bytes: number) => {
      const head = `{"ip":"${ADDRESS}","reason":"`;
      return `${head}${"x".repeat(bytes - head.length - 2)}"}`;
    };
    const tooLarge = { status: 413, body: error("too_large") };

    test.each([1_000_000, 1_048_576])("%d bytes are too many", async (bytes) => {
      expect(Buffer.byteLength(ofBytes(bytes))).toBe(bytes);
      expect(await post(ofBytes(bytes), "application/json")).toMatchObject(tooLarge);
      expect(endpoint.messages()).toEqual([]);
    });

    test.each([1_000_000, 1_048_576])("%d bytes in base64 are too many", async (bytes) => {
      const encoded = Buffer.from(ofBytes(bytes)).toString("base64");
      expect(await post(encoded, "application/json", true)).toMatchObject(tooLarge);
    });

    test("one byte less is taken, in base64 too", async () => {
      const body = ofBytes(999_999);
      const encoded = Buffer.from(body).toString("base64");
      expect(await post(body, "application/json")).toMatchObject({ status: 202 });
      expect(await post(encoded, "application/json", true)).toMatchObject({ status: 202 });
    });

    test("bytes count, not characters", async () => {
      const body = `{"ip":"${ADDRESS}","reason":"${"€".repeat(333_334)}"}`;
      expect(await post(body, "application/json")).toMatchObject(tooLarge);
    });

    test("they are refused to callers without a token as well", async () => {
      const call = { headers: json, body: ofBytes(1_000_000) };
      expect(await endpoint.call("POST", "/blacklistip", call)).toMatchObject(tooLarge);
    });
  });
});

describe("paths and methods", () => {
  test.each([
    ["HEAD", "/blacklistip"],
    ["PUT", "/blacklistip"],
    ["PATCH", "/blacklistip"],
    ["OPTIONS", "/blacklistip"],
    ["TRACE", "/blacklistip"],
    ["PUT", "/blacklistip/"],
    ["constructor", "/blacklistip"],
  ])("%s %s is answered with the methods that there are", async (method, path) => {
    expect(await endpoint.call(method, `${path}?ip=${ADDRESS}`, asDetector)).toMatchObject({
      status: 405,
      headers: { allow: "GET, POST, DELETE" },
      body: error("method_not_allowed"),
    });
    expect(endpoint.messages()).toEqual([]);
  });

  test.each(["HEAD", "POST", "DELETE", "OPTIONS"])("%s /health is not allowed", async (method) => {
    expect(await endpoint.call(method, "/health")).toMatchObject({
      status: 405,
      headers: { allow: "GET" },
    });
  });

  test.each([
    "/",
    "//",
    "/blacklistip/203.0.113.9",
    "/blacklistip//",
    "/BlacklistIp",
    "/blacklistips",
    "/prod/blacklistip",
    "/__proto__",
    "/../health",
  ])("there is no path %s", async (path) => {
    for (const method of ["GET", "POST", "PUT"]) {
      expect(await endpoint.call(method, `${path}?ip=${ADDRESS}`, asDetector)).toMatchObject({
        status: 404,
        body: error("not_found"),
      });
    }
  });

  test("a trailing slash changes nothing, and nothing is redirected", async () => {
    const url = `/blacklistip/?ip=${ADDRESS}`;
    expect(await endpoint.call("GET", url, asDetector)).toMatchObject({ status: 202 });
    expect(await endpoint.call("DELETE", url, asOperator)).toMatchObject({ status: 202 });
    expect(await endpoint.call("GET", "/health/")).toMatchObject({ status: 200 });
  });
});

describe("failures", () => {
  test("a queue that is down is 503 with Retry-After, and nothing is remembered", async () => {
    endpoint.queue.failure = queueDown();
    expect(await endpoint.report({ ip: ADDRESS })).toMatchObject({
      status: 503,
      headers: { "retry-after": expect.stringMatching(/^[1-9]\d*$/) },
      body: error("unavailable"),
    });
    endpoint.queue.failure = undefined;
    expect(await endpoint.report({ ip: ADDRESS })).toMatchObject({ status: 202 });
    expect(endpoint.messages()).toHaveLength(1);
  });

  test("an error that nobody foresaw is 500 and says nothing of itself", async () => {
    endpoint.queue.failure = new TypeError("secret of the house");
    const answer = await endpoint.report({ ip: ADDRESS });
    expect(answer).toMatchObject({ status: 500, body: error("internal") });
    expect(answer.raw).not.toContain("secret");
  });
});
