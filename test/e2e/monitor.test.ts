import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { eventually, startTestCloud, type TestCloud } from "./cloud.ts";

let cloud: TestCloud;
beforeAll(async () => {
  cloud = await startTestCloud({ MODE: "monitor", RULE_LIMIT: "1", RECONCILE_SECONDS: "5" });
}, 120_000);
afterAll(() => cloud.stop());

test("in monitor mode the list shows what would be, and nothing is written to the ACL", async () => {
  const before = await cloud.entries();
  await cloud.block({ ip: "203.0.113.5", severity: 9 });
  await cloud.block({ ip: "203.0.113.50", severity: 2 });
  const states = async () => {
    const answer = await cloud.call("/blacklist", { token: cloud.stack.operatorToken });
    const { mode, blocks } = (await answer.json()) as {
      mode: string;
      blocks: { cidr: string; state: string }[];
    };
    return [mode, ...blocks.map(({ cidr, state }) => `${cidr} ${state}`)].join(", ");
  };
  const expected = "monitor, 203.0.113.5/32 monitored, 203.0.113.50/32 waiting";
  await eventually(expected, 15, async () => (await states()) === expected);
  expect(await cloud.entries()).toEqual(before);
  expect(cloud.log("enforcer")).toContain("Would change the ACL");
}, 60_000);
