import { gzipSync } from "node:zlib";
import { beforeEach, describe, expect, test } from "@jest/globals";
import * as v from "valibot";
import { takeAlerts } from "../../../services/blacklist/alerts.ts";
import { createDetector, MAX_FINDINGS, ofEach } from "../../../shared/detectors/detector.ts";
import { bearer, type Call, startEndpoint } from "../../support/endpoint.ts";
import { NOW } from "../../support/reports.ts";
import { callerListOf, DETECTOR_TOKEN, READER_TOKEN } from "../../support/tokens.ts";

// Detectors' own words, as the endpoint takes them. What each detector says is in detectors/.

let endpoint = startEndpoint();
beforeEach(() => {
  endpoint = startEndpoint();
});

const post = (path: string, body: string | object, call: Call = {}) =>
  endpoint.call("POST", path, {
    body,
    ...call,
    headers: { ...bearer(DETECTOR_TOKEN), ...call.headers },
  });
const alertOf = (ip: string, status = "firing", name = "Scan") => ({
  status,
  labels: { alertname: name, src_ip: ip, severity: "critical" },
  annotations: {},
});
const group = (...alerts: object[]) => ({ status: "firing", alerts });

describe("a body of a detector's own", () => {
  test("is taken apart, and each address queued with its own terms", async () => {
    const { status, body } = await post("/alerts/fail2ban", {
      ...{ ip: "203.0.113.9", expiryTime: 90, reason: "sshd: 5 failures" },
    });
    expect(status).toBe(202);
    expect(body.results).toMatchObject([{ status: "queued", cidr: "203.0.113.9/32" }]);
    expect(endpoint.messages()).toMatchObject([
      {
        kind: "block",
        detector: "suricata",
        expiresAt: NOW / 1000 + 90,
        reason: "sshd: 5 failures",
      },
    ]);
  });

  test("may ask for ever, and gets what the caller may", async () => {
    await post("/alerts/fail2ban", { ip: "203.0.113.9", expiryTime: -1, reason: "sshd" });
    expect(endpoint.messages()).toMatchObject([{ expiresAt: NOW / 1000 + 7 * 86_400 }]);
  });

  test("costs the others nothing where one of it is bad", async () => {
    const broken = { status: "firing", labels: { alertname: "Scan" } };
    const { status, body } = await post(
      "/alerts/alertmanager",
      group(alertOf("203.0.113.1"), broken, alertOf("nonsense"), alertOf("10.0.0.1")),
    );
    expect(status).toBe(202);
    expect(body.results).toMatchObject([
      { status: "queued", cidr: "203.0.113.1/32" },
      { status: "refused", error: { code: "not_understood" } },
      { status: "refused", ip: "nonsense", error: { code: "invalid_ip" } },
      { status: "ignored", cidr: "10.0.0.1/32" },
    ]);
  });

  test("is refused where nothing in it is understood, with what was looked for", async () => {
    const { status, body } = await post("/alerts/alertmanager", { text: "a secret" });
    expect([status, body.error.code]).toEqual([400, "not_understood"]);
    expect(body.error.message).toMatch(/alerts/);
    expect(JSON.stringify(body)).not.toContain("a secret");
  });

  test("that says nothing is answered 200", async () => {
    const { status, body } = await post(
      "/alerts/alertmanager",
      group(alertOf("203.0.113.1", "resolved")),
    );
    expect([status, body.results]).toEqual([200, []]);
  });

  test("is one message for each address, the longest and most severe of what it says", async () => {
    const line = (expiryTime: number) =>
      JSON.stringify({ ip: "203.0.113.9", expiryTime, reason: `${expiryTime} s` });
    await post("/alerts/fail2ban", `${line(60)}\n${line(600)}\n${line(6)}\n`);
    expect(endpoint.messages()).toMatchObject([{ expiresAt: NOW / 1000 + 600, count: 3 }]);
  });

  test("withdraws where it says so, unless another part of it still reports the address", async () => {
    const { status } = await post(
      "/alerts/alertmanager?resolved=withdraw",
      group(
        alertOf("203.0.113.1", "resolved"),
        alertOf("203.0.113.2", "resolved"),
        alertOf("203.0.113.2", "firing", "BruteForce"),
      ),
    );
    expect(status).toBe(202);
    const said = endpoint.messages().map(({ kind, cidr }) => [kind, cidr]);
    expect(said).toEqual([
      ["withdraw", "203.0.113.1/32"],
      ["block", "203.0.113.2/32"],
    ]);
  });

  test("may be packed, and as large as a group of 5,000", async () => {
    endpoint = startEndpoint({ callerList: () => callerListOf({ addressesPerMinute: 100_000 }) });
    const alerts = Array.from({ length: 5_000 }, (_, index) =>
      alertOf(`45.0.${index >> 8}.${index & 255}`),
    );
    const packed = gzipSync(JSON.stringify(group(...alerts))).toString("base64");
    const { status } = await post("/alerts/alertmanager", packed, {
      isBase64Encoded: true,
      headers: { "content-encoding": "gzip" },
    });
    expect(status).toBe(202);
    expect(endpoint.messages()).toHaveLength(5_000);
  });

  test("past the budget is taken in part, and in another part the next time", async () => {
    endpoint = startEndpoint({ callerList: () => callerListOf({ addressesPerMinute: 2 }) });
    const alerts = ["203.0.113.1", "203.0.113.2", "203.0.113.3"].map((ip) => alertOf(ip));
    const queued = new Set<string>();
    for (let minute = 0; minute < 3; minute++) {
      const { body } = await post("/alerts/alertmanager", group(...alerts));
      const results = body.results as { status: string; cidr: string }[];
      for (const { status, cidr } of results) if (status === "queued") queued.add(cidr);
      endpoint.now += 60_001;
    }
    expect(queued.size).toBe(3);
  });
});

