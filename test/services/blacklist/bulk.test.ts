import { Logger } from "@aws-lambda-powertools/logger";
import { describe, expect, jest, test } from "@jest/globals";
import { PROTECTED } from "../../../services/blacklist/intake.ts";
import { bearer, queueDown, startEndpoint } from "../../support/endpoint.ts";
import { NOW } from "../../support/reports.ts";
import { READER_TOKEN } from "../../support/tokens.ts";

// Up to 100 addresses in one request, each judged by itself.

const seenOf = async (endpoint: ReturnType<typeof startEndpoint>) =>
  (await endpoint.call("GET", "/detectors", { headers: bearer(READER_TOKEN) })).body.detectors[0];
const cidrs = (messages: readonly { readonly cidr: string }[]) => messages.map(({ cidr }) => cidr);

describe("many addresses in one request", () => {
  test("are queued, ignored or refused one by one, in the order of the request", async () => {
    const endpoint = startEndpoint();
    const ips = ["203.0.113.1", "10.0.0.1", "nonsense", 7, "0.0.0.0/0", "2001:db8::1"];
    const { status, body } = await endpoint.report({ ips, expiryTime: 60 });
    expect(status).toBe(202);
    expect(body.results).toEqual([
      expect.objectContaining({ status: "queued", cidr: "203.0.113.1/32" }),
      { status: "ignored", cidr: "10.0.0.1/32", reason: PROTECTED },
      expect.objectContaining({
        status: "refused",
        ip: "nonsense",
        error: expect.objectContaining({ code: "invalid_ip" }),
      }),
      expect.objectContaining({ ip: 7, error: expect.objectContaining({ code: "invalid_ip" }) }),
      expect.objectContaining({ error: expect.objectContaining({ code: "range_too_wide" }) }),
      expect.objectContaining({ status: "queued", cidr: "2001:db8::1/128" }),
    ]);
    expect(cidrs(endpoint.messages())).toEqual(["203.0.113.1/32", "2001:db8::1/128"]);
  });

  test("are answered 200 where all are ignored, 400 where none is an address", async () => {
    const endpoint = startEndpoint();
    const ignored = await endpoint.report({ ips: ["10.0.0.1", "127.0.0.1"] });
    const refused = await endpoint.report({ ips: ["nonsense", null] });
    expect([ignored.status, refused.status]).toEqual([200, 400]);
    expect(endpoint.messages()).toEqual([]);
  });

  test("fold with what was said before, one by one", async () => {
    const endpoint = startEndpoint();
    const first = await endpoint.report({ ip: "203.0.113.1" });
    const { body } = await endpoint.report({ ips: ["203.0.113.1", "203.0.113.2"] });
    expect(body.results[0].requestId).toBe(first.body.requestId);
    expect(cidrs(endpoint.messages())).toEqual(["203.0.113.1/32", "203.0.113.2/32"]);
  });

  test("are answered 503 where the queue takes none, which the log tells, and none is remembered", async () => {
    const log = new Logger({ logLevel: "SILENT" });
    const told = jest.spyOn(log, "error");
    const endpoint = startEndpoint({ log });
    endpoint.queue.failure = queueDown();
    const refused = await endpoint.report({ ips: ["203.0.113.1", "203.0.113.2"] });
    expect([refused.status, refused.headers["retry-after"]]).toEqual([503, "2"]);
    expect(told).toHaveBeenCalledTimes(1);
    endpoint.queue.failure = undefined;
    const taken = await endpoint.report({ ips: ["203.0.113.1", "203.0.113.2"] });
    expect(taken.status).toBe(202);
    expect(endpoint.messages()).toHaveLength(2);
  });

  test("that the queue did not take are refused one by one, which the log tells", async () => {
    const log = new Logger({ logLevel: "SILENT" });
    const told = jest.spyOn(log, "error");
    const endpoint = startEndpoint({ log });
    endpoint.queue.sendAll = async () => [true, false];
    const { status, body } = await endpoint.report({ ips: ["203.0.113.1", "203.0.113.2"] });
    expect(status).toBe(202);
    expect(body.results).toMatchObject([
      { status: "queued", cidr: "203.0.113.1/32" },
      { status: "refused", ip: "203.0.113.2/32", error: { code: "unavailable" } },
    ]);
    expect(told).toHaveBeenCalledWith(expect.any(String), { untaken: 1 });
    expect(await seenOf(endpoint)).toMatchObject({
      ...{ accepted: 1, refused: 1, lastRefusal: { code: "unavailable", at: NOW } },
    });
  });

  // A retry costs those nothing that fold, and 202 would lose the others with most detectors.
  test.each([
    ["fold", "203.0.113.1"],
    ["are ignored", "10.0.0.1"],
    ["are no addresses", "nonsense"],
  ])(
    "are answered 503 where the queue takes none of the new ones, and the rest %s",
    async (_what, ip) => {
      const endpoint = startEndpoint();
      await endpoint.report({ ip: "203.0.113.1" });
      endpoint.queue.failure = queueDown();
      const ips = [ip, "203.0.113.2", "203.0.113.3"];
      const { status, headers, body } = await endpoint.report({ ips });
      expect([status, headers["retry-after"], body]).toEqual([
        503,
        "2",
        { error: { code: "unavailable", message: expect.stringMatching(/Nothing was accepted/) } },
      ]);
      const refused = ip === "nonsense" ? 3 : 2;
      expect(await seenOf(endpoint)).toMatchObject({
        ...{ accepted: 4 - refused, refused, lastRefusal: { code: "unavailable", at: NOW } },
      });
      endpoint.queue.failure = undefined;
      expect((await endpoint.report({ ips })).status).toBe(202);
      expect(cidrs(endpoint.messages())).toEqual([
        ...["203.0.113.1/32", "203.0.113.2/32", "203.0.113.3/32"],
      ]);
    },
  );

  test("that all fold are taken while the queue is down", async () => {
    const endpoint = startEndpoint();
    await endpoint.report({ ip: "203.0.113.1" });
    endpoint.queue.failure = queueDown();
    expect((await endpoint.report({ ips: ["203.0.113.1"] })).status).toBe(202);
  });

  test.each([
    ["none", []],
    ["a single address", "203.0.113.1"],
    ["101 addresses", Array(101).fill("203.0.113.1")],
    ["null", null],
  ])("are a list of 1 to 100: %s is refused", async (_what, ips) => {
    const { status, body } = await startEndpoint().report({ ips });
    expect([status, body.error.code]).toEqual([400, "invalid_ips"]);
  });
});
