import { setTimeout as sleep } from "node:timers/promises";
import {
  DeleteNetworkAclCommand,
  DescribeNetworkAclsCommand,
  ReplaceNetworkAclAssociationCommand,
} from "@aws-sdk/client-ec2";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { eventually, newDir, startTestCloud, type TestCloud } from "./cloud.ts";

// Two ACLs and a pair of WAF IP sets, served by one list.

const FIRST = "acl-0a1b2c3d4e5f60718";
const SECOND = "acl-0bbbbbbbbbbbbbbbb";
const THIRD = "acl-0cccccccccccccccc";
const WAF = "edge";
const ALL = [FIRST, SECOND, WAF];
const PERSONS = "192.0.2.77/32";

/** Within which a block must be denied where nothing is wrong, in seconds. */
const PROMPT = 4;

const env = {
  WAF_IP_SETS: WAF,
  LEAST_SEVERITY: `${WAF}=7`,
  RECONCILE_SECONDS: "5",
};
const dir = newDir();

let cloud: TestCloud;
beforeAll(async () => {
  cloud = await startTestCloud({ ...env, ACL_ID: `${FIRST},${SECOND}` }, dir);
  await cloud.addToIpSet(`${WAF}-v4`, PERSONS);
  await blockIn(ALL, "203.0.113.1", 30); // pays for the cold starts
}, 150_000);
afterAll(() => cloud.stop());

const inWaf = async () => (await cloud.ipSet(`${WAF}-v4`)).Addresses ?? [];
const deniedBy = (target: string) => (target === WAF ? inWaf() : cloud.denied(target));

const isDeniedBy = async (target: string, ip: string) =>
  (await deniedBy(target)).includes(`${ip}/32`);

const deniedIn = (targets: readonly string[], ip: string, seconds: number) =>
  eventually(`${ip} is denied in ${targets.join(", ")}`, seconds, async () => {
    const answers = await Promise.all(targets.map((target) => isDeniedBy(target, ip)));
    return answers.every((isDenied) => isDenied);
  });

/** Blocks the address, and waits for it in these targets. */
async function blockIn(targets: readonly string[], ip: string, seconds = PROMPT): Promise<void> {
  expect((await cloud.block({ ip, severity: 8 })).status).toBe(202);
  await deniedIn(targets, ip, seconds);
}

const listed = async (ip: string) => {
  const { blocks } = await cloud.list(`?ip=${ip}`);
  return blocks.find(({ cidr }) => cidr === `${ip}/32`);
};
const problemOf = async (id: string) =>
  (await cloud.list()).targets.find((target) => target.id === id)?.problem;

/** Moves all subnets of one ACL to another. */
async function moveSubnets(from: string, to: string): Promise<void> {
  const { NetworkAcls } = await cloud.ec2.send(
    new DescribeNetworkAclsCommand({ NetworkAclIds: [from] }),
  );
  for (const { NetworkAclAssociationId } of NetworkAcls?.[0]?.Associations ?? []) {
    await cloud.ec2.send(
      new ReplaceNetworkAclAssociationCommand({
        AssociationId: NetworkAclAssociationId,
        NetworkAclId: to,
      }),
    );
  }
}

describe("all targets well", () => {
  test("stack.json names them", () => {
    expect(cloud.stack.targets).toEqual([
      { id: FIRST, kind: "networkAcl" },
      { id: SECOND, kind: "networkAcl" },
      { id: WAF, kind: "wafIpSet" },
    ]);
  });

  test("a block comes into all of them, the list says where it is, and it leaves all of them", async () => {
    await cloud.block({ ip: "203.0.113.5", severity: 8, expiryTime: 8 });
    await deniedIn(ALL, "203.0.113.5", 6);
    await eventually("the list says so", 3, async () => {
      const block = await listed("203.0.113.5");
      return ALL.every((id) => block?.targets[id]?.state === "enforced");
    });
    const block = await listed("203.0.113.5");
    expect(block).toMatchObject({ state: "enforced", ruleNumber: expect.any(Number) });
    for (const id of [FIRST, SECOND]) {
      const entry = (await cloud.entries(id)).find(
        ({ CidrBlock }) => CidrBlock === "203.0.113.5/32",
      );
      expect(block?.targets[id]?.ruleNumber).toBe(entry?.RuleNumber);
    }
    await eventually("it has left all of them", 12, async () => {
      const denied = await Promise.all(ALL.map((target) => isDeniedBy(target, "203.0.113.5")));
      return denied.every((isDenied) => !isDenied);
    });
  }, 40_000);

  test("a block of too little severity for the WAF is excluded there, and only there", async () => {
    await cloud.block({ ip: "203.0.113.9", severity: 5 });
    await deniedIn([FIRST, SECOND], "203.0.113.9", PROMPT);
    await blockIn([WAF], "203.0.113.13"); // the WAF has been converged since
    expect(await isDeniedBy(WAF, "203.0.113.9")).toBe(false);
    expect((await listed("203.0.113.9"))?.targets[WAF]).toEqual({
      state: "excluded",
      why: "severity",
    });
  }, 40_000);

  test("a person's address in the WAF set stays, and so does the description", async () => {
    const { Addresses, Description } = await cloud.ipSet(`${WAF}-v4`);
    expect(Addresses).toContain(PERSONS);
    expect(Description).toMatch(/^Managed by Portcullis/);
  });
});

