import { CreateNetworkAclEntryCommand } from "@aws-sdk/client-ec2";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { eventually, startTestCloud, type TestCloud } from "./cloud.ts";

let cloud: TestCloud;
beforeAll(async () => {
  cloud = await startTestCloud({ RULE_LIMIT: "5", RECONCILE_SECONDS: "5" });
  // A person's rule within our number range, and (from the start) one at 100.
  await cloud.ec2.send(
    new CreateNetworkAclEntryCommand({
      NetworkAclId: cloud.stack.aclId,
      Egress: false,
      RuleNumber: 3,
      RuleAction: "deny",
      Protocol: "-1",
      CidrBlock: "192.0.2.0/24",
    }),
  );
}, 120_000);
afterAll(() => cloud.stop());

const list = async () => (await cloud.list()).blocks;
const persons = async () =>
  (await cloud.entries()).filter(({ RuleNumber = 0 }) => RuleNumber === 3 || RuleNumber >= 100);
const enforced = async () => (await cloud.denied()).filter((cidr) => cidr !== "192.0.2.0/24");

describe("twelve blocks for five slots", () => {
  // Addresses that are no siblings of each other, so that nothing merges.
  const addresses = Array.from({ length: 12 }, (_, index) => `203.0.113.${index * 4 + 1}`);
  const severities = [3, 9, 1, 7, 5, 10, 2, 8, 4, 6, 1, 2];
  const byRank = addresses
    .map((ip, index) => ({ cidr: `${ip}/32`, severity: severities[index] ?? 0 }))
    .toSorted((a, b) => b.severity - a.severity);
  const strongest = (count: number) =>
    byRank
      .slice(0, count)
      .map(({ cidr }) => cidr)
      .toSorted();

  test("exactly the five strongest are enforced, seven wait, a person's rules are untouched", async () => {
    const before = await persons();
    await Promise.all(
      addresses.map((ip, index) => cloud.block({ ip, severity: severities[index] })),
    );
    await eventually("the five strongest are enforced", 20, async () => {
      return JSON.stringify((await enforced()).toSorted()) === JSON.stringify(strongest(5));
    });
    const states = [...Array(5).fill("enforced"), ...Array(7).fill("waiting")].join();
    await eventually("the list says so", 10, async () => {
      return (await list()).map(({ state }) => state).join() === states;
    });
    const blocks = await list();
    expect(
      blocks
        .map(({ cidr }) => cidr)
        .slice(0, 5)
        .toSorted(),
    ).toEqual(strongest(5));
    expect(await persons()).toEqual(before);
  }, 60_000);

  test("where the strongest is unblocked, the sixth takes its slot", async () => {
    const before = await persons();
    const [first, , , , , sixth] = byRank;
    const address = first?.cidr.split("/")[0];
    const answer = await cloud.call(`/blacklistip?ip=${address}`, {
      method: "DELETE",
      token: cloud.stack.operatorToken,
    });
    expect(answer.status).toBe(202);
    await eventually("the sixth is enforced", 5, async () => {
      const denied = await enforced();
      return denied.includes(sixth?.cidr ?? "") && !denied.includes(first?.cidr ?? "");
    });
    expect(await enforced()).toHaveLength(5);
    expect(await persons()).toEqual(before);
  }, 60_000);

  test("a stronger newcomer takes the weakest one's slot, by one replace", async () => {
    await cloud.block({ ip: "2001:db8::77", severity: 10 }); // another family, another limit
    const weakest = (await list()).filter(({ state }) => state === "enforced").at(4);
    await cloud.block({ ip: "198.51.100.200", severity: 10 });
    await eventually("the newcomer is enforced", 10, async () =>
      (await enforced()).includes("198.51.100.200/32"),
    );
    expect(await enforced()).not.toContain(weakest?.cidr);
    const swap = cloud
      .log("enforcer")
      .split("\n")
      .filter((line) => line.includes('"Changed the target"'))
      .map((line) => JSON.parse(line))
      .find(({ cidr }) => cidr === "198.51.100.200/32");
    expect(swap).toMatchObject({ kind: "replace", before: weakest?.cidr });
  }, 60_000);

  test("a detector may not list, nor say what holds for others", async () => {
    expect((await cloud.call("/blacklist")).status).toBe(403);
    const url = "/blacklistip?ip=203.0.113.1&hold=60";
    expect((await cloud.call(url, { method: "DELETE" })).status).toBe(403);
  });
});
