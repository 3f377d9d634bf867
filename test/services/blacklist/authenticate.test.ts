import { beforeEach, describe, expect, test } from "@jest/globals";
import { bearer, type Call, json, SOURCE_IP, startEndpoint } from "../../support/endpoint.ts";
import { NOW } from "../../support/reports.ts";
import {
  callerListOf,
  DETECTOR_TOKEN,
  digestOf,
  OPERATOR_TOKEN,
  READER_TOKEN,
} from "../../support/tokens.ts";

// What a token is good for: from where, until when, for which calls, and how much is read before it.

const URL = "/blacklistip?ip=203.0.113.9";
const error = (code: string) => ({ error: { code, message: expect.stringMatching(/^[^\n]+\.$/) } });
const unauthorized = { status: 401, body: error("unauthorized") };
const asDetector = { headers: bearer(DETECTOR_TOKEN) };

let endpoint: ReturnType<typeof startEndpoint>;
beforeEach(() => {
  endpoint = startEndpoint();
});

describe("a token", () => {
  test("that has an end is good until then", async () => {
    endpoint = startEndpoint({ callerList: () => callerListOf({ expiresAt: NOW / 1000 + 60 }) });
    endpoint.now = NOW + 59_999;
    expect(await endpoint.call("GET", URL, asDetector)).toMatchObject({ status: 202 });
    endpoint.now = NOW + 60_000;
    expect(await endpoint.call("GET", URL, asDetector)).toMatchObject(unauthorized);
  });

  test.each([
    ["198.51.100.0/24", 202],
    ["203.0.113.0/24", 403],
    ["2001:db8::/32", 403],
  ])("that is used from %s only", async (from, status) => {
    endpoint = startEndpoint({ callerList: () => callerListOf({ from: [from] }) });
    const answer = await endpoint.call("GET", URL, { ...asDetector, sourceIp: SOURCE_IP });
    expect(answer.status).toBe(status);
    if (status === 403) expect(answer.body).toMatchObject(error("forbidden_source"));
  });

  test("that the list of callers does not name is nobody's", async () => {
    endpoint = startEndpoint({ callerList: () => "[]" });
    expect(await endpoint.call("GET", URL, asDetector)).toMatchObject(unauthorized);
  });

  test("may be one of two, while the one makes way for the other", async () => {
    const sha256 = [digestOf("old-token"), digestOf("new-token")];
    endpoint = startEndpoint({ tokenList: () => JSON.stringify([{ name: "suricata", sha256 }]) });
    for (const token of ["old-token", "new-token"]) {
      expect(await endpoint.call("GET", URL, { headers: bearer(token) })).toMatchObject({
        status: 202,
      });
    }
    const other = { headers: bearer(DETECTOR_TOKEN) };
    expect(await endpoint.call("GET", URL, other)).toMatchObject(unauthorized);
  });

  test.each([
    ["tokens", { tokenList: () => "[{}]" }],
    ["callers", { callerList: () => '[{"name":"suricata","role":"detektor"}]' }],
  ])(
    "is good for nothing while the list of %s is malformed, and an alarm knows",
    async (_w, change) => {
      endpoint = startEndpoint(change);
      expect(await endpoint.call("GET", URL, asDetector)).toMatchObject({
        status: 503,
        headers: { "retry-after": "2" },
        body: error("unavailable"),
      });
      expect(endpoint.metrics).toEqual(["MalformedParameter"]);
      expect(endpoint.messages()).toEqual([]);
    },
  );
});

describe("roles", () => {
  const calls: [method: string, url: string, call?: Call][] = [
    ["GET", URL],
    ["POST", URL],
    ["DELETE", URL],
    ["GET", "/blacklist"],
    ["DELETE", "/blacklist?detector=suricata&since=0"],
    ["PUT", "/mode?mode=off"],
  ];
  test.each([
    ["detector", DETECTOR_TOKEN, [202, 202, 202, 403, 403, 403]],
    ["reader", READER_TOKEN, [403, 403, 403, 200, 403, 403]],
    ["operator", OPERATOR_TOKEN, [202, 202, 202, 200, 202, 200]],
  ])("a %s", async (_role, token, expected) => {
    const statuses: (number | undefined)[] = [];
    for (const [method, url] of calls) {
      const { status, body } = await endpoint.call(method, url, { headers: bearer(token) });
      statuses.push(status);
      if (status === 403) expect(body).toMatchObject(error("forbidden"));
    }
    expect(statuses).toEqual(expected);
    const refused = expected.filter((status) => status === 403);
    expect(endpoint.metrics).toEqual(refused.map(() => "Forbidden"));
  });
});

describe("bodies", () => {
  const bodyOf = (bytes: number, fields: object = {}) => {
    const head = JSON.stringify({ ip: "203.0.113.9", ...fields, reason: "" }).slice(0, -2);
    return `${head}${"x".repeat(bytes - head.length - 2)}"}`;
  };
  const post = (body: string, headers: Record<string, string> = {}) =>
    endpoint.call("POST", "/blacklistip", { headers: { ...json, ...headers }, body });
  const withToken = { accessToken: DETECTOR_TOKEN };

  test("that name their caller are smaller than 64 kB", async () => {
    expect(await post(bodyOf(63_999, withToken))).toMatchObject({ status: 202 });
    const tooLarge = await post(bodyOf(64_000, withToken));
    expect(tooLarge).toMatchObject({ status: 413, body: error("too_large") });
    expect(tooLarge.body.error.message).toContain("64 kB");
  });

  test("of callers who are known are smaller than 1 MB", async () => {
    expect(await post(bodyOf(999_999), bearer(DETECTOR_TOKEN))).toMatchObject({ status: 202 });
    expect(await post(bodyOf(1_000_000), bearer(DETECTOR_TOKEN))).toMatchObject({ status: 413 });
  });

  test("of callers whose token is not valid are not looked at, however large", async () => {
    expect(await post(bodyOf(1_000_000), bearer("unknown"))).toMatchObject(unauthorized);
  });
});

test("a request without a token costs no look at the lists", async () => {
  expect(await endpoint.call("GET", URL)).toMatchObject(unauthorized);
  expect(await endpoint.call("POST", URL, { headers: json, body: {} })).toMatchObject(unauthorized);
  expect(endpoint.parameters.reads).toBe(0);
});
