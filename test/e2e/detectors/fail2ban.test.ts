import { appendFileSync, cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { eventually, startTestCloud, type TestCloud } from "../cloud.ts";
import { addressOf } from "../watch.ts";
import {
  describeWith,
  execute,
  headerFile,
  packageRoot,
  program,
  type Running,
  ship,
  start,
} from "./programs.ts";

/** Seconds that a block stays after its last withdrawal. */
const GRACE = 2;

const RESTARTED = 500;

describeWith(["fail2ban-server", "fail2ban-client", "curl"], "fail2ban", () => {
  let cloud: TestCloud;
  let config: string;
  let authLog: string;
  let server: Running;
  let session = 1000;

  const client = (...args: string[]) => execute("fail2ban-client", ["-c", config, ...args]);

  const banned = async () => (await client("get", "sshd", "banip")).split(/\s+/).filter(Boolean);

  async function startServer() {
    const path = program("fail2ban-server") ?? "";
    server = start(path, ["-c", config, "-xf", "start"]);
    await eventually(`fail2ban answers (${server.output()})`, 60, () =>
      client("ping").then(
        () => true,
        () => false,
      ),
    );
  }

  /** As many failed logins of each as the jail takes for an attack, each in a session of its own. */
  function fail(...ips: readonly string[]) {
    const when = new Date()
      .toString()
      .slice(4, 24)
      .replace(/ \d{4}/, "");
    const line = (ip: string) => {
      session += 1;
      return `${when} web-1 sshd[${session}]: Failed password for root from ${ip} port 40022 ssh2\n`;
    };
    const lines = ips.flatMap((ip) => Array.from({ length: 5 }, () => line(ip)));
    appendFileSync(authLog, lines.join(""));
  }

  /** What the IP set holds, which has room for all. */
  const setHolds = async () => new Set((await cloud.ipSet("front-v4")).Addresses);

  const isDenied = async (cidr: string) => (await cloud.denied()).includes(cidr);

  beforeAll(async () => {
    cloud = await startTestCloud({ WITHDRAWAL_GRACE: String(GRACE), WAF_IP_SETS: "front" });
    const { dir, stack } = cloud;
    config = join(dir, "fail2ban");
    authLog = join(dir, "auth.log");
    writeFileSync(authLog, "");
    const packaged = join(packageRoot(program("fail2ban-server") ?? ""), "etc/fail2ban");
    cpSync(packaged, config, { recursive: true });
    const own = { api: stack.api, tokens: dir };
    ship("fail2ban/portcullis.conf", join(config, "action.d/portcullis.conf"), own);
    ship("fail2ban/portcullis.local", join(config, "jail.d/portcullis.local"), own);
    headerFile(dir, "fail2ban", stack.detectorToken);
    mkdirSync(join(dir, "run"));
    const at = (name: string) => join(dir, "run", name);
    writeFileSync(
      join(config, "fail2ban.local"),
      `[DEFAULT]\nlogtarget = ${at("log")}\nsocket = ${at("sock")}\npidfile = ${at("pid")}\ndbfile = ${at("sqlite3")}\n`,
    );
    writeFileSync(
      join(config, "jail.local"),
      `[sshd]\nenabled = true\nbackend = polling\nlogpath = ${authLog}\nmaxretry = 5\nbantime = 1h\n`,
    );
    await startServer();
  }, 180_000);
  afterAll(async () => {
    await server?.stop();
    await cloud?.stop();
  }, 60_000);

  test("failed logins end in the ACL, and the unban takes the entry out", async () => {
    fail("203.0.113.9", "2001:db8::5");
    await eventually("both are denied", 60, async () => {
      return (await isDenied("203.0.113.9/32")) && (await isDenied("2001:db8::5/128"));
    });
    const { blocks } = await cloud.list();
    const block = blocks.find(({ cidr }) => cidr === "203.0.113.9/32");
    expect(block).toMatchObject({ reason: "fail2ban sshd: 5 failures" });
    await client("set", "sshd", "unbanip", "203.0.113.9");
    await eventually("it is gone", GRACE + 20, async () => !(await isDenied("203.0.113.9/32")));
    expect(await isDenied("2001:db8::5/128")).toBe(true);
  }, 120_000);

  test(`a restart with ${RESTARTED} bans: every block stands throughout`, async () => {
    const ips = Array.from({ length: RESTARTED }, (_, index) => addressOf(index));
    const cidrs = ips.map((ip) => `${ip}/32`);
    fail(...ips);
    await eventually("all are in the IP set", 180, async () => {
      const held = await setHolds();
      return cidrs.every((cidr) => held.has(cidr));
    });

    const gaps: (readonly string[])[] = [];
    let looks = 0;
    let fewest = Number.POSITIVE_INFINITY;
    let isOver = false;
    const watching = (async () => {
      while (!isOver) {
        const held = await setHolds(); // twice a second
        gaps.push(cidrs.filter((cidr) => !held.has(cidr)));
        fewest = Math.min(fewest, (await cloud.denied()).length);
        looks += 1;
      }
    })();
    const fromMs = Date.now();
    await server.stop();
    await startServer();
    await eventually("all bans are back", 120, async () => (await banned()).length > RESTARTED);
    console.info(`fail2ban restarted with ${RESTARTED} bans in ${Date.now() - fromMs} ms.`);
    await sleep((GRACE + 3) * 1000);
    isOver = true;
    await watching;

    expect(looks).toBeGreaterThan(5);
    expect(gaps.flat()).toEqual([]);
    expect(fewest).toBeGreaterThanOrEqual(18); // the ACL was as full as it can be
    const [first = "", ...others] = cidrs;
    await client("set", "sshd", "unbanip", ips[0] ?? "");
    await eventually("an unban after it takes the entry out", GRACE + 20, async () => {
      return !(await setHolds()).has(first);
    });
    const held = await setHolds();
    expect(others.filter((cidr) => !held.has(cidr))).toEqual([]);
  }, 600_000);
});
