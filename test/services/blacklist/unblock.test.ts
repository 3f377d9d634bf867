import { Logger } from "@aws-lambda-powertools/logger";
import { beforeEach, describe, expect, jest, test } from "@jest/globals";
import { MAX_HOLDS } from "../../../shared/aws/table/orders.ts";
import { parseCidr } from "../../../shared/domain/cidr.ts";
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
  const { orders } = endpoint.table;
  const { countUnblock } = orders;
  orders.countUnblock = async () => {
    orders.countUnblock = async () => {
      throw new Error("The table went down.");
    };
    return countUnblock();
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
  const withHold = (query = "hold=600") => unblock(`ip=203.0.113.1&${query}`);

  test("stands before the unblock is queued", async () => {
    const { send } = endpoint.queue;
    let standing: unknown[] = [];
    endpoint.queue.send = async (...parts) => {
      standing = [...endpoint.table.holds.values()];
      return send(...parts);
    };
    expect(await withHold()).toMatchObject({ status: 202 });
    expect(standing).toMatchObject([
      { cidr: { text: "203.0.113.1/32" }, requestedAt: NOW, until: NOW / 1000 + 600 },
    ]);
  });

  test("is none where none is asked for", async () => {
    await withHold("hold=0");
    expect(endpoint.table.holds.size).toBe(0);
  });

  test("goes where its unblock could not be queued", async () => {
    endpoint.queue.failure = queueDown();
    expect(await withHold()).toMatchObject({ status: 503 });
    expect(endpoint.table.holds.size).toBe(0);
  });

  test("leaves an earlier one as it was where its unblock could not be queued", async () => {
    expect(await withHold("hold=900")).toMatchObject({ status: 202 });
    const earlier = [...endpoint.table.holds.values()];
    endpoint.now += 1_000;
    endpoint.queue.failure = queueDown();
    expect(await withHold()).toMatchObject({ status: 503 });
    expect([...endpoint.table.holds.values()]).toEqual(earlier);
  });

  test("stays where its unblock is queued and could not be announced", async () => {
    const { send } = endpoint.queue;
    endpoint.queue.send = async (...parts) => {
      await send(...parts);
      endpoint.table.isUnreadable = true;
    };
    expect(await withHold()).toMatchObject({ status: 503 });
    expect(endpoint.table.holds.size).toBe(1);
  });

  test("gives way to a newer one, and the unblock is queued all the same", async () => {
    const newer = { cidr: parseCidr("203.0.113.1"), requestedAt: NOW + 1, until: NOW / 1000 + 1 };
    endpoint.table.holds.set("203.0.113.1/32", newer);
    expect(await withHold()).toMatchObject({ status: 202 });
    expect([...endpoint.table.holds.values()]).toEqual([newer]);
  });

  test("that cannot be written is 503, and nothing is queued", async () => {
    endpoint.table.orders.hold = async () => {
      throw new Error("The table is down.");
    };
    expect(await withHold()).toMatchObject({ status: 503 });
    expect(endpoint.messages()).toEqual([]);
  });

  test("is one of so many that may be in force; the address's own and ended ones do not count", async () => {
    const put = (index: number, until: number) => {
      const cidr = parseCidr(`198.51.${index >> 8}.${index & 255}`);
      endpoint.table.holds.set(cidr.text, { cidr, requestedAt: NOW, until });
    };
    put(MAX_HOLDS, NOW / 1000);
    for (let index = 0; index < MAX_HOLDS - 1; index++) put(index, NOW / 1000 + 60);
    expect(await withHold()).toMatchObject({ status: 202 });
    expect(await withHold()).toMatchObject({ status: 202 });
    expect(await unblock("ip=203.0.113.2&hold=600")).toMatchObject({
      status: 429,
      headers: { "retry-after": expect.stringMatching(/^\d+$/) },
      body: { error: { code: "too_many_holds" } },
    });
    expect(await unblock("ip=203.0.113.2")).toMatchObject({ status: 202 });
  });

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
