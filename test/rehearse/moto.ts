import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { PROJECT_ROOT } from "../../infra/local/package.ts";
import { poll } from "../../infra/local/waiting.ts";

const START_MS = 60_000;
const SERVER = fileURLToPath(new URL("./moto_server.py", import.meta.url));

/** How to get moto, where a machine has Python. */
export const INSTALL = `python3 -m venv .local/venv && .local/venv/bin/pip install "moto[server]>=5.2,<6"`;

/** A Python that has moto: the machine's own, or the one of `.local/venv`. */
export function findPython(): string | undefined {
  const own = join(PROJECT_ROOT, ".local/venv/bin/python");
  return ["python3", ...(existsSync(own) ? [own] : [])].find(
    (python) =>
      spawnSync(python, ["-c", "import cfnlint, moto.cloudformation, moto.server"]).status === 0,
  );
}

export type Moto = {
  readonly url: string;
  /** The resource types that its CloudFormation makes; the others are only declared. */
  readonly makes: readonly string[];
  /** What it has said: its warnings and stack traces. */
  said(): string;
  stop(): Promise<void>;
  /** Ends it without waiting, for a process that exits. */
  kill(): void;
};

/** Starts the amended moto on a free port of 127.0.0.1. */
export async function startMoto(python: string): Promise<Moto> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const child = spawn(python, [SERVER, "-H", "127.0.0.1", "-p", String(port)]);
  let out = "";
  let said = "";
  child.stdout.on("data", (chunk) => {
    out += chunk;
  });
  child.stderr.on("data", (chunk) => {
    said += chunk;
  });
  const answers = await poll(async () => {
    if (child.exitCode !== null) throw new Error(`moto ended before it answered:\n${said}`);
    const ok = await fetch(url).then(
      () => true,
      () => false,
    );
    return ok || undefined;
  }, START_MS);
  if (!answers) {
    await stop(child);
    throw new Error(`moto did not answer within ${START_MS / 1_000} s:\n${said}`);
  }
  return {
    url,
    makes: JSON.parse(out.slice(0, out.indexOf("\n"))) as string[],
    said: () => said,
    stop: () => stop(child),
    kill: () => child.kill("SIGKILL"),
  };
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  await gone;
}

async function freePort(): Promise<number> {
  const probe = createServer();
  probe.listen(0, "127.0.0.1");
  await once(probe, "listening");
  const address = probe.address();
  probe.close();
  return typeof address === "object" && address ? address.port : 0;
}
