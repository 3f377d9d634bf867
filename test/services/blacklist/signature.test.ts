import { beforeEach, describe, expect, test } from "@jest/globals";
import { bearer, json, startEndpoint } from "../../support/endpoint.ts";
import { NOW } from "../../support/reports.ts";
import {
  callerListOf,
  DETECTOR_TOKEN,
  digestOf,
  OPERATOR_TOKEN,
  type Signed,
  signatureHeaders,
  signingKeyOf,
} from "../../support/tokens.ts";

const URL = "/blacklistip?ip=203.0.113.9";
const NOW_SECONDS = NOW / 1000;
const unauthorized = { status: 401, body: { error: { code: "unauthorized" } } };

let endpoint: ReturnType<typeof startEndpoint>;
beforeEach(() => {
  endpoint = startEndpoint();
});

/** A request, and the headers that the detector signs it with. */
const signed = (change: Partial<Signed> = {}, name = "suricata", token = DETECTOR_TOKEN) => {
  const request = { method: "GET", url: URL, timestamp: NOW_SECONDS, ...change };
  return { ...request, headers: signatureHeaders(name, token, request) };
};
const send = ({ method, url, body, headers }: ReturnType<typeof signed>) =>
  endpoint.call(method, url, {
    headers: { ...headers, ...json },
    ...(body !== undefined && { body }),
  });

describe("a signed request", () => {
  test("is its signer's", async () => {
    expect(await send(signed())).toMatchObject({ status: 202 });
    expect(endpoint.messages()).toMatchObject([{ detector: "suricata" }]);
  });

  test("may be an operator's, with whatever call", async () => {
    const asOperator = (method: string, url: string, body?: string) =>
      send(signed({ method, url, ...(body && { body }) }, "night-shift", OPERATOR_TOKEN));
    expect(await asOperator("DELETE", URL)).toMatchObject({ status: 202 });
    expect(await asOperator("GET", "/blacklist")).toMatchObject({ status: 200 });
    expect(await asOperator("PUT", "/mode", '{"mode":"off"}')).toMatchObject({ status: 200 });
  });

  test("has its body signed, as it was before the gateway encoded it", async () => {
    const body = JSON.stringify({ ip: "203.0.113.9", reason: "Angriff über ßh" });
    const request = signed({ method: "POST", url: "/blacklistip", body });
    expect(await send(request)).toMatchObject({ status: 202 });
    const encoded = await endpoint.call("POST", "/blacklistip", {
      headers: { ...request.headers, ...json },
      body: Buffer.from(body).toString("base64"),
      isBase64Encoded: true,
    });
    expect(encoded).toMatchObject({ status: 202 });
  });

  test.each([-300, -299, 0, 299, 300])("is valid %d seconds from its time", async (seconds) => {
    expect(await send(signed({ timestamp: NOW_SECONDS + seconds }))).toMatchObject({ status: 202 });
  });

  test.each([-301, 301, -86_400, 86_400])("is not valid %d seconds from it", async (seconds) => {
    const answer = await send(signed({ timestamp: NOW_SECONDS + seconds }));
    expect(answer).toMatchObject(unauthorized);
  });

  test.each<[string, (request: ReturnType<typeof signed>) => ReturnType<typeof signed>]>([
    ["another method", (one) => ({ ...one, method: "POST" })],
    ["another address", (one) => ({ ...one, url: "/blacklistip?ip=203.0.113.10" })],
    ["one parameter more", (one) => ({ ...one, url: `${URL}&severity=10` })],
    ["another path", (one) => ({ ...one, url: URL.replace("/blacklistip", "/blacklistip/") })],
    ["another time", (one) => withHeader(one, "x-portcullis-timestamp", `${NOW_SECONDS + 1}`)],
    ["no time", (one) => withHeader(one, "x-portcullis-timestamp", "")],
    ["a time that is none", (one) => withHeader(one, "x-portcullis-timestamp", "0x6b49d200")],
    [
      "another signer",
      (one) => withSignature(one, (text) => text.replace("suricata", "night-shift")),
    ],
    [
      "an unknown signer",
      (one) => withSignature(one, (text) => text.replace("suricata", "nobody")),
    ],
    ["no signer", (one) => withSignature(one, (text) => text.split(":")[1] ?? "")],
    ["a signature that is cut off", (one) => withSignature(one, (text) => text.slice(0, -1))],
    ["a signature that is too long", (one) => withSignature(one, (text) => `${text}0`)],
    ["an empty signature", (one) => withSignature(one, () => "")],
    ["the key of another", () => signed({}, "suricata", OPERATOR_TOKEN)],
  ])("is refused with %s", async (_what, change) => {
    expect(await send(change(signed()))).toMatchObject(unauthorized);
    expect(endpoint.messages()).toEqual([]);
  });

  test("is refused with another body", async () => {
    const body = '{"ip":"203.0.113.9"}';
    const request = signed({ method: "POST", url: "/blacklistip", body });
    const changed = { ...request, body: '{"ip":"203.0.113.8"}' };
    expect(await send(changed)).toMatchObject(unauthorized);
  });

  test("is not helped by a token elsewhere, nor does a bad token in the header pass for it", async () => {
    const bad = withSignature(signed(), (text) =>
      text.replace(/.$/, (c) => (c === "0" ? "1" : "0")),
    );
    const url = `${URL}&accessToken=${DETECTOR_TOKEN}`;
    expect(await send({ ...bad, url })).toMatchObject(unauthorized);
    const both = { headers: { ...signed().headers, ...bearer("unknown") } };
    expect(await endpoint.call("GET", URL, both)).toMatchObject(unauthorized);
  });

  test("is refused where its caller may not call from there, or not any more", async () => {
    endpoint = startEndpoint({ callerList: () => callerListOf({ from: ["192.0.2.0/24"] }) });
    expect(await send(signed())).toMatchObject({ status: 403 });
    endpoint = startEndpoint({ callerList: () => callerListOf({ expiresAt: 1 }) });
    expect(await send(signed())).toMatchObject(unauthorized);
  });

  test("has a body smaller than 64 kB, or it is refused before it is hashed", async () => {
    const body = JSON.stringify({ ip: "203.0.113.9", reason: "x".repeat(64_000) });
    const answer = await send(signed({ method: "POST", url: "/blacklistip", body }));
    expect(answer).toMatchObject({ status: 413, body: { error: { code: "too_large" } } });
    expect(endpoint.parameters.reads).toBe(0);
  });
});

describe("keys", () => {
  const listOf = (entry: object) => () =>
    JSON.stringify([{ name: "suricata", sha256: digestOf(DETECTOR_TOKEN), ...entry }]);

  test("may be two, while the one makes way for the other", async () => {
    const signingKey = [signingKeyOf("old-token"), signingKeyOf("new-token")];
    endpoint = startEndpoint({ tokenList: listOf({ signingKey }) });
    for (const token of ["old-token", "new-token"]) {
      expect(await send(signed({}, "suricata", token))).toMatchObject({ status: 202 });
    }
  });

  test("that the list does not have sign nothing", async () => {
    endpoint = startEndpoint({ tokenList: listOf({}) });
    expect(await send(signed())).toMatchObject(unauthorized);
  });
});

type Request = ReturnType<typeof signed>;

const withHeader = (request: Request, name: string, value: string): Request => ({
  ...request,
  headers: { ...request.headers, [name]: value },
});

const withSignature = (request: Request, change: (text: string) => string): Request =>
  withHeader(
    request,
    "x-portcullis-signature",
    change(request.headers["x-portcullis-signature"] ?? ""),
  );
