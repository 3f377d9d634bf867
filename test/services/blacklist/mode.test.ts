import { beforeEach, describe, expect, test } from "@jest/globals";
import { bearer, json, queueDown, startEndpoint } from "../../support/endpoint.ts";
import { OPERATOR_TOKEN } from "../../support/tokens.ts";

let endpoint: ReturnType<typeof startEndpoint>;
beforeEach(() => {
  endpoint = startEndpoint();
});
const headers = { ...bearer(OPERATOR_TOKEN), ...json };
const put = (body: object) => endpoint.call("PUT", "/mode", { headers, body });
const listed = async () => (await endpoint.call("GET", "/blacklist", { headers })).body.mode;

describe("the mode", () => {
  test.each(["off", "monitor", "enforce"] as const)("%s is written at once", async (mode) => {
    const answer = await put({ mode });
    expect(answer).toMatchObject({ status: 200 });
    expect(answer.body).toEqual({ mode });
    expect(endpoint.table.mode).toBe(mode);
    expect(await listed()).toBe(mode);
  });

  test("that is ordered gives way to the deployment's own", async () => {
    await put({ mode: "off" });
    expect((await put({ mode: "default" })).body).toEqual({ mode: "default" });
    expect(endpoint.table.mode).toBeUndefined();
    expect(await listed()).toBe("enforce");
  });

  test("needs no queue: a kill switch must work when nothing else does", async () => {
    endpoint.queue.failure = queueDown();
    expect(await put({ mode: "off" })).toMatchObject({ status: 200 });
    expect(endpoint.queue.sent).toEqual([]);
  });

  test.each([{}, { mode: "on" }, { mode: "OFF" }, { mode: null }, { mode: ["off"] }])(
    "is not %j",
    async (body) => {
      expect(await put(body)).toMatchObject({
        status: 400,
        body: { error: { code: "invalid_mode", message: expect.stringContaining("off") } },
      });
      expect(endpoint.table.mode).toBeUndefined();
    },
  );

  test("that cannot be written is 503", async () => {
    endpoint.table.orders.setMode = async () => {
      throw new Error("The table is down.");
    };
    expect(await put({ mode: "off" })).toMatchObject({
      status: 503,
      headers: { "retry-after": "2" },
      body: { error: { code: "unavailable" } },
    });
  });

  test("of the targets is shown while the orders cannot be read", async () => {
    await put({ mode: "off" });
    endpoint.table.orders.read = async () => {
      throw new Error("The table is down.");
    };
    expect(await listed()).toBe("enforce");
  });
});
