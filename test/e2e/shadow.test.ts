import { BlockList } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import {
  CreateNetworkAclEntryCommand,
  DeleteNetworkAclEntryCommand,
  DescribeNetworkAclsCommand,
  ReplaceNetworkAclAssociationCommand,
  ReplaceNetworkAclEntryCommand,
} from "@aws-sdk/client-ec2";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { eventually, type ListedBlock, startTestCloud, type TestCloud } from "./cloud.ts";
import { deniedIn, type Sample, watch } from "./watch.ts";

// What a person's rules, or AWS, keep from being denied, and what is said of it.

/** How long an entry may lie behind an allow that has just been made. */
const GRACE_MS = 2_000;

const SPARE = "acl-0bbbbbbbbbbbbbbbb";

let cloud: TestCloud;
beforeAll(async () => {
  cloud = await startTestCloud({ RECONCILE_SECONDS: "1" });
}, 120_000);
afterAll(() => cloud.stop());

const allow = (RuleNumber: number, CidrBlock: string, port: number) => ({
  NetworkAclId: cloud.stack.aclId,
  Egress: false,
  RuleNumber,
  RuleAction: "allow" as const,
  Protocol: "6",
  PortRange: { From: port, To: port },
  CidrBlock,
});
const addAllow = (...rule: Parameters<typeof allow>) =>
  cloud.ec2.send(new CreateNetworkAclEntryCommand(allow(...rule)));
const takeNumber = (...rule: Parameters<typeof allow>) =>
  cloud.ec2.send(new ReplaceNetworkAclEntryCommand(allow(...rule)));
const removeAllow = (RuleNumber: number) =>
  cloud.ec2.send(
    new DeleteNetworkAclEntryCommand({
      NetworkAclId: cloud.stack.aclId,
      Egress: false,
      RuleNumber,
    }),
  );

/** The listed blocks by state; the states that the list gives for the one ACL. */
const inState = async (state: string): Promise<string[]> => {
  const { blocks } = await cloud.list("?limit=200");
  const stateOf = ({ targets }: ListedBlock) => targets[cloud.stack.aclId]?.state;
  return blocks.filter((block) => stateOf(block) === state).map(({ cidr }) => cidr);
};
const counts = async () => [
  (await cloud.denied()).length,
  (await inState("enforced")).length,
  (await inState("shadowed")).length,
];
const problem = async () => (await cloud.list()).targets[0]?.problem;
const lastOf = (metric: string) => cloud.metric(metric).at(-1);

/** Entries of ours, of single IPv4 addresses, that an allow before them makes idle. */
function shadowedEntries(samples: readonly Sample[]): string[] {
  const allowedSinceMs = new Map<string, number>();
  return samples.flatMap(({ fromMs, toMs, entries }) => {
    const allows = entries.filter(
      ({ RuleAction, CidrBlock }) => RuleAction === "allow" && CidrBlock !== undefined,
    );
    const keyOf = ({ RuleNumber, CidrBlock }: (typeof allows)[number]) =>
      `${RuleNumber} ${CidrBlock}`;
    const shown = new Set(allows.map(keyOf));
    for (const key of allowedSinceMs.keys()) if (!shown.has(key)) allowedSinceMs.delete(key);
    for (const key of shown) {
      if (!allowedSinceMs.has(key)) allowedSinceMs.set(key, toMs);
    }
    return allows
      .filter((one) => fromMs > (allowedSinceMs.get(keyOf(one)) ?? fromMs) + GRACE_MS)
      .flatMap((one) => {
        const [net = "", prefix] = one.CidrBlock?.split("/") ?? [];
        const range = new BlockList();
        range.addSubnet(net, Number(prefix));
        const behind = entries.filter(
          ({ RuleNumber = 0 }) => RuleNumber > (one.RuleNumber ?? 0) && RuleNumber < 100,
        );
        return deniedIn({ entries: behind })
          .filter((cidr) => range.check(cidr.replace(/\/32$/, "")))
          .map((cidr) => `${cidr} behind ${keyOf(one)}`);
      });
  });
}

