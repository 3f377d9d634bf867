import { Logger } from "@aws-lambda-powertools/logger";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { createCounts } from "../../../services/blacklist/counts.ts";
import { createRefusals } from "../../../services/blacklist/refusals.ts";
import { bearer, startEndpoint } from "../../support/endpoint.ts";
import { captureOutput } from "../../support/output.ts";
import { DETECTOR_TOKEN, OPERATOR_TOKEN } from "../../support/tokens.ts";

// A flood of refusals must not cost a line of the log each: the first few of a minute are logged, of each code
// and caller, the others counted. The metrics count all of them.

const MINUTE = 60_000;
const URL = "/blacklistip?ip=203.0.113.9";

describe("the endpoint", () => {
  let output: ReturnType<typeof captureOutput>;
  let endpoint: ReturnType<typeof startEndpoint>;
  beforeEach(() => {
    output = captureOutput();
    endpoint = startEndpoint({ log: new Logger({ logLevel: "INFO" }) });
  });
  afterEach(() => output.restore());

  const linesOf = (message: string) =>
    output
      .text()
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line))
      .filter((line) => line.message === message);
  const strangers = async (count: number) => {
    for (let n = 0; n < count; n++) await endpoint.call("GET", URL);
  };
  const mistakes = async (count: number) => {
    for (let n = 0; n < count; n++)
      await endpoint.call("GET", "/blacklistip?ip=x", { headers: bearer(DETECTOR_TOKEN) });
  };

  test("logs the first five of a flood, then how many more there were; all are counted", async () => {
    await strangers(1_000);
    expect(linesOf("Refused")).toHaveLength(5);
    expect(linesOf("Refused more")).toEqual([]);
    endpoint.now += MINUTE;
    await strangers(1);
    expect(linesOf("Refused more")).toMatchObject([{ code: "unauthorized", suppressed: 995 }]);
    expect(linesOf("Refused")).toHaveLength(6);
    expect(endpoint.metrics).toHaveLength(1_001);
  });

  test("says it with the first request after the minute, whatever that is", async () => {
    await strangers(7);
    endpoint.now += MINUTE;
    await endpoint.call("GET", "/health");
    await endpoint.call("GET", "/health");
    expect(linesOf("Refused more")).toMatchObject([{ code: "unauthorized", suppressed: 2 }]);
  });

  test("a flood of strangers hides no refusal of a caller, nor one of another kind", async () => {
    await strangers(100);
    await mistakes(1);
    await endpoint.call("PUT", "/mode?mode=off", { headers: bearer(DETECTOR_TOKEN) });
    await endpoint.call("GET", "/blacklistip?ip=x", { headers: bearer(OPERATOR_TOKEN) });
    expect(linesOf("Refused").slice(5)).toMatchObject([
      { code: "invalid_ip", caller: "suricata" },
      { code: "forbidden", caller: "suricata" },
      { code: "invalid_ip", caller: "night-shift" },
    ]);
  });

  test("the same holds for many in one request, by the codes that it has", async () => {
    for (let n = 0; n < 8; n++) await endpoint.report({ ips: ["203.0.113.1", "x", "1.0.0.0/8"] });
    for (let n = 0; n < 2; n++) await endpoint.report({ ips: ["203.0.113.1", "x"] });
    expect(linesOf("Refused")).toHaveLength(7);
    endpoint.now += MINUTE;
    await mistakes(1);
    expect(linesOf("Refused more")).toMatchObject([
      { code: "invalid_ip,range_too_wide", caller: "suricata", suppressed: 3 },
    ]);
  });

  test("what is refused for an error of ours is logged with the error each time", async () => {
    endpoint.queue.failure = new Error("Something unexpected.");
    for (let n = 0; n < 7; n++) await endpoint.report({ ip: `203.0.113.${n}` }); // each another one: they do not fold
    expect(linesOf("Unexpected error")).toHaveLength(7);
    expect(linesOf("Refused")).toHaveLength(5);
  });
});

test("of more kinds than are counted the one that came first is forgotten, and its count written", () => {
  const lines: unknown[] = [];
  const log = { info: (message: unknown, line: unknown) => void lines.push([message, line]) };
  const refusals = createRefusals(log as never, () => 0);
  for (let n = 0; n < 8; n++) refusals.note("unauthorized", {});
  for (let n = 0; n < 1_000; n++) refusals.note("forbidden", { caller: `caller-${n}` });
  expect(lines.filter((line) => String(line).startsWith("Refused more"))).toEqual([
    ["Refused more", { code: "unauthorized", caller: undefined, suppressed: 3 }],
  ]);
});

describe("counts", () => {
  let now: number;
  let published: Record<string, number>[];
  let stored: Record<string, number>;
  beforeEach(() => {
    now = 1_800_000_000_000;
    published = [];
    stored = {};
  });
  const metrics = {
    addMetric(name: string, _unit: string, count: number) {
      stored[name] = (stored[name] ?? 0) + count;
    },
    publishStoredMetrics() {
      published.push(stored);
      stored = {};
    },
  };
  const start = () => createCounts(metrics as never, () => now);

  test("are published at once, and those of the same second together", () => {
    const counts = start();
    for (let n = 0; n < 1_000; n++) {
      counts.measure("Unauthorized");
      counts.publish();
    }
    expect(published).toEqual([{ Unauthorized: 1 }]);
    now += 1_000;
    counts.measure("Forbidden");
    counts.publish();
    expect(published[1]).toEqual({ Unauthorized: 999, Forbidden: 1 });
  });

  test("what is left goes out with the next request, whatever that is; where there is none, nothing", () => {
    const counts = start();
    counts.publish();
    for (let n = 0; n < 2; n++) {
      counts.measure("OverBudget");
      counts.publish();
    }
    now += 1_000;
    counts.publish();
    now += 1_000;
    counts.publish();
    expect(published).toEqual([{ OverBudget: 1 }, { OverBudget: 1 }]);
  });
});
