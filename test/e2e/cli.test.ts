import {
  CreateManagedPrefixListCommand,
  CreateNetworkAclEntryCommand,
  DeleteManagedPrefixListCommand,
  DeleteNetworkAclEntryCommand,
} from "@aws-sdk/client-ec2";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { eventually, startTestCloud, type TestCloud } from "./cloud.ts";
import { operatorOf } from "./operator.ts";

// What an operator runs against a stage, on the local cloud without its schedule: what an order changes,
// events must bring about.

const WAF = "edge";
const PERSONS = "198.51.100.7/32";
/** In which what an operator changes must be in force. */
const SECONDS = 10;

let cloud: TestCloud;
const run = (...args: string[]) => operatorOf(cloud, WAF).run(...args);
const json = (...args: string[]) => operatorOf(cloud, WAF).json(...args);
const described = () => operatorOf(cloud, WAF).described();
/** What the targets were before anything was blocked. */
let before: string;
beforeAll(async () => {
  cloud = await startTestCloud({ WAF_IP_SETS: WAF, RECONCILE_SECONDS: "0" });
  await operatorOf(cloud, WAF).deny(PERSONS);
  before = await described();
}, 180_000);
afterAll(() => cloud?.stop());

const statusOf = async (token: string) =>
  (await cloud.call("/blacklistip?ip=203.0.113.77", { method: "POST", token })).status;

describe("portcullis token", () => {
  let first: string;

  test("new shows a token this once, which is known within ten seconds", async () => {
    const { code, out, err } = await run("token", "new", "zeek", "--most-severity", "7");
    expect([code, err]).toEqual([0, expect.stringContaining("cannot be shown again")]);
    first = out.trim();
    expect(first).toMatch(/^[\w-]{43}$/);
    await eventually("the token is known", SECONDS, async () => (await statusOf(first)) !== 401);
    expect(await run("token", "new", "zeek")).toMatchObject({ code: 1 });
    expect(await run("token", "new", "ze ek")).toMatchObject({ code: 2 });
    expect(await run("token", "new", "other", "--role", "admin")).toMatchObject({ code: 2 });
  }, 60_000);

  test("list names the callers of operator and deployment, and no token", async () => {
    const callers = await json("token", "list");
    expect(callers).toContainEqual({
      ...{ name: "zeek", role: "detector", addedBy: "operator" },
      tokens: [{ digest: expect.stringMatching(/^[0-9a-f]{8}$/) }],
    });
    expect(callers).toContainEqual(
      expect.objectContaining({ name: "detector", addedBy: "deployment" }),
    );
    expect(JSON.stringify(callers)).not.toContain(first);
  }, 60_000);

  test("rotate makes a new one; the old one holds for as long as is asked for", async () => {
    const second = (await run("token", "rotate", "zeek", "--overlap", "12s")).out.trim();
    await eventually("the new one is known", SECONDS, async () => (await statusOf(second)) !== 401);
    expect(await statusOf(first)).not.toBe(401);
    await eventually("the old one ends", 20, async () => (await statusOf(first)) === 401);
    first = second;
  }, 60_000);

  test("revoke ends it within ten seconds, a deployment's own caller too", async () => {
    expect((await run("token", "revoke", "zeek")).code).toBe(0);
    await eventually("it is refused", SECONDS, async () => (await statusOf(first)) === 401);
    expect(await run("token", "revoke", "zeek")).toMatchObject({ code: 1 });

    const { detectorToken } = cloud.stack;
    expect(await statusOf(detectorToken)).not.toBe(401);
    await run("token", "revoke", "detector");
    await eventually("it is refused", SECONDS, async () => (await statusOf(detectorToken)) === 401);
    const again = (await run("token", "new", "detector")).out.trim();
    await eventually("a new one is known", SECONDS, async () => (await statusOf(again)) !== 401);
    expect(await statusOf(detectorToken)).toBe(401);
    cloud.stack.detectorToken = again;
  }, 60_000);
});