test("no entry of ours is ever behind an allow that overlaps it, and the list tells who waits for that", async () => {
  const INSIDE = "192.0.2.7"; // in the range of the allow at 1
  const outside = Array.from({ length: 11 }, (_, index) => `203.0.113.${index * 8 + 1}`);
  await addAllow(1, "192.0.2.0/24", 22);
  await addAllow(10, "0.0.0.0/0", 443);
  const watched = await watch(cloud);

  for (const ip of [...outside, INSIDE]) await cloud.block({ ip });
  // Eight numbers below 10 but for the 1, where nothing is below for the one inside.
  await eventually("8 enforced, 4 shadowed", 15, async () => (await counts()).join() === "8,8,4");
  expect(await inState("shadowed")).toContain(`${INSIDE}/32`);
  const shadowed = (await cloud.list()).blocks.find(({ cidr }) => cidr === `${INSIDE}/32`);
  expect(shadowed?.state).toBe("waiting");
  await eventually("Shadowed is 4", 5, async () => lastOf("Shadowed") === 4);
  expect((await cloud.list()).targets[0]?.shadowed).toBe(4);

  // A person takes one of our numbers for an allow of everything, while we run.
  await takeNumber(5, "0.0.0.0/0", 8080);
  await eventually("3 enforced, 9 shadowed", 5, async () => (await counts()).join() === "3,3,9");
  await sleep(GRACE_MS);

  // An allow of other addresses is no reason to wait.
  await addAllow(7, "198.51.100.0/24", 22);
  await removeAllow(5);
  await eventually("8 again, of numbers 2 to 9 without 7", 5, async () => {
    return (await counts()).join() === "7,7,5";
  });
  await sleep(GRACE_MS);

  await removeAllow(10);
  await eventually("all but the one inside", 5, async () => (await counts()).join() === "11,11,1");
  expect(await inState("shadowed")).toEqual([`${INSIDE}/32`]);
  await removeAllow(1);
  await eventually("all", 5, async () => (await counts()).join() === "12,12,0");
  await eventually("Shadowed is 0", 5, async () => lastOf("Shadowed") === 0);
  await sleep(GRACE_MS);

  const samples = await watched.stop();
  expect(samples.length).toBeGreaterThan(50);
  expect(shadowedEntries(samples)).toEqual([]);
}, 90_000);

describe("an ACL that guards no subnet", () => {
  /** Moves all subnets of one ACL to another. */
  async function moveSubnets(from: string, to: string): Promise<void> {
    const { NetworkAcls } = await cloud.ec2.send(
      new DescribeNetworkAclsCommand({ NetworkAclIds: [from] }),
    );
    const associations = NetworkAcls?.[0]?.Associations ?? [];
    expect(associations.length).toBeGreaterThan(0);
    for (const { NetworkAclAssociationId } of associations) {
      await cloud.ec2.send(
        new ReplaceNetworkAclAssociationCommand({
          AssociationId: NetworkAclAssociationId,
          NetworkAclId: to,
        }),
      );
    }
  }

  test("is listed and counted as unassociated, until it guards one again", async () => {
    await cloud.block({ ip: "203.0.113.201" });
    await eventually("enforced", 10, async () =>
      (await cloud.denied()).includes("203.0.113.201/32"),
    );
    expect(await problem()).toBeUndefined();
    await cloud.control("ec2", { createAcl: { networkAclId: SPARE, allowAll: true } });
    await moveSubnets(cloud.stack.aclId, SPARE);
    await eventually("unassociated", 5, async () => (await problem()) === "unassociated");
    await eventually("Unassociated is 1", 5, async () => lastOf("Unassociated") === 1);
    const { blocks } = await cloud.list("?ip=203.0.113.201");
    expect(blocks[0]?.targets[cloud.stack.aclId]).toMatchObject({ why: "unassociated" });

    await moveSubnets(SPARE, cloud.stack.aclId);
    await eventually("all is well", 5, async () => (await problem()) === undefined);
    await eventually("Unassociated is 0", 5, async () => lastOf("Unassociated") === 0);
  }, 60_000);
});

describe("EC2 refuses", () => {
  const code = "UnauthorizedOperation";
  const standing = async (ip: string) => {
    const { blocks } = await cloud.list(`?ip=${ip}`);
    return { state: blocks[0]?.state, ...blocks[0]?.targets[cloud.stack.aclId] };
  };

  test.each([
    [
      "every change",
      ["CreateNetworkAclEntry", "ReplaceNetworkAclEntry", "DeleteNetworkAclEntry"],
      { state: "refused", why: code },
      "203.0.113.209",
    ],
    ["every call", [undefined], { state: "refused", why: code }, "203.0.113.217"],
  ])(
    "%s: new blocks wait with the reason, it is counted, and it mends itself",
    async (_what, actions, expected, ip) => {
      const sinceMs = Date.now();
      await cloud.control("ec2", {
        refuse: actions.map((action) => ({ code, ...(action && { action }) })),
      });
      await cloud.block({ ip });
      await eventually("refused", 10, async () => {
        const { state, why } = await standing(ip);
        return state === expected.state && why === expected.why;
      });
      const { blocks, targets } = await cloud.list(`?ip=${ip}`);
      expect(blocks[0]?.state).toBe("waiting");
      expect(targets[0]?.problem).toBe("refused");
      await eventually("ChangesRefused counts it", 5, async () =>
        cloud.metric("ChangesRefused", sinceMs).some((count) => count > 0),
      );

      await cloud.control("ec2", { refuse: [] });
      await eventually("enforced", 5, async () => (await cloud.denied()).includes(`${ip}/32`));
      await eventually("the list says so", 5, async () => {
        return (await standing(ip)).state === "enforced" && (await problem()) === undefined;
      });
      await eventually("ChangesRefused is 0", 5, async () => lastOf("ChangesRefused") === 0);
    },
    60_000,
  );
});
