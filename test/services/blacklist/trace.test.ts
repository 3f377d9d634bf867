import { Logger } from "@aws-lambda-powertools/logger";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import {
  bearer,
  type Call,
  GATEWAY_REQUEST,
  SOURCE_IP,
  startEndpoint,
} from "../../support/endpoint.ts";
import { captureOutput, linesIn } from "../../support/output.ts";
import { callerListOf, DETECTOR_TOKEN, OPERATOR_TOKEN } from "../../support/tokens.ts";

// A stolen token can be traced: every line and every report that is queued says where the request came
// from, and whose it is.

let output: ReturnType<typeof captureOutput>;
beforeEach(() => {
  output = captureOutput();
});
afterEach(() => output.restore());

const linesOf = (message: string) =>
  linesIn(output.text()).filter((line) => line.message === message);

const origin = { sourceIp: SOURCE_IP, gatewayRequestId: GATEWAY_REQUEST };
const URL = "/blacklistip?ip=203.0.113.9";

test.each<[string, string, string, string | undefined, Call]>([
  ["Ignored", "GET", "/blacklistip?ip=10.0.0.1", "suricata", { headers: bearer(DETECTOR_TOKEN) }],
  ["Queued an unblock", "DELETE", URL, "night-shift", { headers: bearer(OPERATOR_TOKEN) }],
  [
    "Queued an undo",
    "DELETE",
    "/blacklist?detector=suricata&since=0",
    "night-shift",
    { headers: bearer(OPERATOR_TOKEN) },
  ],
  ["Ordered a mode", "PUT", "/mode?mode=off", "night-shift", { headers: bearer(OPERATOR_TOKEN) }],
  ["Refused", "DELETE", `${URL}&hold=1`, "suricata", { headers: bearer(DETECTOR_TOKEN) }],
  ["Refused", "GET", "/blacklistip?ip=x", "suricata", { headers: bearer(DETECTOR_TOKEN) }],
  ["Refused", "GET", URL, undefined, { headers: bearer("unknown") }],
  ["Refused", "GET", URL, undefined, {}],
  ["Refused", "GET", "/nowhere", undefined, {}],
])("%s: %s %s of %s", async (message, method, url, caller, call) => {
  const endpoint = startEndpoint({ log: new Logger({ logLevel: "INFO" }) });
  await endpoint.call(method, url, call);
  const [line] = linesOf(message);
  expect(line).toMatchObject({ ...origin, ...(caller && { caller }) });
  if (!caller) expect(line).not.toHaveProperty("caller");
});

test("a token that has expired, or is used from elsewhere, names its caller", async () => {
  for (const limits of [{ expiresAt: 1 }, { from: ["192.0.2.0/24"] }]) {
    const log = new Logger({ logLevel: "INFO" });
    const endpoint = startEndpoint({ log, callerList: () => callerListOf(limits) });
    await endpoint.call("GET", URL, { headers: bearer(DETECTOR_TOKEN) });
  }
  expect(linesOf("Refused")).toMatchObject([
    { ...origin, status: 401, caller: "suricata" },
    { ...origin, status: 403, code: "forbidden_source", caller: "suricata" },
  ]);
});

test.each([
  ["report", "GET"],
  ["withdrawal", "DELETE"],
])("a %s that is queued writes no line: its message says it all", async (_, method) => {
  const endpoint = startEndpoint({ log: new Logger({ logLevel: "INFO" }) });
  await endpoint.call(method, URL, { headers: bearer(DETECTOR_TOKEN) });
  expect(endpoint.messages()).toMatchObject([{ detector: "suricata", origin }]);
  expect(linesIn(output.text())).toEqual([]);
});

test("many in one request are one message for each that is taken, and a line for those that are not", async () => {
  const endpoint = startEndpoint({ log: new Logger({ logLevel: "INFO" }) });
  await endpoint.report({ ips: ["203.0.113.1", "203.0.113.2", "10.0.0.1", "x", "y", "1.0.0.0/8"] });
  expect(endpoint.messages()).toMatchObject([{ origin }, { origin }]);
  expect(linesOf("Ignored")).toMatchObject([{ ...origin, why: "private range" }]);
  expect(linesOf("Refused")).toMatchObject([
    { ...origin, caller: "suricata", codes: { invalid_ip: 2, range_too_wide: 1 } },
  ]);
});

test("refusals are counted for the alarms", async () => {
  const endpoint = startEndpoint();
  await endpoint.call("GET", URL);
  await endpoint.call("PUT", "/mode?mode=off", { headers: bearer(DETECTOR_TOKEN) });
  await endpoint.call("GET", URL, { headers: bearer(DETECTOR_TOKEN) });
  expect(endpoint.metrics).toEqual(["Unauthorized", "Forbidden"]);
});
