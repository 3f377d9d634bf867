import { execFileSync, spawnSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { eventually, startTestCloud, type TestCloud } from "./cloud.ts";

const RECONCILE_SECONDS = 5;

let cloud: TestCloud;
beforeAll(async () => {
  cloud = await startTestCloud({ RECONCILE_SECONDS: String(RECONCILE_SECONDS) });
}, 120_000);
afterAll(() => cloud.stop());

const hasAwsCli = spawnSync("aws", ["--version"]).status === 0;
if (!hasAwsCli) console.warn("SKIPPED: the AWS CLI is not installed (pip install awscli).");

describe("the main job", () => {
  test("the talk's call to the letter is queued, and soon denied below the lowest allow", async () => {
    const { detectorToken } = cloud.stack;
    const path = `/blacklistip?accessToken=${detectorToken}&ip=203.0.113.9`;
    const response = await cloud.call(path, { token: null });
    expect(response.status).toBe(202);
    expect(await response.json()).toEqual({
      status: "queued",
      requestId: expect.any(String),
      cidr: "203.0.113.9/32",
      expiresAt: expect.any(Number),
    });
    await eventually("203.0.113.9/32 is denied", 10, async () =>
      (await cloud.denied()).includes("203.0.113.9/32"),
    );
    const entries = await cloud.entries();
    const lowestAllow = entries.find(({ RuleAction }) => RuleAction === "allow");
    const deny = entries.find(({ CidrBlock }) => CidrBlock === "203.0.113.9/32");
    expect(deny).toMatchObject({ Protocol: "-1", RuleAction: "deny" });
    expect(deny?.RuleNumber).toBeLessThan(lowestAllow?.RuleNumber ?? 0);
  }, 30_000);

  (hasAwsCli ? test : test.skip)(
    "the AWS CLI shows it",
    async () => {
      await cloud.block({ ip: "198.51.100.77" });
      await eventually("198.51.100.77/32 is denied", 10, async () =>
        (await cloud.denied()).includes("198.51.100.77/32"),
      );
      const { endpoints, aclId, region } = cloud.stack;
      const shown = execFileSync(
        "aws",
        ["--region", region, "--endpoint-url", endpoints.ec2, "--output", "json"].concat([
          "ec2",
          "describe-network-acls",
          "--network-acl-ids",
          aclId,
        ]),
        { env: { ...process.env, AWS_ACCESS_KEY_ID: "local", AWS_SECRET_ACCESS_KEY: "local" } },
      );
      const [acl] = JSON.parse(shown.toString()).NetworkAcls;
      const deny = acl.Entries.find((entry: { CidrBlock?: string }) => {
        return entry.CidrBlock === "198.51.100.77/32";
      });
      expect(deny).toMatchObject({ RuleAction: "deny", Egress: false, Protocol: "-1" });
    },
    60_000,
  );

  test("IPv6 is denied as well, next to IPv4", async () => {
    const { status, body } = await cloud.block({ ip: "2001:DB8:0::bad" });
    expect([status, body.cidr]).toEqual([202, "2001:db8::bad/128"]);
    await eventually("2001:db8::bad/128 is denied", 10, async () =>
      (await cloud.denied()).includes("2001:db8::bad/128"),
    );
  }, 30_000);

  test("a block leaves the ACL at its end: expiry + reconcile period + 5 s at the latest", async () => {
    const { body } = await cloud.block({ ip: "198.51.100.6", expiryTime: 6 });
    await eventually("198.51.100.6/32 is denied", 6, async () =>
      (await cloud.denied()).includes("198.51.100.6/32"),
    );
    const latest = Number(body.expiresAt) + RECONCILE_SECONDS + 5;
    await eventually("198.51.100.6/32 is gone", latest - Date.now() / 1000, async () => {
      return !(await cloud.denied()).includes("198.51.100.6/32");
    });
    expect(Date.now() / 1000).toBeGreaterThanOrEqual(Number(body.expiresAt));
  }, 60_000);

  test("an address blocked again after its expiry, before TTL deletes the item, is blocked again", async () => {
    // The schedule takes the entry away while the expired item still lies in the table.
    await cloud.block({ ip: "198.51.100.8", expiryTime: 4 });
    await eventually("denied", 6, async () => (await cloud.denied()).includes("198.51.100.8/32"));
    await eventually("gone", 14, async () => !(await cloud.denied()).includes("198.51.100.8/32"));
    await cloud.block({ ip: "198.51.100.8", expiryTime: 60 });
    await eventually("denied again", 6, async () =>
      (await cloud.denied()).includes("198.51.100.8/32"),
    );
  }, 60_000);

  test.each([
    ["not an address", { ip: "example.org" }, 400, "invalid_ip"],
    ["everything", { ip: "0.0.0.0/0" }, 400, "range_too_wide"],
    ["a wide range", { ip: "2001:db8::/31" }, 400, "range_too_wide"],
    ["zero-padded octets", { ip: "203.000.113.010" }, 400, "invalid_ip"],
    ["a zone id", { ip: "fe80::1%eth0" }, 400, "invalid_ip"],
    ["a fractional expiry", { ip: "203.0.113.1", expiryTime: 1.5 }, 400, "invalid_expiry"],
    ["a negative expiry", { ip: "203.0.113.1", expiryTime: -1 }, 400, "invalid_expiry"],
  ])("bad input: %s", async (_what, fields, status, code) => {
    const answer = await cloud.block(fields);
    expect([answer.status, (answer.body.error as { code: string }).code]).toEqual([status, code]);
  });

  test.each(["10.1.2.3", "127.0.0.1", "169.254.169.254", "224.0.0.1", "fe80::1", "::1"])(
    "a never-block address is answered 200 ignored: %s",
    async (ip) => {
      const answer = await cloud.block({ ip });
      expect([answer.status, answer.body.status]).toEqual([200, "ignored"]);
    },
  );

  test("the VPC's own ranges are never blocked, once the enforcer has seen them", async () => {
    await eventually("the VPC's IPv6 range is ignored", 20, async () => {
      const answer = await cloud.block({ ip: "2600:1f18:1234:5600::9" });
      return answer.status === 200;
    });
    expect(await cloud.denied()).not.toContain("2600:1f18:1234:5600::9/128");
  }, 90_000);

  test("no token is in any log", () => {
    const { detectorToken, operatorToken } = cloud.stack;
    for (const name of ["blacklist", "worker", "enforcer"] as const) {
      const log = cloud.log(name);
      expect(log.length).toBeGreaterThan(0);
      expect(log.includes(detectorToken) || log.includes(operatorToken)).toBe(false);
    }
  });
});
