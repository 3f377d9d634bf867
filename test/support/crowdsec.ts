import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { stringify } from "yaml";
import { PROJECT_ROOT } from "../../infra/local/package.ts";
import { poll } from "../../infra/local/waiting.ts";
import { freePort } from "./ports.ts";

// CrowdSec's own LAPI, without its agent and without its central API.

const PLACES = [
  ...(process.env.PATH ?? "").split(":"),
  "/usr/sbin",
  join(PROJECT_ROOT, ".local/programs/usr/bin"),
];

const found = PLACES.find((place) =>
  ["crowdsec", "cscli"].every((name) => {
    try {
      accessSync(join(place, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  }),
);

/** Whether CrowdSec is on this machine; says so, loudly, where it is not. */
export const hasCrowdsec = found !== undefined;
if (!hasCrowdsec) {
  console.warn(
    "SKIPPED: the pull from a real CrowdSec. Install it, or unpack it where no service starts: " +
      "apt-get download crowdsec && dpkg -x crowdsec_*.deb .local/programs",
  );
}

export type RealLapi = {
  readonly url: string;
  /** A bouncer's key. */
  readonly key: string;
  cscli(...args: string[]): Promise<string>;
  stop(): Promise<void>;
};

const PROFILE = {
  name: "default",
  filters: ["Alert.Remediation == true"],
  decisions: [{ type: "ban", duration: "4h" }],
  on_success: "break",
};
const KEY = "a-bouncer-s-key";

export async function startCrowdsec(): Promise<RealLapi> {
  const place = found ?? "";
  const dir = mkdtempSync(join(tmpdir(), "portcullis-crowdsec-"));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const path = (name: string) => join(dir, name);
  for (const name of ["data", "hub", "notifications", "plugins"]) mkdirSync(path(name));
  writeFileSync(path("simulation.yaml"), "{}\n");
  writeFileSync(path("hub/.index.json"), "{}\n");
  writeFileSync(path("credentials.yaml"), "");
  writeFileSync(path("profiles.yaml"), stringify(PROFILE));
  const config = {
    common: { daemonize: false, log_media: "stdout", log_level: "info", working_dir: "." },
    config_paths: {
      config_dir: dir,
      data_dir: path("data"),
      simulation_path: path("simulation.yaml"),
      hub_dir: path("hub"),
      index_path: path("hub/.index.json"),
      notification_dir: path("notifications"),
      plugin_dir: path("plugins"),
    },
    cscli: { output: "json" },
    db_config: { type: "sqlite", db_path: path("data/crowdsec.db"), log_level: "info" },
    api: {
      client: { credentials_path: path("credentials.yaml") },
      server: {
        log_level: "info",
        listen_uri: `127.0.0.1:${port}`,
        profiles_path: path("profiles.yaml"),
        console_path: path("console.yaml"),
      },
    },
    prometheus: { enabled: false },
  };
  writeFileSync(path("config.yaml"), stringify(config));
  const cscli: RealLapi["cscli"] = async (...args) => {
    const all = ["-c", path("config.yaml"), ...args];
    return (await promisify(execFile)(join(place, "cscli"), all, { timeout: 60_000 })).stdout;
  };
  const register = ["--password", "secret", "-f", path("credentials.yaml"), "-u", url, "--force"];
  await cscli("machines", "add", "test", ...register);
  await cscli("bouncers", "add", "portcullis", "-k", KEY);
  const args = ["-c", path("config.yaml"), "-no-cs", "-no-capi"];
  const child = spawn(join(place, "crowdsec"), args, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk) => {
      output += chunk;
    });
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
    }
    rmSync(dir, { recursive: true, force: true });
  };
  const isUp = await poll(async () => {
    const answered = await fetch(`${url}/v1/decisions`).catch(() => undefined);
    return answered === undefined && child.exitCode === null ? undefined : true;
  }, 30_000);
  if (!isUp || child.exitCode !== null) {
    await stop();
    throw new Error(`CrowdSec did not start:\n${output}`);
  }
  return { url, key: KEY, cscli, stop };
}
