import { type ChildProcess, execFile, spawn } from "node:child_process";
import { accessSync, constants, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { describe } from "@jest/globals";
import { poll } from "../../../infra/local/waiting.ts";

const ROOT = new URL("../../../", import.meta.url).pathname;

/** Where `install.sh` unpacks what the machine does not have. */
export const UNPACKED = join(ROOT, ".local/programs");

const PLACES = [
  ...(process.env.PATH ?? "").split(":"),
  "/usr/sbin",
  ...["usr/bin", "usr/sbin", "venv/bin"].map((dir) => join(UNPACKED, dir)),
];

/** Where a program is; undefined where the machine does not have it. */
export function program(name: string): string | undefined {
  return PLACES.map((dir) => join(dir, name)).find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** The root below which a Debian package's files lie: `/`, or where it was unpacked. */
export const packageRoot = (path: string): string => join(dirname(path), "../..");

/** Tests that need programs, or files of theirs; skipped where one is missing, and says so. */
export function describeWith(names: readonly string[], title: string, tests: () => void): void {
  const isThere = (name: string) => (name.startsWith("/") ? existsSync(name) : program(name));
  const missing = names.filter((name) => !isThere(name));
  if (missing.length === 0) {
    describe(title, tests);
    return;
  }
  const why = `${missing.join(", ")} missing; see test/e2e/detectors/install.sh`;
  process.stderr.write(`SKIPPED: ${title} (${why})\n`);
  describe.skip(`${title} (${why})`, tests);
}

/** What stands for the reader's own in the files that we ship. */
const HOST = "https://HOST";
const FOLDER = "/etc/portcullis/";

/**
 * Puts a file of `docs/detectors` where the detector reads it, as its page says: with the address of the
 * endpoint, and the folder of the tokens. Whatever else is replaced, the page tells the reader to.
 */
export function ship(
  file: string,
  to: string,
  { api, tokens }: { readonly api: string; readonly tokens: string },
  replaced: Readonly<Record<string, string>> = {},
): void {
  const own = { [HOST]: api, [FOLDER]: `${tokens}/`, ...replaced };
  const text = Object.entries(own).reduce(
    (so, [theirs, ours]) => so.replaceAll(theirs, ours),
    readFileSync(join(ROOT, "docs/detectors", file), "utf8"),
  );
  mkdirSync(dirname(to), { recursive: true });
  const isScript = text.startsWith("#!");
  writeFileSync(to, text, { mode: isScript ? 0o755 : 0o644 });
}

/** A file that only its owner may read, as the pages have the token in. */
export function secretFile(path: string, text: string): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

export const headerFile = (dir: string, detector: string, token: string): string =>
  secretFile(join(dir, `${detector}.header`), `Authorization: Bearer ${token}\n`);

/** The environment of a program that was unpacked, whose Python modules lie there too. */
export const environment = {
  ...process.env,
  PATH: [...new Set(PLACES)].join(":"),
  PYTHONPATH: join(UNPACKED, "usr/lib/python3/dist-packages"),
};

const run = promisify(execFile);

/** Runs a program to its end. @returns its standard output. @throws Error where it fails */
export async function execute(name: string, args: readonly string[], env = environment) {
  const { stdout } = await run(program(name) ?? name, args, { env, timeout: 120_000 });
  return stdout;
}

/** A program that runs until it is stopped. */
export type Running = {
  /** What it has written so far. */
  output(): string;
  write(text: string): void;
  stop(signal?: NodeJS.Signals): Promise<void>;
};

/** How long a program and what it has started may take to end, in milliseconds. */
const STOP_MS = 10_000;

/** Starts a program in a process group of its own, so that nothing that it starts outlives it. */
export function start(path: string, args: readonly string[], env = environment): Running {
  const child = spawn(path, args, { env, stdio: ["pipe", "pipe", "pipe"], detached: true });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk) => {
      output += chunk;
    });
  }
  child.on("error", (error) => {
    output += error.message;
  });
  child.stdin.on("error", () => {}); // whoever has ended reads no more
  return {
    output: () => output,
    write: (text) => child.stdin.write(text),
    stop: (signal = "SIGTERM") => stop(child, signal),
  };
}

async function stop(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const { pid } = child;
  if (pid === undefined) return;
  child.kill(signal);
  const hasEnded = () => (isAnyLeft(pid, 0) ? undefined : true);
  if (!(await poll(hasEnded, STOP_MS))) isAnyLeft(pid, "SIGKILL");
}

/** Whether a process of the group is left; each of them gets the signal. */
function isAnyLeft(group: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(-group, signal);
  } catch {
    return false;
  }
}
