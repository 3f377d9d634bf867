import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { eventually, startTestCloud, type TestCloud } from "../cloud.ts";
import {
  describeWith,
  headerFile,
  packageRoot,
  program,
  type Running,
  ship,
  start,
} from "./programs.ts";

/** Seconds that a block stays after its last withdrawal. */
const GRACE = 2;

/** Seconds after which sshguard releases an address for the first time; a few more are of its own making. */
const BLOCK_TIME = 10;

describeWith(["sshguard", "curl"], "sshguard", () => {
  let cloud: TestCloud;
  let authLog: string;
  let launcher: string;
  let sshguard: Running;

  const startGuard = () => {
    sshguard = start(launcher, []);
  };

  function fail(...ips: readonly string[]) {
    const when = new Date()
      .toString()
      .slice(4, 24)
      .replace(/ \d{4}/, "");
    const line = (ip: string) =>
      `${when} web-1 sshd[4711]: Failed password for root from ${ip} port 40022 ssh2\n`;
    appendFileSync(
      authLog,
      ips.flatMap((ip) => Array.from({ length: 5 }, () => line(ip))).join(""),
    );
  }

  const isDenied = async (cidr: string) => (await cloud.denied()).includes(cidr);

  beforeAll(async () => {
    cloud = await startTestCloud({ WITHDRAWAL_GRACE: String(GRACE) });
    const { dir, stack } = cloud;
    authLog = join(dir, "auth.log");
    writeFileSync(authLog, "");
    headerFile(dir, "sshguard", stack.detectorToken);
    const own = { api: stack.api, tokens: dir };
    const backend = join(dir, "sshg-fw-portcullis");
    ship("sshguard/sshg-fw-portcullis", backend, own);
    const config = join(dir, "sshguard.conf");
    ship("sshguard/sshguard.conf", config, own, {
      "/usr/local/libexec/sshg-fw-portcullis": backend,
    });
    appendFileSync(config, `FILES=${authLog}\nTHRESHOLD=30\nBLOCK_TIME=${BLOCK_TIME}\n`);
    // The launcher knows its folder and its configuration by fixed paths.
    const packaged = program("sshguard") ?? "";
    launcher = join(dir, "sshguard");
    const text = readFileSync(packaged, "utf8")
      .replace(/^libexec=.*$/m, `libexec=${join(packageRoot(packaged), "usr/libexec/sshguard")}`)
      .replace(/^config=.*$/m, `config=${config}`);
    writeFileSync(launcher, text, { mode: 0o755 });
    startGuard();
  }, 120_000);
  afterAll(async () => {
    await sshguard?.stop();
    await cloud?.stop();
  }, 60_000);

  test("failed logins end in the ACL, and the release takes the entries out", async () => {
    await eventually("both are denied", 60, async () => {
      // Its tail of the log may have begun after the lines of the last look.
      if (!(await isDenied("203.0.113.9/32"))) fail("203.0.113.9", "2001:db8::5");
      return (await isDenied("203.0.113.9/32")) && (await isDenied("2001:db8::5/128"));
    });
    const { blocks } = await cloud.list();
    const block = blocks.find(({ cidr }) => cidr === "203.0.113.9/32");
    expect(block).toMatchObject({ reason: "sshguard" });
    await eventually("both are gone", BLOCK_TIME * 3 + GRACE + 30, async () => {
      return !(await isDenied("203.0.113.9/32")) && !(await isDenied("2001:db8::5/128"));
    });
  }, 180_000);

  test("what is blocked when sshguard stops is withdrawn, all at once", async () => {
    const ips = ["198.51.100.7", "198.51.100.9", "198.51.100.11"];
    const denied = async () => {
      const all = await cloud.denied();
      return ips.filter((ip) => all.includes(`${ip}/32`));
    };
    fail(...ips);
    await eventually("all are denied", 60, async () => (await denied()).length === ips.length);
    await sshguard.stop();
    await eventually("all are gone", GRACE + 30, async () => (await denied()).length === 0);
    expect(sshguard.output()).toBe("");
  }, 120_000);
});
