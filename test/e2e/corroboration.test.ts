import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { addDetector } from "./callers.ts";
import { eventually, startTestCloud, type TestCloud } from "./cloud.ts";

// Two detectors must agree within a window, and DynamoDB's TTL removes nothing, as on AWS for days.

const WINDOW_SECONDS = 3;
/** Blocks so short that equal reports fold for two seconds only. */
const expiryTime = 20;

let cloud: TestCloud;
let another: string;
beforeAll(async () => {
  cloud = await startTestCloud({
    CORROBORATION_THRESHOLD: "2",
    CORROBORATION_WINDOW: String(WINDOW_SECONDS),
    TTL: "off",
  });
  another = await addDetector(cloud, "another");
}, 120_000);
afterAll(() => cloud.stop());

async function report(ip: string, token?: string): Promise<void> {
  const { status } = await cloud.call("/blacklistip", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ ip, expiryTime }),
    ...(token && { token }),
  });
  expect(status).toBe(202);
}
const isDenied = async (ip: string) => (await cloud.denied()).includes(`${ip}/32`);
const denied = (ip: string) => eventually(`${ip} is denied`, 15, () => isDenied(ip));

test("one detector blocks nobody, two of them do", async () => {
  await report("203.0.113.1");
  await pause(1_000);
  expect(await isDenied("203.0.113.1")).toBe(false);
  await report("203.0.113.1", another);
  await denied("203.0.113.1");
}, 40_000);

test("evidence whose time is over counts no more, and holds nobody up", async () => {
  await report("203.0.113.5");
  await pause((WINDOW_SECONDS + 2) * 1_000);
  await report("203.0.113.5", another);
  await pause(1_000);
  expect(await isDenied("203.0.113.5")).toBe(false);
  await report("203.0.113.5");
  await denied("203.0.113.5");
}, 60_000);
