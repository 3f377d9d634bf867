import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { addDetector } from "./callers.ts";
import { eventually, startTestCloud, type TestCloud } from "./cloud.ts";

// Detectors in their own words, and what they take back.

const GRACE_SECONDS = 2;
const ADDRESS = "203.0.113.9";
const CIDR = `${ADDRESS}/32`;

let cloud: TestCloud;
let another: string;
beforeAll(async () => {
  cloud = await startTestCloud({ WITHDRAWAL_GRACE: String(GRACE_SECONDS), TTL: "off" });
  another = await addDetector(cloud, "another");
}, 120_000);
afterAll(() => cloud.stop());

const post = async (path: string, body: object | string, token?: string) => {
  const { status } = await cloud.call(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: typeof body === "string" ? body : JSON.stringify(body),
    ...(token && { token }),
  });
  return status;
};
const ban = (ip: string, token?: string) =>
  post("/alerts/fail2ban", { ip, expiryTime: 600, reason: "sshd" }, token);
const unban = (ip: string, token?: string) =>
  post("/alerts/fail2ban", { ip, expiryTime: 600, reason: "sshd", action: "unban" }, token);
const release = async (token?: string) => {
  const { status } = await cloud.call(`/blacklistip?ip=${ADDRESS}`, {
    method: "DELETE",
    ...(token && { token }),
  });
  return status;
};
const isDenied = async (cidr = CIDR) => (await cloud.denied()).includes(cidr);
const denied = (cidr = CIDR) => eventually(`${cidr} is denied`, 15, () => isDenied(cidr));
const gone = (cidr = CIDR) =>
  eventually(`${cidr} is gone`, 15, async () => !(await isDenied(cidr)));
/** Whether it is denied all the time. */
async function stays(seconds: number): Promise<boolean> {
  const until = Date.now() + seconds * 1000;
  while (Date.now() < until) {
    if (!(await isDenied())) return false;
    await pause(100);
  }
  return true;
}

describe("an address that two detectors report", () => {
  test("stays while one of them wants it, and goes when both have withdrawn", async () => {
    expect([await ban(ADDRESS), await ban(ADDRESS, another)]).toEqual([202, 202]);
    await denied();
    expect(await release()).toBe(202);
    expect(await stays(GRACE_SECONDS + 3)).toBe(true);
    const [block] = (await cloud.list(`?ip=${ADDRESS}`)).blocks;
    expect(block).toMatchObject({ detectors: ["another"] });
    expect(await unban(ADDRESS, another)).toBe(202);
    await gone();
  }, 60_000);

  test("is lifted for both by an operator", async () => {
    await ban(ADDRESS);
    await ban(ADDRESS, another);
    await denied();
    expect(await release(cloud.stack.operatorToken)).toBe(202);
    await gone();
    expect((await cloud.list(`?ip=${ADDRESS}`)).blocks).toEqual([]);
  }, 60_000);

  test("is not let go by a detector that withdraws and reports again", async () => {
    await ban(ADDRESS);
    await denied();
    const staying = stays(GRACE_SECONDS + 4);
    expect([await release(), await ban(ADDRESS)]).toEqual([202, 202]);
    expect(await staying).toBe(true);
  }, 60_000);
});

test("a group in a detector's own words is blocked, and the operator sees who was refused what", async () => {
  const alert = (labels: object) => ({ status: "firing", labels });
  const alerts = [
    alert({ alertname: "Scan", src_ip: "203.0.113.21", instance: "198.51.100.1:9100" }),
    alert({ alertname: "Scan", src_ip: "2001:db8::5" }),
    alert({ alertname: "Scan" }),
  ];
  expect(await post("/alerts/alertmanager", { alerts }, another)).toBe(202);
  await denied("203.0.113.21/32");
  await denied("2001:db8::5/128");
  const response = await cloud.call("/detectors", { token: cloud.stack.operatorToken });
  const { detectors } = (await response.json()) as { detectors: { detector: string }[] };
  expect(detectors.find(({ detector }) => detector === "another")).toMatchObject({
    refused: 1,
    lastRefusal: { code: "not_understood", message: expect.stringContaining("alerts.2.labels") },
  });
}, 60_000);