describe("nothing is taken", () => {
  test.each<[string, string, string | object, Call, number, string]>([
    ["of a detector that is not known", "/alerts/nagios", {}, {}, 404, "not_found"],
    [
      "without a token in the header",
      "/alerts/fail2ban",
      { ip: "203.0.113.9", accessToken: DETECTOR_TOKEN },
      { headers: { authorization: "" } },
      401,
      "unauthorized",
    ],
    ["of a reader", "/alerts/fail2ban", {}, { headers: bearer(READER_TOKEN) }, 403, "forbidden"],
    ["that is no JSON", "/alerts/fail2ban", "ip=203.0.113.9", {}, 400, "invalid_json"],
    ["that is too large", "/alerts/fail2ban", " ".repeat(6_000_000), {}, 413, "too_large"],
    [
      "that is packed in another way",
      "/alerts/fail2ban",
      "{}",
      { headers: { "content-encoding": "br" } },
      415,
      "unsupported_media_type",
    ],
    [
      "with a parameter that the detector does not take",
      "/alerts/fail2ban?nonsense=1",
      { ip: "203.0.113.9" },
      {},
      400,
      "not_understood",
    ],
  ])("%s", async (_what, path, body, call, status, code) => {
    const answer = await post(path, body, call);
    expect([answer.status, answer.body.error.code]).toEqual([status, code]);
    expect(endpoint.messages()).toEqual([]);
  });

  // What a body of 6 MB may hold, and the gateway takes packed in a few kilobytes.
  const zeros = (count: number) => Array(count).fill(0);
  test.each<[string, string, unknown]>([
    ["a group of a million that are not understood", "alertmanager", { alerts: zeros(1_000_000) }],
    ["groups of them", "alertmanager", Array(2_000).fill({ alerts: zeros(500) })],
    [
      "a group of good and bad ones",
      "alertmanager",
      { alerts: [alertOf("203.0.113.1"), ...zeros(MAX_FINDINGS)] },
    ],
    ["more addresses than a request may name", "generic?ip=/ip", { ip: zeros(MAX_FINDINGS + 1) }],
    ["a million in one alert", "kibana", { alerts: [{ "source.ip": zeros(1_000_000) }] }],
  ])("of too many: %s", async (_what, detector, document) => {
    const { status, body } = await post(
      `/alerts/${detector}`,
      gzipSync(JSON.stringify(document)).toString("base64"),
      { isBase64Encoded: true, headers: { "content-encoding": "gzip" } },
    );
    expect([status, body]).toEqual([
      400,
      { error: { code: "too_many", message: "One request may name 10000 addresses at most." } },
    ]);
    expect(endpoint.messages()).toEqual([]);
  });

  test.each([
    [1, 100 * MAX_FINDINGS],
    [1_000, 1_000],
    [10_000, 100],
  ])("of too many, of which no more are looked at: %d groups of %d", async (groups, parts) => {
    let looked = 0;
    const bad = v.custom<never>(() => ++looked < 0);
    const detector = createDetector({
      name: "counted",
      document: v.array(v.unknown()),
      findings: (document) => ofEach(document, "alerts", bad, () => []),
    });
    const documents = Array(groups).fill(zeros(parts));
    await expect(
      takeAlerts(detector, documents, {}, undefined as never, undefined as never),
    ).rejects.toMatchObject({ code: "too_many" });
    expect(looked).toBeLessThanOrEqual(MAX_FINDINGS + 1_000);
  });

  test("by another method: 405 says which", async () => {
    const { status, headers } = await endpoint.call("GET", "/alerts/fail2ban");
    expect([status, headers.allow]).toEqual([405, "POST"]);
  });
});
