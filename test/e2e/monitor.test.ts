import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { eventually, newDir, startTestCloud, type TestCloud } from "./cloud.ts";

const dir = newDir();
const env = { RULE_LIMIT: "1", RECONCILE_SECONDS: "5" };
const DEFAULT_NUMBERS = [100, 101, 32_767, 32_768];

let cloud: TestCloud;
beforeAll(async () => {
  cloud = await startTestCloud(env, dir);
}, 120_000);
afterAll(() => cloud.stop());

const states = async () => {
  const { mode, blocks } = await cloud.list();
  return [mode, ...blocks.map(({ cidr, state }) => `${cidr} ${state}`)].join(", ");
};

test("switched to monitor, our own entries leave, and the list shows what would be", async () => {
  await cloud.block({ ip: "203.0.113.5", severity: 9 });
  await eventually("denied", 10, async () => (await cloud.denied()).includes("203.0.113.5/32"));
  await cloud.kill();

  cloud = await startTestCloud({ ...env, MODE: "monitor" }, dir);
  await eventually("our entry is gone", 15, async () => (await cloud.denied()).length === 0);
  await cloud.block({ ip: "203.0.113.50", severity: 2 });
  const expected = "monitor, 203.0.113.5/32 monitored, 203.0.113.50/32 waiting";
  await eventually(expected, 15, async () => (await states()) === expected);
  const numbers = (await cloud.entries()).map(({ RuleNumber }) => RuleNumber);
  expect(DEFAULT_NUMBERS).toEqual(expect.arrayContaining(numbers));
  expect(cloud.log("enforcer")).toContain("Would change the target");
}, 120_000);