describe("portcullis never-block", () => {
  const ip = "203.0.113.20";

  test("add takes an entry that denies the range away, within ten seconds and without the schedule", async () => {
    await cloud.call("/blacklistip", {
      ...{ method: "POST", token: cloud.stack.operatorToken },
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ip, severity: 10 }),
    });
    await eventually("it is denied", 20, async () => (await cloud.denied()).includes(`${ip}/32`));
    expect(await json("never-block", "add", `${ip}/30`, "--why", "office")).toEqual({ added: 1 });
    await eventually(
      "it has left",
      SECONDS,
      async () => !(await cloud.denied()).includes(`${ip}/32`),
    );
  }, 60_000);

  test("list and remove know the range; nothing is written where one of them is none", async () => {
    expect(await json("never-block", "add", "203.0.113.20/30")).toEqual({ added: 0 });
    expect(await run("never-block", "add", "192.0.2.1", "office")).toMatchObject({ code: 2 });
    expect(await json("never-block", "list")).toMatchObject([
      { cidr: "203.0.113.20/30", why: "office" },
    ]);
    expect(await run("never-block", "remove", "192.0.2.1")).toMatchObject({ code: 1 });
    expect(await json("never-block", "remove", "203.0.113.20/30")).toEqual({ removed: 1 });
    expect((await run("never-block", "list")).out).toBe("None.\n");
  }, 60_000);
});

describe("portcullis never-block with a managed prefix list", () => {
  const ip = "203.0.113.40";
  let id: string;
  beforeAll(async () => {
    const { PrefixList } = await cloud.ec2.send(
      new CreateManagedPrefixListCommand({
        ...{ PrefixListName: "partners", AddressFamily: "IPv4", MaxEntries: 5 },
        Entries: [{ Cidr: `${ip}/29` }],
      }),
    );
    id = String(PrefixList?.PrefixListId);
  });
  const report = async (severity: number) => {
    const answer = await cloud.call("/blacklistip", {
      ...{ method: "POST", token: cloud.stack.operatorToken },
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ip, severity }),
    });
    return answer.json() as Promise<{ status: string; reason?: string }>;
  };

  test("add takes an entry that denies any of its ranges away; the endpoint learns it within a minute", async () => {
    expect((await report(10)).status).toBe("queued");
    await eventually("it is denied", 20, async () => (await cloud.denied()).includes(`${ip}/32`));
    expect(await json("never-block", "add", id, "--why", "partners")).toEqual({ added: 1 });
    await eventually(
      "it has left",
      SECONDS,
      async () => !(await cloud.denied()).includes(`${ip}/32`),
    );
    expect(await json("never-block", "list")).toMatchObject([
      { cidr: id, why: "partners", state: "1 range" },
    ]);
    await eventually("the endpoint knows", 70, async () => {
      const { status, reason } = await report(9);
      return status === "ignored" && reason === `on the never-block list: in ${id}`;
    });
  }, 120_000);

  test("one that does not exist is not added; one that is gone is what it was, and says so", async () => {
    const nowhere = await run("never-block", "add", "pl-0123456789abcdef0");
    expect(nowhere).toMatchObject({
      code: 1,
      err: expect.stringContaining("There is no prefix list pl-0123456789abcdef0 in this region."),
    });
    await cloud.ec2.send(new DeleteManagedPrefixListCommand({ PrefixListId: id }));
    expect((await run("never-block", "list")).out).toContain(
      "does not exist; what it was still holds: 1 range",
    );
    expect(await json("never-block", "remove", id)).toEqual({ removed: 1 });
    expect(await run("never-block", "remove", id)).toMatchObject({ code: 1 });
  }, 60_000);
});

