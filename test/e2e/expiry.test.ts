import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { eventually, startTestCloud, type TestCloud } from "./cloud.ts";

// The pure event path: the schedule is off, so only the table's stream can wake the enforcer.

let cloud: TestCloud;
beforeAll(async () => {
  cloud = await startTestCloud({ RECONCILE_SECONDS: "0" });
}, 120_000);
afterAll(() => cloud.stop());

test("the entry goes on the REMOVE event of DynamoDB's TTL", async () => {
  await cloud.block({ ip: "203.0.113.20", expiryTime: 3 });
  await eventually("denied", 10, async () => (await cloud.denied()).includes("203.0.113.20/32"));
  await eventually("gone", 60, async () => !(await cloud.denied()).includes("203.0.113.20/32"));

  const left = cloud
    .log("enforcer")
    .split("\n")
    .filter((line) => line.includes("A block left the table"))
    .map((line) => JSON.parse(line));
  expect(left).toEqual([
    expect.objectContaining({ cidr: "203.0.113.20/32", by: "TTL", hasEnded: true }),
  ]);
}, 120_000);
