import { setTimeout as pause } from "node:timers/promises";
import { CreateNetworkAclEntryCommand } from "@aws-sdk/client-ec2";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { eventually, startTestCloud, type TestCloud } from "./cloud.ts";

// The kill switch, by events alone: the schedule is off.

const WAF = "edge";
const [A, B] = ["203.0.113.5/32", "203.0.113.50/32"] as const;
const PERSONS = "198.51.100.7/32";
/** In which an order must be in force in every target. */
const SECONDS = 5;

let cloud: TestCloud;
beforeAll(async () => {
  cloud = await startTestCloud({ WAF_IP_SETS: WAF, RECONCILE_SECONDS: "0" });
  const { aclId } = cloud.stack;
  await cloud.ec2.send(
    new CreateNetworkAclEntryCommand({
      ...{ NetworkAclId: aclId, Egress: false, RuleNumber: 50, Protocol: "-1" },
      ...{ RuleAction: "deny", CidrBlock: PERSONS },
    }),
  );
  await cloud.addToIpSet(`${WAF}-v4`, PERSONS);
  for (const ip of ["203.0.113.5", "203.0.113.50"]) await cloud.block({ ip, severity: 9 });
  await inForce([A, B]);
}, 180_000);
afterAll(() => cloud.stop());

/** Waits until every target denies exactly these beside a person's. */
async function inForce(wanted: readonly string[], seconds = 20): Promise<void> {
  const expected = [...wanted, PERSONS].toSorted().join();
  await eventually(`denied: ${expected}`, seconds, async () => {
    const inAcl = await cloud.denied();
    const { Addresses = [] } = await cloud.ipSet(`${WAF}-v4`);
    return [inAcl, Addresses].every((denied) => denied.toSorted().join() === expected);
  });
}

async function order(mode: string): Promise<void> {
  const { status } = await cloud.call("/mode", {
    method: "PUT",
    token: cloud.stack.operatorToken,
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ mode }),
  });
  expect(status).toBe(200);
}

describe("the kill switch", () => {
  test("off: within seconds all of our entries leave every target, a person's stay, and reports are still accepted", async () => {
    await order("off");
    await inForce([], SECONDS);
    const { status } = await cloud.block({ ip: "203.0.113.9", severity: 9, expiryTime: 600 });
    expect(status).toBe(202);
    await pause(3_000);
    await inForce([]);
    const { mode, targets, blocks } = await cloud.list();
    expect(mode).toBe("off");
    expect(targets.map(({ enforced }) => enforced)).toEqual([0, 0]);
    expect(blocks.map(({ state }) => state)).toEqual(["waiting", "waiting", "waiting"]);
  }, 60_000);

  test("enforce: all that is wanted comes back", async () => {
    await order("enforce");
    await inForce([A, B, "203.0.113.9/32"], SECONDS);
  }, 60_000);

  test("default: the deployment's own mode holds again, and the order's removal wakes too", async () => {
    await order("monitor");
    await inForce([], SECONDS);
    await order("default");
    await inForce([A, B, "203.0.113.9/32"], SECONDS);
  }, 60_000);
});