describe("portcullis smoke", () => {
  test("walks an address through every target, looks at the deployment, and leaves nothing", async () => {
    const { code, out, err } = await run("smoke", "--json");
    expect([code, err]).toEqual([0, ""]);
    const { ok, hops, checks } = JSON.parse(out);
    expect(ok).toBe(true);
    expect(hops.map(({ what }: { what: string }) => what).toSorted()).toEqual(
      [
        "a new token is known",
        "the block is accepted",
        `the entry is in ${cloud.stack.aclId}`,
        `the entry is in ${WAF}`,
        "the unblock is accepted",
        `the entry has left ${cloud.stack.aclId}`,
        `the entry has left ${WAF}`,
        "a revoked token is refused",
      ].toSorted(),
    );
    const skipped = checks.filter(({ result }: { result: string }) => result === "skipped");
    expect(skipped.map(({ what }: { what: string }) => what)).toEqual([
      "recovery of the table",
      "event sources of the worker",
      "event sources of the enforcer",
      "alarms",
    ]);
    const callers = await json("token", "list");
    expect(JSON.stringify(callers)).not.toContain("smoke-");
  }, 120_000);

  test("names what is wrong, and ends with 1", async () => {
    const { aclId } = cloud.stack;
    const allow = { NetworkAclId: aclId, Egress: false, RuleNumber: 60, Protocol: "-1" };
    await cloud.ec2.send(
      new CreateNetworkAclEntryCommand({
        ...allow,
        RuleAction: "allow",
        CidrBlock: "198.18.0.0/15",
      }),
    );
    const { code, out, err } = await run("smoke");
    expect(code).toBe(1);
    expect(out).toContain("60 (198.18.0.0/15)");
    expect(err).toContain(`1 failure: rules of ${aclId}.`);
    await cloud.ec2.send(
      new DeleteNetworkAclEntryCommand({ NetworkAclId: aclId, Egress: false, RuleNumber: 60 }),
    );
  }, 120_000);
});

describe("portcullis drain", () => {
  test("leaves every target byte for byte as it was before anything was blocked", async () => {
    const ips = Array.from({ length: 30 }, (_, n) => `203.0.113.${100 + 2 * n}`);
    await cloud.block({ ips, severity: 9, expiryTime: 3_600 });
    await cloud.block({ ip: "2001:db8::1", severity: 9 });
    await eventually("they are denied", 30, async () =>
      (await described()).includes("2001:db8::1/"),
    );
    await eventually("the ACL is full", 20, async () => (await cloud.denied()).length === 19);
    const { code, out } = await run("drain");
    expect(out).toContain("Drained. The mode stays off");
    expect(code).toBe(0);
    expect(await described()).toBe(before);
    expect((await run("mode")).out).toBe("off, an operator's order.\n");
    expect(await run("smoke")).toMatchObject({ code: 1, err: expect.stringContaining("off") });
  }, 120_000);

  test("drained, is drained at once; the mode is ordered back", async () => {
    expect(await json("drain", "--timeout", "5s")).toEqual([
      { id: cloud.stack.aclId, left: 0 },
      { id: WAF, left: 0 },
    ]);
    expect((await run("mode", "default")).out).toBe("enforce, the deployment's own.\n");
    await eventually("they are denied again", 20, async () => (await cloud.denied()).length === 19);
  }, 60_000);

  test("says what is left where the time is over, and ends with 1", async () => {
    await cloud.control("ec2", { refuse: [{ action: "DeleteNetworkAclEntry", code: "Blocked" }] });
    const { code, err } = await run("drain", "--timeout", "4s");
    expect(code).toBe(1);
    expect(err).toMatch(new RegExp(`Not drained: ${cloud.stack.aclId}, with \\d+ entries left`));
    await cloud.control("ec2", { refuse: [] });
  }, 60_000);
});

test("what is not understood ends with 2, help with 0", async () => {
  expect(await run("--help")).toMatchObject({ code: 0, out: expect.stringContaining("smoke") });
  const wrong = [["nothing"], ["mode", "on"], ["drain", "--local", "--stage", "prod"]];
  for (const outcome of await Promise.all(wrong.map((args) => run(...args)))) {
    expect(outcome).toMatchObject({ code: 2 });
  }
}, 60_000);
