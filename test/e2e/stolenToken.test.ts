import { createHmac } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { addDetector, CALLERS, changeList, PARAMETER_MS } from "./callers.ts";
import { eventually, startTestCloud, type TestCloud } from "./cloud.ts";

// What a stolen token can do, and what its owner does about it.

let cloud: TestCloud;
/** The token of another detector, which nobody has robbed. */
let honest: string;

beforeAll(async () => {
  cloud = await startTestCloud({ EXPIRY_TIME: "3600" });
  honest = await addDetector(cloud, "honest");
}, 120_000);
afterAll(() => cloud.stop());

const json = { "content-type": "application/json" };
const report = (fields: object, token?: string) =>
  cloud.call("/blacklistip", {
    method: "POST",
    headers: json,
    body: JSON.stringify(fields),
    ...(token && { token }),
  });
const asOperator = (method: string, path: string, body?: object) =>
  cloud.call(path, {
    method,
    token: cloud.stack.operatorToken,
    headers: json,
    ...(body && { body: JSON.stringify(body) }),
  });
/** A hundred addresses that nobody else reports. */
const hundred = (n: number) => Array.from({ length: 100 }, (_, i) => `41.${n}.${i}.1`);
const isDenied = async (cidr: string) => (await cloud.denied()).includes(cidr);
const stateOf = async (ip: string) => (await cloud.list(`?ip=${ip}`)).blocks[0];

describe("a token that floods", () => {
  test("is told to wait past its budget, and holds up neither another detector nor the operator", async () => {
    const statuses = new Set<number>();
    // More than two minutes' budgets: a new minute may begin meanwhile.
    for (let n = 0; n < 130 && !statuses.has(429); n++)
      statuses.add((await report({ ips: hundred(n) })).status);
    expect(statuses).toEqual(new Set([202, 429]));
    expect((await report({ ip: "203.0.113.1" })).headers.get("retry-after")).toMatch(/^\d+$/);

    await report({ ip: "203.0.113.9", severity: 9 }, honest);
    await eventually("another detector's block", 3, () => isDenied("203.0.113.9/32"));
    expect((await asOperator("DELETE", "/blacklistip?ip=203.0.113.9")).status).toBe(202);
    await eventually("unblocked", 3, async () => !(await isDenied("203.0.113.9/32")));
  }, 60_000);

  test("an operator's block stands above whatever it reports, at whatever severity", async () => {
    await asOperator("POST", "/blacklistip", { ip: "203.0.113.77", severity: 1 });
    await eventually("enforced", 5, () => isDenied("203.0.113.77/32"));
  }, 20_000);
});

describe("its owner", () => {
  test("takes back everything that it reported, and nothing else", async () => {
    await report({ ip: "203.0.113.21", severity: 9 }, honest);
    await report({ ip: "41.0.1.1", severity: 9 }, honest);
    // A page of another's blocks comes before, so that the worker has to go on with the next one.
    for (const third of [0, 1]) {
      const ips = Array.from({ length: 100 }, (_, i) => `23.0.${third}.${2 * i}`);
      await report({ ips, severity: 1 }, honest);
    }
    await eventually("they are in the table", 30, async () => {
      return (await stateOf("23.0.1.198")) !== undefined;
    });
    const since = Math.floor(Date.now() / 1000) - 600;
    const undo = await asOperator("DELETE", `/blacklist?detector=detector&since=${since}`);
    expect(undo.status).toBe(202);
    await eventually("nothing of it is left", 60, async () => {
      const { blocks } = await cloud.list("?limit=200");
      const names = blocks.flatMap((block) => (block as { detectors?: string[] }).detectors ?? []);
      return blocks.length > 0 && !names.includes("detector");
    });
    expect(await stateOf("203.0.113.21")).toMatchObject({ detectors: ["honest"] });
    expect(await stateOf("41.0.1.1")).toMatchObject({ detectors: ["honest"] });
  }, 120_000);

  test("revokes it: it is refused, and what lies in the queue is dropped", async () => {
    await changeList(cloud, CALLERS, (list) => list.filter(({ name }) => name !== "detector"));
    await pause(PARAMETER_MS);
    expect((await report({ ip: "203.0.113.31" })).status).toBe(401);
  }, 30_000);
});

test("a detector may sign its requests, and no signature holds for another body", async () => {
  const timestamp = String(Math.floor(Date.now() / 1000));
  const key = createHmac("sha256", honest).update("portcullis-signature").digest();
  const body = JSON.stringify({ ip: "203.0.113.41", severity: 9 });
  const signed = ["POST", "/blacklistip", body];
  const signature = createHmac("sha256", key)
    .update([timestamp, ...signed].join("\n"))
    .digest("hex");
  const send = (text: string) =>
    cloud.call("/blacklistip", {
      method: "POST",
      token: null,
      headers: {
        ...json,
        "x-portcullis-timestamp": timestamp,
        "x-portcullis-signature": `honest:${signature}`,
      },
      body: text,
    });
  expect((await send(body)).status).toBe(202);
  expect((await send(body.replace("41", "42"))).status).toBe(401);
}, 20_000);
