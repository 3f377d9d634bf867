import { Logger } from "@aws-lambda-powertools/logger";
import { beforeEach, describe, expect, jest, test } from "@jest/globals";
import { PROTECTED } from "../../../services/blacklist/intake.ts";
import { createCallerSources } from "../../../services/blacklist/sources.ts";
import { parseCidr } from "../../../shared/domain/cidr.ts";
import { bearer, memorySources, startEndpoint } from "../../support/endpoint.ts";
import { NOW } from "../../support/reports.ts";
import { OPERATOR_TOKEN } from "../../support/tokens.ts";

// What no range may take in, beside the never-block list.

let endpoint: ReturnType<typeof startEndpoint>;
beforeEach(() => {
  endpoint = startEndpoint();
});
const OTHER = "203.0.113.77";
const headers = bearer(OPERATOR_TOKEN);
const ignored = (cidr: string, reason = PROTECTED) => ({
  status: 200,
  body: { status: "ignored", cidr, reason },
});

describe("the address of a recent caller", () => {
  beforeEach(() => endpoint.report({ ip: "198.51.100.9" }, { sourceIp: OTHER }));

  test("is in no range that another reports", async () => {
    expect(await endpoint.report({ ip: "203.0.113.0/24" })).toMatchObject(
      ignored("203.0.113.0/24"),
    );
    expect(await endpoint.report({ ip: "203.0.113.76/31" })).toMatchObject(
      ignored("203.0.113.76/31"),
    );
    expect(await endpoint.report({ ip: "203.0.113.76/32" })).toMatchObject({ status: 202 });
    expect(await endpoint.report({ ip: "203.0.113.78/31" })).toMatchObject({ status: 202 });
  });

  test("may be reported by itself: it may be who stole a token", async () => {
    expect(await endpoint.report({ ip: OTHER })).toMatchObject({ status: 202 });
  });

  test("is told to operators", async () => {
    expect(await endpoint.report({ ip: "203.0.113.0/24" }, { headers })).toMatchObject(
      ignored("203.0.113.0/24", "the address of a recent caller"),
    );
  });

  test("is noted once an hour, and only of callers who are known", async () => {
    for (let time = 0; time < 3; time++) await endpoint.report({ ip: OTHER }, { sourceIp: OTHER });
    await endpoint.call("GET", "/blacklistip?ip=203.0.113.9", { sourceIp: "192.0.2.1" });
    const call = { headers: bearer("unknown"), sourceIp: "192.0.2.1" };
    await endpoint.call("GET", "/blacklistip?ip=203.0.113.9", call);
    expect(endpoint.sources.seen.map(({ text }) => text)).toEqual([`${OTHER}/32`]);
    endpoint.now += 3_600_000;
    await endpoint.report({ ip: "198.51.100.9" }, { sourceIp: OTHER });
    expect(endpoint.sources.seen).toHaveLength(2);
  });
});

describe("addresses of callers", () => {
  const log = new Logger({ logLevel: "SILENT" });
  const warned = jest.spyOn(log, "warn");
  let sources: ReturnType<typeof memorySources>;
  let own: ReturnType<typeof createCallerSources>;
  beforeEach(() => {
    warned.mockClear();
    sources = memorySources();
    own = createCallerSources(sources, log);
  });

  test("are read once a minute", async () => {
    for (const after of [0, 1, 59_999]) await own.recent(NOW + after);
    expect(sources.reads).toBe(1);
    sources.seen.push(parseCidr(OTHER));
    expect(await own.recent(NOW + 60_000)).toHaveLength(1);
    expect(sources.reads).toBe(2);
  });

  test("that cannot be read are those that were read before, and are asked for again soon", async () => {
    sources.seen.push(parseCidr(OTHER));
    await own.recent(NOW);
    sources.failure = new Error("The table is down.");
    for (const after of [60_000, 60_001]) expect(await own.recent(NOW + after)).toHaveLength(1);
    expect([sources.reads, warned.mock.calls.length]).toEqual([2, 1]);
    sources.failure = undefined;
    sources.seen.length = 0;
    expect(await own.recent(NOW + 62_000)).toEqual([]);
  });

  test("that cannot be noted keep no request from being answered, and are noted later", async () => {
    sources.failure = new Error("The table is down.");
    await own.note(OTHER, NOW);
    sources.failure = undefined;
    await own.note(OTHER, NOW + 1_999);
    expect(sources.seen).toEqual([]);
    await own.note(OTHER, NOW + 2_000);
    expect(sources.seen).toHaveLength(1);
    expect(warned).toHaveBeenCalledTimes(1);
  });
});

describe("an address that is held", () => {
  const hold = (cidr: string, seconds = 60) =>
    endpoint.table.holds.set(cidr, {
      cidr: parseCidr(cidr),
      requestedAt: NOW,
      until: NOW / 1000 + seconds,
    });

  test("is in no range that a detector reports, while it is held", async () => {
    hold("203.0.113.7/32");
    expect(await endpoint.report({ ip: "203.0.113.6/31" })).toMatchObject(
      ignored("203.0.113.6/31"),
    );
    expect(await endpoint.report({ ip: "203.0.113.8/31" })).toMatchObject({ status: 202 });
    endpoint.now = NOW + 60_000;
    expect(await endpoint.report({ ip: "203.0.113.6/31" })).toMatchObject({ status: 202 });
  });

  test("is the worker's to judge where it is reported itself: the queue has the order", async () => {
    hold("203.0.113.7/32");
    expect(await endpoint.report({ ip: "203.0.113.7" })).toMatchObject({ status: 202 });
  });

  test("may be in a range that an operator reports", async () => {
    hold("203.0.113.7/32");
    expect(await endpoint.report({ ip: "203.0.113.6/31" }, { headers })).toMatchObject({
      status: 202,
    });
  });
});
