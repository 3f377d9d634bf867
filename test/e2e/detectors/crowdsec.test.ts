import {
  appendFileSync,
  cpSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { parseDocument } from "yaml";
import { freePort } from "../../support/ports.ts";
import { eventually, startTestCloud, type TestCloud } from "../cloud.ts";
import {
  describeWith,
  execute,
  packageRoot,
  program,
  type Running,
  ship,
  start,
} from "./programs.ts";

/** What of the package's hub finds SSH brute force, and where the configuration has it. */
const ITEMS = {
  "parsers/s00-raw/crowdsecurity/syslog-logs.yaml": "parsers/s00-raw/syslog-logs.yaml",
  "parsers/s01-parse/crowdsecurity/sshd-logs.yaml": "parsers/s01-parse/sshd-logs.yaml",
  "parsers/s02-enrich/crowdsecurity/dateparse-enrich.yaml":
    "parsers/s02-enrich/dateparse-enrich.yaml",
  "scenarios/crowdsecurity/ssh-bf.yaml": "scenarios/ssh-bf.yaml",
};

describeWith(["crowdsec", "cscli"], "CrowdSec's notifications", () => {
  let cloud: TestCloud;
  let config: string;
  let authLog: string;
  let crowdsec: Running;

  const cscli = (...args: string[]) =>
    execute("cscli", ["-c", join(config, "config.yaml"), ...args]);

  /** The package's own configuration, in folders of the test's. */
  async function configure(dir: string) {
    const root = packageRoot(program("crowdsec") ?? "");
    config = join(dir, "crowdsec");
    cpSync(join(root, "etc/crowdsec"), config, { recursive: true });
    const hub = join(dir, "hub");
    cpSync(join(root, "usr/share/crowdsec/hub"), hub, { recursive: true });
    mkdirSync(join(dir, "data"));
    for (const [item, place] of Object.entries(ITEMS)) {
      mkdirSync(join(config, place, ".."), { recursive: true });
      symlinkSync(join(hub, item), join(config, place));
    }
    const plugins = join(dir, "plugins");
    mkdirSync(plugins);
    symlinkSync(join(root, "usr/lib/crowdsec/plugins/http"), join(plugins, "notification-http"));

    const file = join(config, "config.yaml");
    const moved = readFileSync(file, "utf8")
      .replaceAll("/etc/crowdsec/", `${config}/`)
      .replaceAll("/var/lib/crowdsec/", `${dir}/`)
      .replaceAll("/usr/lib/crowdsec/plugins/", `${plugins}/`)
      .replace("127.0.0.1:8080", `127.0.0.1:${await freePort()}`);
    const settings = parseDocument(moved);
    settings.setIn(["common", "daemonize"], false);
    settings.setIn(["common", "log_media"], "stdout");
    settings.setIn(["prometheus", "enabled"], false);
    // Whoever runs this need not be root, nor may "nobody" read here.
    settings.setIn(["plugin_config"], { user: "", group: "" });
    settings.deleteIn(["api", "server", "online_client"]);
    writeFileSync(file, settings.toString());
    writeFileSync(join(config, "local_api_credentials.yaml"), "");
    writeFileSync(
      join(config, "acquis.yaml"),
      `filenames:\n  - ${authLog}\nlabels:\n  type: syslog\n`,
    );
  }

  function fail(ip: string) {
    const when = new Date()
      .toString()
      .slice(4, 24)
      .replace(/ \d{4}/, "");
    for (let attempt = 1; attempt <= 7; attempt++) {
      const line = `${when} web-1 sshd[${4000 + attempt}]: Failed password for root from ${ip} port 40022 ssh2\n`;
      appendFileSync(authLog, line);
    }
  }

  beforeAll(async () => {
    cloud = await startTestCloud();
    const { dir, stack } = cloud;
    authLog = join(dir, "auth.log");
    writeFileSync(authLog, "");
    await configure(dir);
    const own = { api: stack.api, tokens: dir };
    ship("crowdsec/portcullis.yaml", join(config, "notifications/portcullis.yaml"), own, {
      TOKEN: stack.detectorToken,
    });
    ship("crowdsec/profiles.yaml", join(config, "profiles.yaml"), own);
    await cscli("machines", "add", "test", "--password", "only-of-this-test", "--force");
    crowdsec = start(program("crowdsec") ?? "", ["-c", join(config, "config.yaml")]);
    await eventually("CrowdSec reads the log", 60, async () =>
      crowdsec.output().includes("Starting processing data"),
    ).catch((error) => {
      throw new Error(crowdsec.output(), { cause: error });
    });
  }, 180_000);
  afterAll(async () => {
    await crowdsec?.stop();
    await cloud?.stop();
  }, 60_000);

  test("failed logins end in the ACL, for as long as the profile says", async () => {
    const seconds = () => Math.floor(Date.now() / 1000);
    fail("203.0.113.9");
    fail("2001:db8::5");
    await eventually("both are denied", 60, async () => {
      const denied = await cloud.denied();
      return denied.includes("203.0.113.9/32") && denied.includes("2001:db8::5/128");
    });
    const { blocks } = (await cloud.list("?ip=203.0.113.9")) as unknown as {
      blocks: { expiresAt: number; reason: string }[];
    };
    expect(blocks).toHaveLength(1);
    expect(blocks[0]?.reason).toContain("crowdsecurity/ssh-bf");
    const left = (blocks[0]?.expiresAt ?? 0) - seconds();
    expect(left).toBeGreaterThan(4 * 3600 - 120);
    expect(left).toBeLessThanOrEqual(4 * 3600);
  }, 120_000);

  test("a decision that is deleted is not told: the block stays until its time is over", async () => {
    const before = cloud.log("blacklist").length;
    await cscli("decisions", "delete", "--ip", "203.0.113.9");
    fail("198.51.100.7"); // whatever was to be told has been told before this
    await eventually("the next is denied", 60, async () =>
      (await cloud.denied()).includes("198.51.100.7/32"),
    );
    expect(await cloud.denied()).toContain("203.0.113.9/32");
    expect(cloud.log("blacklist").slice(before)).not.toContain("withdrawal");
  }, 120_000);
});
