import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { eventually, startTestCloud, type TestCloud } from "./cloud.ts";

// The pure event path: the schedule is off.

let cloud: TestCloud;
beforeAll(async () => {
  cloud = await startTestCloud({ RECONCILE_SECONDS: "0" });
}, 120_000);
afterAll(() => cloud.stop());

const removals = () =>
  cloud
    .log("enforcer")
    .split("\n")
    .filter((line) => line.includes("A block left the table"))
    .map((line) => JSON.parse(line));

test("the entry goes at its end, and the enforcer hears of DynamoDB's TTL later", async () => {
  const { body } = await cloud.block({ ip: "203.0.113.20", expiryTime: 5 });
  await eventually("denied", 4, async () => (await cloud.denied()).includes("203.0.113.20/32"));
  const untilEnd = Number(body.expiresAt) - Date.now() / 1000;
  await eventually("gone", untilEnd + 2, async () => {
    return !(await cloud.denied()).includes("203.0.113.20/32");
  });
  await eventually("TTL has deleted the item", 60, async () => removals().length > 0);
  expect(removals()).toEqual([
    expect.objectContaining({ cidr: "203.0.113.20/32", by: "TTL", hasEnded: true }),
  ]);
}, 120_000);