describe("one of them is at fault, and the others converge as if alone", () => {
  afterEach(async () => {
    await cloud.control("wafv2", { throttleSet: [] });
    await cloud.control("ec2", { throttleAcl: { [SECOND]: false }, refuse: [] });
  });

  test("a WAF set is throttled", async () => {
    await cloud.control("wafv2", { throttleSet: [`${WAF}-v4`] });
    await blockIn([FIRST, SECOND], "203.0.113.21");
    // Its converge is in full swing now: the next ones must not wait for it.
    await blockIn([FIRST, SECOND], "203.0.113.25");
    await blockIn([FIRST, SECOND], "203.0.113.29");
    expect(await isDeniedBy(WAF, "203.0.113.21")).toBe(false);
    expect((await listed("203.0.113.21"))?.targets[WAF]?.state).toBe("waiting");

    await cloud.control("wafv2", { throttleSet: [] });
    await deniedIn([WAF], "203.0.113.29", 15);
    expect(await inWaf()).toContain(PERSONS);
  }, 60_000);

  test("an ACL is throttled to nothing", async () => {
    const nothing = { mutating: { burst: 0, perSecond: 0 } };
    await cloud.control("ec2", { throttleAcl: { [SECOND]: nothing } });
    await blockIn([FIRST, WAF], "203.0.113.33");
    await blockIn([FIRST, WAF], "203.0.113.37");
    await sleep(8_000); // the SDK slows down where it is throttled: it must not for the others
    await blockIn([FIRST, WAF], "203.0.113.41");
    await blockIn([FIRST, WAF], "203.0.113.65");
    expect(await isDeniedBy(SECOND, "203.0.113.33")).toBe(false);
    expect((await listed("203.0.113.33"))?.targets).toMatchObject({
      [FIRST]: { state: "enforced" },
      [SECOND]: { state: "waiting" },
    });

    await cloud.control("ec2", { throttleAcl: { [SECOND]: false } });
    await deniedIn([SECOND], "203.0.113.65", 20);
  }, 60_000);

  test("an ACL refuses", async () => {
    const sinceMs = Date.now();
    const refusal = { networkAclId: SECOND, code: "UnauthorizedOperation" };
    await cloud.control("ec2", {
      refuse: [
        { ...refusal, action: "CreateNetworkAclEntry" },
        { ...refusal, action: "ReplaceNetworkAclEntry" },
        { ...refusal, action: "DeleteNetworkAclEntry" },
      ],
    });
    await blockIn([FIRST, WAF], "203.0.113.45");
    await blockIn([FIRST, WAF], "203.0.113.49");
    expect(await isDeniedBy(SECOND, "203.0.113.45")).toBe(false);
    await eventually("the list tells of it", 5, async () => {
      return (await problemOf(SECOND)) === "refused";
    });
    expect((await listed("203.0.113.45"))?.targets).toMatchObject({
      [FIRST]: { state: "enforced" },
      [SECOND]: { state: "refused", why: "UnauthorizedOperation" },
      [WAF]: { state: "enforced" },
    });
    expect(await problemOf(FIRST)).toBeUndefined();
    await eventually("ChangesRefused counts it", 5, async () =>
      cloud.metric("ChangesRefused", sinceMs).some((count) => count > 0),
    );

    await cloud.control("ec2", { refuse: [] });
    await deniedIn([SECOND], "203.0.113.49", 15);
    await eventually("the problem is over", 15, async () => {
      return (await problemOf(SECOND)) === undefined;
    });
  }, 60_000);

  test("an ACL is deleted", async () => {
    const sinceMs = Date.now();
    await moveSubnets(SECOND, FIRST);
    await cloud.ec2.send(new DeleteNetworkAclCommand({ NetworkAclId: SECOND }));
    await blockIn([FIRST, WAF], "203.0.113.53");
    await blockIn([FIRST, WAF], "203.0.113.57");
    await eventually("the list tells of it", 10, async () => {
      return (await problemOf(SECOND)) === "missing";
    });
    expect((await listed("203.0.113.53"))?.targets).toMatchObject({
      [FIRST]: { state: "enforced" },
      [SECOND]: { state: "waiting", why: "missing" },
      [WAF]: { state: "enforced" },
    });
    // What was enforced there is so no more.
    expect((await listed("203.0.113.1"))?.targets[SECOND]?.state).toBe("waiting");
    await eventually("TargetMissing counts it", 5, async () =>
      cloud.metric("TargetMissing", sinceMs).includes(1),
    );

    await cloud.control("ec2", { createAcl: { networkAclId: SECOND, allowAll: true } });
    await deniedIn([SECOND], "203.0.113.57", 15);
    await deniedIn([SECOND], "203.0.113.1", 15);
    await eventually("the problem is over", 10, async () => {
      return (await problemOf(SECOND)) === undefined;
    });
  }, 60_000);
});

test("in an ACL that takes the place of the old ones, the blocks are there again", async () => {
  const before = (await cloud.denied(FIRST)).toSorted();
  expect(before.length).toBeGreaterThan(5);
  await cloud.kill();
  cloud = await startTestCloud({ ...env, ACL_ID: THIRD }, dir);
  await eventually("they are all there", 20, async () => {
    return JSON.stringify((await cloud.denied(THIRD)).toSorted()) === JSON.stringify(before);
  });
  await blockIn([THIRD, WAF], "203.0.113.61", 10);
}, 120_000);
