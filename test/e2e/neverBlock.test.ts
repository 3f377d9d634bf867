import { CreateManagedPrefixListCommand } from "@aws-sdk/client-ec2";
import { PutParameterCommand, SSMClient } from "@aws-sdk/client-ssm";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { eventually, startTestCloud, type TestCloud } from "./cloud.ts";
import { operatorOf } from "./operator.ts";

let cloud: TestCloud;
beforeAll(async () => {
  cloud = await startTestCloud({ RECONCILE_SECONDS: "3", NEVER_BLOCK: "198.51.100.0/28" });
}, 120_000);
afterAll(() => cloud.stop());

const denies = async (cidr: string) => (await cloud.denied()).includes(cidr);

describe("the owner's never-block list", () => {
  test("an address on it, and a range that contains one, is ignored", async () => {
    for (const ip of ["198.51.100.7", "198.51.100.0/24"]) {
      const { status, body } = await cloud.block({ ip });
      expect([status, body.status, body.reason]).toEqual([
        200,
        "ignored",
        "This address is protected.",
      ]);
    }
  });

  test("a range added to it is unblocked at the next converge", async () => {
    await cloud.block({ ip: "203.0.113.66" });
    await cloud.block({ ip: "203.0.113.99" });
    await eventually("both denied", 10, async () => {
      return (await denies("203.0.113.66/32")) && (await denies("203.0.113.99/32"));
    });
    const { endpoints, region } = cloud.stack;
    const ssm = new SSMClient({
      endpoint: endpoints.ssm,
      region,
      credentials: { accessKeyId: "local", secretAccessKey: "local" },
    });
    const Name = "/portcullis/local/never-block";
    await ssm.send(
      new PutParameterCommand({ Name, Value: "203.0.113.64/30", Type: "String", Overwrite: true }),
    );
    await eventually("the protected one is unblocked", 20, async () => {
      return !(await denies("203.0.113.66/32"));
    });
    expect(await denies("203.0.113.99/32")).toBe(true);

    // A list that cannot be trusted blocks nothing new, and lets nothing go before its time.
    await ssm.send(
      new PutParameterCommand({ Name, Value: "not a list", Type: "String", Overwrite: true }),
    );
    ssm.destroy();
    await eventually("the enforcer cannot read the list", 20, async () =>
      cloud.log("enforcer").includes('"NeverBlockUnreadable":1'),
    );
    expect((await cloud.block({ ip: "203.0.113.150" })).status).toBe(202);
    await eventually("the block is in the table", 10, async () => {
      const answer = await cloud.call("/blacklist?ip=203.0.113.150", {
        token: cloud.stack.operatorToken,
      });
      const { blocks } = (await answer.json()) as { blocks: { state: string }[] };
      return blocks[0]?.state === "waiting";
    });
    expect(await denies("203.0.113.150/32")).toBe(false);
    expect(await denies("203.0.113.99/32")).toBe(true);
  }, 90_000);
});

test("an instance that EC2 has never shown a prefix list goes by what is recorded of it", async () => {
  const env = { RECONCILE_SECONDS: "0" };
  let own = await startTestCloud(env);
  try {
    const deniedBy = async (ip: string) => (await own.denied()).includes(`${ip}/32`);
    const { PrefixList } = await own.ec2.send(
      new CreateManagedPrefixListCommand({
        ...{ PrefixListName: "partners", AddressFamily: "IPv4", MaxEntries: 5 },
        Entries: [{ Cidr: "203.0.113.40/29" }],
      }),
    );
    const id = String(PrefixList?.PrefixListId);
    expect(await operatorOf(own, "").run("never-block", "add", id)).toMatchObject({ code: 0 });
    await own.block({ ip: "203.0.113.200" });
    await eventually("a converge has read it", 20, () => deniedBy("203.0.113.200"));

    await own.kill();
    own = await startTestCloud(env, own.dir);
    const refuse = ["DescribeManagedPrefixLists", "DescribeAddresses"];
    await own.control("ec2", {
      refuse: refuse.map((action) => ({ action, code: "InternalError", status: 500 })),
    });
    await own.block({ ip: "203.0.113.210" });
    await eventually("a new block is denied all the same", 20, () => deniedBy("203.0.113.210"));
    expect(own.log("enforcer")).toContain(`"prefixList":"${id}"`);
  } finally {
    await own.stop();
  }
}, 180_000);
