import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";
import { freePort } from "../../support/ports.ts";
import { eventually, startTestCloud, type TestCloud } from "../cloud.ts";
import { describeWith, program, type Running, secretFile, ship, start } from "./programs.ts";

/** Seconds that a block stays after its last withdrawal. */
const GRACE = 2;

/** Where Debian's looks for its templates, wherever it is itself. */
const TEMPLATE = "/usr/share/prometheus/alertmanager/default.tmpl";

/** What the page has the reader change who wants resolved alerts to unblock. */
const WITHDRAWING = {
  "/alerts/alertmanager": "/alerts/alertmanager?resolved=withdraw",
  "send_resolved: false": "send_resolved: true",
};

describeWith(["prometheus-alertmanager", TEMPLATE], "Alertmanager", () => {
  let cloud: TestCloud;
  let alertmanager: Running | undefined;
  let api: string;

  async function startWith(name: string, replaced: Readonly<Record<string, string>> = {}) {
    const dir = join(cloud.dir, name);
    mkdirSync(dir);
    const config = join(dir, "alertmanager.yml");
    ship("alertmanager/alertmanager.yml", config, { api: cloud.stack.api, tokens: dir }, replaced);
    secretFile(join(dir, "alertmanager.token"), cloud.stack.detectorToken);
    const address = `127.0.0.1:${await freePort()}`;
    api = `http://${address}`;
    const running = start(program("prometheus-alertmanager") ?? "", [
      `--config.file=${config}`,
      `--storage.path=${join(dir, "data")}`,
      `--web.listen-address=${address}`,
      "--cluster.listen-address=",
    ]);
    alertmanager = running;
    await eventually("Alertmanager answers", 30, async () => {
      const response = await fetch(`${api}/-/ready`).catch(() => undefined);
      return response?.ok ?? false;
    });
  }

  /** What Prometheus posts for as long as a rule's expression holds, and once more when it no longer does. */
  async function tell(status: "firing" | "resolved", ...ips: readonly string[]) {
    const alerts = ips.map((ip) => ({
      labels: { alertname: "BruteForce", instance: "192.0.2.1:9100", src_ip: ip, severity: "high" },
      annotations: { summary: "too many failed logins" },
      startsAt: new Date(Date.now() - 60_000),
      endsAt: new Date(Date.now() + (status === "firing" ? 600_000 : -1_000)),
    }));
    const response = await fetch(`${api}/api/v2/alerts`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(alerts),
    });
    expect(response.status).toBe(200);
  }

  const areDenied = (...cidrs: readonly string[]) =>
    eventually(`${cidrs} denied`, 60, async () => {
      const denied = await cloud.denied();
      return cidrs.every((cidr) => denied.includes(cidr));
    });

  beforeAll(async () => {
    cloud = await startTestCloud({ WITHDRAWAL_GRACE: String(GRACE) });
  }, 120_000);
  afterEach(() => alertmanager?.stop(), 30_000);
  afterAll(() => cloud?.stop());

  test("firing alerts end in the ACL, each as it joins its group, and stay there when resolved", async () => {
    await startWith("plain");
    await tell("firing", "203.0.113.9", "2001:db8::5");
    await areDenied("203.0.113.9/32", "2001:db8::5/128");
    await tell("firing", "203.0.113.20");
    await areDenied("203.0.113.20/32");
    const { blocks } = await cloud.list();
    expect(blocks.find(({ cidr }) => cidr === "203.0.113.9/32")).toMatchObject({
      severity: 8,
      reason: "too many failed logins",
    });
    await tell("resolved", "203.0.113.9");
    await tell("firing", "203.0.113.40"); // is told in the same group, and so not before
    await areDenied("203.0.113.40/32");
    await sleep((GRACE + 2) * 1000);
    await areDenied("203.0.113.9/32", "2001:db8::5/128", "203.0.113.20/32", "203.0.113.40/32");
    expect(await cloud.denied()).not.toContain("192.0.2.1/32");
  }, 180_000);

  test("where the page's two changes are made, resolved alerts take their entries out", async () => {
    await startWith("withdrawing", WITHDRAWING);
    await tell("firing", "198.51.100.7", "198.51.100.9");
    await areDenied("198.51.100.7/32", "198.51.100.9/32");
    await tell("resolved", "198.51.100.7");
    await eventually("it is gone", GRACE + 30, async () => {
      return !(await cloud.denied()).includes("198.51.100.7/32");
    });
    expect(await cloud.denied()).toContain("198.51.100.9/32");
  }, 180_000);
});
