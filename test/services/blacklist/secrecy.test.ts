import { Logger } from "@aws-lambda-powertools/logger";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { QueueUnavailableError } from "../../../shared/aws/queue.ts";
import { bearer, type Call, json, startEndpoint } from "../../support/endpoint.ts";
import { captureOutput } from "../../support/output.ts";
import { NOW } from "../../support/reports.ts";
import {
  DETECTOR_TOKEN,
  digestOf,
  OPERATOR_TOKEN,
  signatureHeaders,
  signingKeyOf,
} from "../../support/tokens.ts";

// No token and no signature, in any form, ever reaches a log line, a queue message or an answer.

const UNKNOWN_TOKEN = "c41d08-token-of-nobody";
const TOKENS = [DETECTOR_TOKEN, OPERATOR_TOKEN, UNKNOWN_TOKEN];
const URL = "/blacklistip?ip=203.0.113.9";

let output: ReturnType<typeof captureOutput>;
beforeEach(() => {
  output = captureOutput();
});
afterEach(() => output.restore());

/** The beginning of every form in which a token could be written. */
const forms = TOKENS.flatMap((token) => [
  token,
  digestOf(token),
  Buffer.from(digestOf(token), "hex").toString("base64"),
  Buffer.from(token).toString("base64"),
  Buffer.from(token).toString("hex"),
  signingKeyOf(token),
  Buffer.from(signingKeyOf(token), "hex").toString("base64"),
]).map((form) => form.slice(0, 8));

const NAMED = [
  ["suricata", DETECTOR_TOKEN],
  ["night-shift", OPERATOR_TOKEN],
  ["suricata", UNKNOWN_TOKEN],
] as const;

/** Of the requests that were signed: whoever reads one could repeat its request for five minutes. */
const signatures = new Set<string>();

function expectSecret(text: string): void {
  expect([...signatures].filter((signature) => text.includes(signature.slice(0, 16)))).toEqual([]);
  expect(forms.filter((form) => text.toLowerCase().includes(form.toLowerCase()))).toEqual([]);
}

const start = (change: Parameters<typeof startEndpoint>[0] = {}) =>
  startEndpoint({ log: new Logger({ logLevel: "DEBUG" }), ...change });

/** Calls in every way in which a token can come, and in which a call can go wrong. */
async function callInAllWays(endpoint: ReturnType<typeof startEndpoint>): Promise<string[]> {
  const calls: [method: string, url: string, call?: Call][] = TOKENS.flatMap((token) => [
    ["GET", URL, { headers: bearer(token) }],
    ["GET", `${URL}&accessToken=${token}`],
    ["GET", `${URL}&accessToken=${token}&accessToken=${token}`],
    ["GET", `/blacklistip?ip=nonsense&accessToken=${token}`],
    ["GET", `/blacklistip?ip=10.0.0.1&accessToken=${token}`],
    ["GET", `/nowhere?accessToken=${token}`, { headers: bearer(token) }],
    ["GET", `/blacklistip/${token}`],
    ["PUT", `${URL}&accessToken=${token}`],
    ["DELETE", `${URL}&accessToken=${token}`],
    ["GET", URL, { headers: { authorization: token } }],
    ["GET", URL, { headers: { authorization: `Basic ${token}` } }],
    ["POST", URL, { headers: json, body: { accessToken: token } }],
    ["POST", URL, { headers: json, body: { accessToken: [token] } }],
    ["POST", URL, { headers: json, body: `{"accessToken":"${token}"` }],
    ["POST", URL, { headers: json, body: JSON.stringify(token) }],
    ["POST", URL, { headers: { "content-type": "text/plain" }, body: `accessToken=${token}` }],
    ["POST", `${URL}&accessToken=x`, { headers: json, body: { accessToken: token } }],
    ["POST", URL, { headers: { ...bearer(token), ...json }, body: { expiryTime: -1 } }],
    ["PUT", "/mode", { headers: { ...bearer(token), ...json }, body: { mode: token } }],
    ["PUT", "/mode", { headers: json, body: { mode: "off", accessToken: token } }],
    ["DELETE", `/blacklist?detector=suricata&since=0&accessToken=${token}`],
    ["DELETE", "/blacklist?detector=suricata&since=0", { headers: bearer(token) }],
    ["DELETE", `/blacklist?detector=suricata&since=${token}`, { headers: bearer(token) }],
  ]);
  for (const [name, token] of NAMED) {
    for (const [method, url] of [
      ["GET", URL],
      ["POST", URL],
      ["DELETE", URL],
      ["GET", "/blacklist?limit=x"],
    ] as const) {
      const signed = { method, url, timestamp: NOW / 1000 };
      const headers = signatureHeaders(name, token, signed);
      signatures.add(String(headers["x-portcullis-signature"]).slice(-64));
      calls.push([method, url, { headers }]);
      calls.push([method, `${url}&x=1`, { headers }]);
      // A token or a key in the place of the signature.
      calls.push([method, url, { headers: { ...headers, "x-portcullis-signature": token } }]);
      const keyed = { ...headers, "x-portcullis-signature": `${name}:${signingKeyOf(token)}` };
      calls.push([method, url, { headers: keyed }]);
    }
  }
  const answers: string[] = [];
  for (const [method, url, call] of calls) {
    const { raw, headers } = await endpoint.call(method, url, call);
    answers.push(raw + JSON.stringify(headers));
  }
  return answers;
}

test("neither answers, log lines nor messages hold a token or its digest", async () => {
  const endpoint = start();
  expectSecret((await callInAllWays(endpoint)).join("\n"));
  expectSecret(JSON.stringify(endpoint.messages()));
  expectSecret(output.text());
  // Otherwise there was nothing to look through.
  expect(endpoint.messages()).not.toEqual([]);
  expect(signatures.size).toBeGreaterThan(0);
  const lines = ["Queued an unblock", "Queued an undo", "Ignored", "Refused"];
  for (const line of lines) {
    expect(output.text()).toContain(`"message":"${line}"`);
  }
});

test("nor do they when the queue fails with whatever error", async () => {
  for (const failure of [
    new QueueUnavailableError("down", { cause: new Error("503") }),
    new TypeError("x"),
  ]) {
    const endpoint = start();
    endpoint.queue.failure = failure;
    expectSecret((await callInAllWays(endpoint)).join("\n"));
  }
  expectSecret(output.text());
  expect(output.text()).toContain("Unexpected error");
});

test.each([
  ["a token instead of the list", DETECTOR_TOKEN],
  ["a token instead of its digest", entry({ sha256: DETECTOR_TOKEN })],
  ["a token instead of a name", entry({ name: `${DETECTOR_TOKEN} ` })],
  ["a token instead of a signing key", entry({ signingKey: OPERATOR_TOKEN })],
  ["a digest in capital letters", entry({ sha256: digestOf(DETECTOR_TOKEN).toUpperCase() })],
  ["a digest instead of an entry", JSON.stringify([digestOf(DETECTOR_TOKEN)])],
  ["a list that is cut off", entry({}).slice(0, -1)],
])("nor do they when an operator has stored %s", async (_what, tokenList) => {
  const endpoint = start({ tokenList: () => tokenList });
  expectSecret((await callInAllWays(endpoint)).join("\n"));
  expectSecret(output.text());
  expect(output.text()).toContain("The list of tokens is malformed");
});

function entry(change: object): string {
  const valid = { name: "suricata", sha256: digestOf(DETECTOR_TOKEN) };
  return JSON.stringify([{ ...valid, ...change }]);
}
