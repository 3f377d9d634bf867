import { describe, expect, test } from "@jest/globals";
import { bearer, queueDown, startEndpoint } from "../../support/endpoint.ts";
import { callerListOf, OPERATOR_TOKEN } from "../../support/tokens.ts";

// What a report costs of its caller's budget, and what comes after it.

const withBudget = (addressesPerMinute: number, change: object = {}) =>
  startEndpoint({ callerList: () => callerListOf({ addressesPerMinute }), ...change });
const ipOf = (index: number) => `203.0.113.${index}`;
const overBudget = {
  status: 429,
  headers: { "retry-after": expect.stringMatching(/^([1-9]|[1-5]\d|60)$/) },
  body: { error: { code: "over_budget", message: expect.stringMatching(/^[^\n]+\.$/) } },
};

describe("a report", () => {
  test("past the budget is refused, and nothing is accepted", async () => {
    const endpoint = withBudget(2);
    for (const index of [1, 2]) {
      expect(await endpoint.report({ ip: ipOf(index) })).toMatchObject({ status: 202 });
    }
    expect(await endpoint.report({ ip: ipOf(3) })).toMatchObject(overBudget);
    expect(endpoint.messages()).toHaveLength(2);
    expect(endpoint.metrics).toEqual(["OverBudget"]);
    endpoint.now += 60_000;
    expect(await endpoint.report({ ip: ipOf(3) })).toMatchObject({ status: 202 });
  });

  test("that folds costs nothing", async () => {
    const endpoint = withBudget(1);
    for (let time = 0; time < 5; time++) {
      expect(await endpoint.report({ ip: ipOf(1) })).toMatchObject({ status: 202 });
    }
    expect(await endpoint.report({ ip: ipOf(2) })).toMatchObject(overBudget);
    expect(await endpoint.report({ ip: ipOf(1) })).toMatchObject({ status: 202 });
  });

  test("that is ignored costs as much as one that is queued: nobody may search for free", async () => {
    const endpoint = withBudget(2);
    for (let time = 0; time < 2; time++) {
      expect(await endpoint.report({ ip: "10.0.0.1" })).toMatchObject({ status: 200 });
    }
    expect(await endpoint.report({ ip: "10.0.0.1" })).toMatchObject(overBudget);
    expect(await endpoint.report({ ip: ipOf(1) })).toMatchObject(overBudget);
  });

  test("that is refused costs nothing", async () => {
    const endpoint = withBudget(1);
    for (let time = 0; time < 5; time++) await endpoint.report({ ip: "nonsense" });
    expect(await endpoint.report({ ip: ipOf(1) })).toMatchObject({ status: 202 });
  });

  test("that the queue did not take costs nothing", async () => {
    const endpoint = withBudget(1);
    endpoint.queue.failure = queueDown();
    for (let time = 0; time < 3; time++) {
      expect(await endpoint.report({ ip: ipOf(1) })).toMatchObject({ status: 503 });
      expect(await endpoint.report({ ips: [ipOf(1)] })).toMatchObject({ status: 503 });
    }
    endpoint.queue.failure = undefined;
    expect(await endpoint.report({ ip: ipOf(1) })).toMatchObject({ status: 202 });
  });

  test("past the budget costs no call, nor a read of a parameter", async () => {
    const endpoint = withBudget(1);
    await endpoint.report({ ip: ipOf(1) });
    await endpoint.report({ ip: ipOf(2) });
    const { calls } = endpoint.budgets;
    for (let index = 3; index < 100; index++) await endpoint.report({ ip: ipOf(index) });
    expect(endpoint.budgets.calls).toBe(calls);
  });
});

describe("an operator", () => {
  const headers = bearer(OPERATOR_TOKEN);
  const operatorsOwn = (limits: object) => ({
    callerList: () => JSON.stringify([{ name: "night-shift", role: "operator", ...limits }]),
  });

  test("has a budget for reports", async () => {
    const endpoint = startEndpoint(operatorsOwn({ addressesPerMinute: 1 }));
    expect(await endpoint.report({ ip: ipOf(1) }, { headers })).toMatchObject({ status: 202 });
    expect(await endpoint.report({ ip: ipOf(2) }, { headers })).toMatchObject(overBudget);
  });

  test("unblocks, undoes and orders a mode, whatever the budget and the blocks in force", async () => {
    const endpoint = startEndpoint({ ...operatorsOwn({ addressesPerMinute: 1 }), blockLimit: 0 });
    for (let time = 0; time < 3; time++) await endpoint.report({ ip: ipOf(time) }, { headers });
    for (const [method, url] of [
      ["DELETE", `/blacklistip?ip=${ipOf(1)}&hold=60`],
      ["DELETE", "/blacklist?detector=suricata&since=0"],
      ["PUT", "/mode?mode=off"],
    ] as const) {
      expect((await endpoint.call(method, url, { headers })).status).toBeLessThan(300);
    }
  });
});

test("a list that is full takes nothing", async () => {
  const endpoint = startEndpoint({ blockLimit: 0 });
  for (const fields of [{ ip: ipOf(1) }, { ips: [ipOf(1), ipOf(2)] }]) {
    expect(await endpoint.report(fields)).toMatchObject({
      status: 503,
      headers: { "retry-after": "60" },
      body: { error: { code: "list_full" } },
    });
  }
  expect(endpoint.messages()).toEqual([]);
});

test("a caller that has too many blocks in force is refused", async () => {
  const endpoint = startEndpoint({ callerList: () => callerListOf({ outstanding: 1 }) });
  endpoint.table.outstandingBy.set("suricata", { m99999999999: 1 });
  expect(await endpoint.report({ ip: ipOf(1) })).toMatchObject({
    status: 429,
    headers: { "retry-after": "60" },
    body: { error: { code: "too_many_blocks" } },
  });
});

describe("many in one request", () => {
  test("are taken as far as the budget goes, in their order", async () => {
    const endpoint = withBudget(3);
    await endpoint.report({ ip: ipOf(1) });
    const ips = [ipOf(1), "10.0.0.1", ipOf(2), ipOf(3), "10.0.0.2", "nonsense"];
    const { status, body } = await endpoint.report({ ips });
    expect(status).toBe(202);
    expect(body.results).toMatchObject([
      { status: "queued", cidr: "203.0.113.1/32" },
      { status: "ignored", cidr: "10.0.0.1/32" },
      { status: "queued", cidr: "203.0.113.2/32" },
      { status: "refused", ip: ipOf(3), error: { code: "over_budget" } },
      { status: "refused", ip: "10.0.0.2", error: { code: "over_budget" } },
      { status: "refused", ip: "nonsense", error: { code: "invalid_ip" } },
    ]);
    expect(endpoint.metrics).toEqual(["OverBudget"]);
  });

  test("are refused as a whole where nothing could be taken", async () => {
    const endpoint = withBudget(1);
    await endpoint.report({ ip: ipOf(1) });
    const answer = await endpoint.report({ ips: [ipOf(2), ipOf(3), "nonsense"] });
    expect(answer).toMatchObject(overBudget);
    expect(answer.body.results).toHaveLength(3);
    expect(endpoint.messages()).toHaveLength(1);
  });

  test("cost once what they name again and again", async () => {
    const endpoint = withBudget(1);
    const { status, body } = await endpoint.report({ ips: Array(100).fill(ipOf(1)) });
    expect(status).toBe(202);
    expect(body.results.every((one: { status: string }) => one.status === "queued")).toBe(true);
  });
});
