import { Logger } from "@aws-lambda-powertools/logger";
import { beforeEach, describe, expect, jest, test } from "@jest/globals";
import { blockOf } from "../../support/blocks.ts";
import { bearer, queueDown, startEndpoint } from "../../support/endpoint.ts";
import { NOW } from "../../support/reports.ts";
import { OPERATOR_TOKEN } from "../../support/tokens.ts";

let endpoint: ReturnType<typeof startEndpoint>;
beforeEach(() => {
  endpoint = startEndpoint();
});
const unblock = (query: string) =>
  endpoint.call("DELETE", `/blacklistip?${query}`, { headers: bearer(OPERATOR_TOKEN) });
const put = (cidr: string) => endpoint.table.blockItems.set(cidr, blockOf(cidr));

describe("what covers the address", () => {
  test("is named, and stays", async () => {
    for (const cidr of ["203.0.113.1/32", "203.0.113.0/24", "203.0.0.0/16", "203.0.113.0/32"])
      put(cidr);
    const { status, body } = await unblock("ip=203.0.113.1");
    expect(status).toBe(202);
    expect(body.coveredBy.toSorted()).toEqual(["203.0.0.0/16", "203.0.113.0/24"]);
    expect(endpoint.messages()).toMatchObject([{ kind: "unblock", cidr: "203.0.113.1/32" }]);
  });

  test("is not named where nothing does", async () => {
    put("203.0.113.1/32");
    expect((await unblock("ip=203.0.113.1")).body).not.toHaveProperty("coveredBy");
  });

  test("is not named where it has ended", async () => {
    put("203.0.113.0/24");
    endpoint.now = NOW + 60_000;
    expect((await unblock("ip=203.0.113.1")).body).not.toHaveProperty("coveredBy");
  });

  test("may remain unknown: the unblock is accepted though the blocks cannot be read", async () => {
    endpoint.table.blocks.readBlocks = async () => {
      throw new Error("The table is down.");
    };
    const { status, body } = await unblock("ip=203.0.113.1");
    expect(status).toBe(202);
    expect(body).toEqual({
      status: "queued",
      requestId: expect.any(String),
      cidr: "203.0.113.1/32",
    });
    expect(endpoint.messages()).toHaveLength(1);
  });

  test("is not even asked for while the queue is down", async () => {
    put("203.0.113.0/24");
    endpoint.queue.failure = queueDown();
    expect(await unblock("ip=203.0.113.1")).toMatchObject({ status: 503 });
  });
});

test("while the table is down nothing is accepted: nobody could be told of the unblock", async () => {
  endpoint.table.isUnreadable = true;
  const { status, headers } = await unblock("ip=203.0.113.1");
  expect({ status, retry: headers["retry-after"] }).toEqual({ status: 503, retry: "2" });
  expect(endpoint.messages()).toEqual([]);
});

test("one that is queued but could not be announced says so, and the log tells why", async () => {
  const log = new Logger({ logLevel: "SILENT" });
  const told = jest.spyOn(log, "error");
  endpoint = startEndpoint({ log });
  const { unblockCount } = endpoint.table;
  const { increment } = unblockCount;
  unblockCount.increment = async () => {
    unblockCount.increment = async () => {
      throw new Error("The table went down.");
    };
    return increment();
  };
  const { status, body } = await unblock("ip=203.0.113.1");
  expect([status, body.error.message]).toEqual([503, expect.stringContaining("is queued")]);
  expect(endpoint.messages()).toHaveLength(1);
  expect(told).toHaveBeenCalledWith(
    expect.any(String),
    expect.objectContaining({ cause: new Error("The table went down.") }),
  );
});

test("a range that is too wide to block may be unblocked: it may be from before", async () => {
  expect(await unblock("ip=203.0.0.0/8")).toMatchObject({ status: 202 });
});

describe("a hold", () => {
  const holdOf = async (query = "") => {
    expect(await unblock(`ip=203.0.113.1${query}`)).toMatchObject({ status: 202 });
    return endpoint.messages().map((message) => "holdUntil" in message && message.holdUntil);
  };

  test("is counted from now, in seconds", async () => {
    endpoint.now = NOW + 999;
    expect(await holdOf("&hold=600")).toEqual([NOW / 1000 + 600]);
  });

  test("is the configured one where the request names none", async () => {
    endpoint = startEndpoint({ holdSeconds: 300 });
    expect(await holdOf()).toEqual([NOW / 1000 + 300]);
  });

  test("of 0 is none, whatever is configured", async () => {
    endpoint = startEndpoint({ holdSeconds: 300 });
    expect(await holdOf("&hold=0")).toEqual([0]);
  });

  test("is none by default", async () => {
    expect(await holdOf()).toEqual([0]);
  });

  test("may be as long as the longest block", async () => {
    endpoint = startEndpoint({ maxExpirySeconds: 1_000 });
    expect(await holdOf("&hold=1000")).toEqual([NOW / 1000 + 1_000]);
  });

  test.each(["1001", "-1", "1.5", "an hour", "", "1e3"])("of %j is refused", async (hold) => {
    endpoint = startEndpoint({ maxExpirySeconds: 1_000 });
    expect(await unblock(`ip=203.0.113.1&hold=${hold}`)).toMatchObject({
      status: 400,
      body: { error: { code: "invalid_hold", message: expect.stringMatching(/\.$/) } },
    });
    expect(endpoint.messages()).toEqual([]);
  });

  test("that is named twice is refused", async () => {
    expect(await unblock("ip=203.0.113.1&hold=1&hold=2")).toMatchObject({
      status: 400,
      body: { error: { code: "duplicate_parameter" } },
    });
  });
});
