import { beforeEach, describe, expect, test } from "@jest/globals";
import { bearer, type Call, json, SOURCE_IP, startEndpoint } from "../../support/endpoint.ts";
import { NOW } from "../../support/reports.ts";
import { DETECTOR_TOKEN, OPERATOR_TOKEN, READER_TOKEN } from "../../support/tokens.ts";

// What each detector does, for the operator.

let endpoint = startEndpoint();
beforeEach(() => {
  endpoint = startEndpoint();
});

const list = async (token = READER_TOKEN) =>
  endpoint.call("GET", "/detectors", { headers: bearer(token) });
const detectors = async () => (await list()).body.detectors;

describe("the detectors", () => {
  test("are none at first, and readers' and operators' to see", async () => {
    expect(await detectors()).toEqual([]);
    expect((await list(OPERATOR_TOKEN)).status).toBe(200);
    expect((await list(DETECTOR_TOKEN)).status).toBe(403);
  });

  test("are shown with what was accepted and refused, why, and when they were seen last", async () => {
    await endpoint.report({ ip: "203.0.113.1" });
    await endpoint.report({ ip: "10.0.0.1" });
    await endpoint.report({ ips: ["203.0.113.2", "203.0.113.3", "nonsense"] });
    endpoint.now += 1_000;
    await endpoint.report({ ip: "sh-secret" });
    expect(await detectors()).toEqual([
      {
        detector: "suricata",
        accepted: 4,
        refused: 2,
        lastRefusal: { code: "invalid_ip", at: NOW + 1_000 },
        lastSeenAt: NOW + 1_000,
      },
    ]);
  });

  test("say what was looked for in a body that was not understood", async () => {
    const headers = bearer(DETECTOR_TOKEN);
    await endpoint.call("POST", "/alerts/alertmanager", { headers, body: { secret: "hush" } });
    const [{ lastRefusal }] = await detectors();
    expect(lastRefusal).toMatchObject({
      code: "not_understood",
      message: expect.stringMatching(/alerts/),
    });
    expect(JSON.stringify(lastRefusal)).not.toContain("hush");
  });

  test.each<[string, string, Call, string]>([
    ["broken JSON", "/blacklistip", { headers: json, body: "{" }, "invalid_json"],
    ["a list", "/blacklistip", { headers: json, body: "[]" }, "invalid_body"],
    ["some other type", "/blacklistip", { body: "ip=203.0.113.1" }, "unsupported_media_type"],
    ["too large", "/blacklistip", { headers: json, body: " ".repeat(1_000_000) }, "too_large"],
    ["no JSON", "/alerts/fail2ban", { body: "ip=203.0.113.1" }, "invalid_json"],
    [
      "no gzip",
      "/alerts/fail2ban",
      { headers: { "content-encoding": "gzip" }, body: "{}" },
      "invalid_gzip",
    ],
    [
      "packed in another way",
      "/alerts/fail2ban",
      { headers: { "content-encoding": "br" }, body: "{}" },
      "unsupported_media_type",
    ],
  ])("are shown with a body that cannot be read: %s", async (_what, path, call, code) => {
    const headers = { ...call.headers, ...bearer(DETECTOR_TOKEN) };
    const { status } = await endpoint.call("POST", path, { ...call, headers });
    expect(status).toBeGreaterThanOrEqual(400);
    expect(endpoint.sources.seen.map(({ text }) => text)).toEqual([`${SOURCE_IP}/32`]);
    expect(await detectors()).toEqual([
      {
        ...{ detector: "suricata", accepted: 0, refused: 1 },
        ...{ lastRefusal: { code, at: NOW }, lastSeenAt: NOW },
      },
    ]);
  });

  test.each<[string, string, Call, number]>([
    ["whose token is not known", "/blacklistip", { headers: bearer("unknown") }, 401],
    ["who may not report", "/blacklistip", { headers: bearer(READER_TOKEN) }, 403],
    ["nor send alerts", "/alerts/fail2ban", { headers: bearer(READER_TOKEN) }, 403],
  ])("are not those %s, whatever the body", async (_what, path, call, status) => {
    const answer = await endpoint.call("POST", path, { ...call, body: "{" });
    expect(answer.status).toBe(status);
    expect(endpoint.sources.seen).toEqual([]);
    expect(await detectors()).toEqual([]);
  });

  test("cost a write in five seconds, however much they report", async () => {
    for (let second = 0; second < 10; second++) {
      for (let report = 0; report < 20; report++) await endpoint.report({ ip: "203.0.113.1" });
      endpoint.now += 1_000;
    }
    expect(endpoint.activities.writes).toBe(2);
    expect((await detectors())[0].accepted).toBe(200);
  });

  test("keep nobody from reporting while they cannot be noted", async () => {
    endpoint.activities.failure = new Error("The table is down.");
    expect((await endpoint.report({ ip: "203.0.113.1" })).status).toBe(202);
    expect((await list()).status).toBe(503);
  });

  test("are not those who are not known, nor an operator who lists", async () => {
    await endpoint.call("GET", "/blacklistip?ip=203.0.113.1", { headers: bearer("unknown") });
    await endpoint.call("GET", "/blacklist", { headers: bearer(OPERATOR_TOKEN) });
    expect(await detectors()).toEqual([]);
  });
});
