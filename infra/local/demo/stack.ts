import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Stack } from "../cloud.ts";
import { SetupError } from "../errors.ts";
import { readJson } from "../files.ts";
import { takeLock } from "../lock.ts";
import { killProcess, type ProcessMark } from "../processes.ts";
import type { Environment } from "../settings.ts";
import { poll, within } from "../waiting.ts";

const START = fileURLToPath(new URL("../start.ts", import.meta.url));

/** The first start compiles the services. */
const START_TIMEOUT_MS = 240_000;
const STOP_TIMEOUT_MS = 20_000;

/** A local cloud that runs as a process of its own. */
export type RunningStack = {
  readonly stack: Stack;
  /** Resolves when it has ended by itself. */
  readonly ended: Promise<void>;
  stop(): Promise<void>;
};

/**
 * Starts the local cloud as `npm start` does, in a folder of its own.
 *
 * @param signal gives up waiting
 * @throws SetupError when it does not start; its message is the cloud's own
 */
export async function startStack(
  dir: string,
  env: Environment,
  signal: AbortSignal,
): Promise<RunningStack> {
  const lock = await takeLock(join(dir, "demo.lock"));
  if ("heldBy" in lock) throw new SetupError(`A demo runs already (process ${lock.heldBy}).`);
  const { free } = lock;
  await clean(dir);

  // A process group of its own, so that Ctrl-C reaches the demo alone, which then stops it.
  const child = spawn(process.execPath, [START], {
    env: { ...process.env, ...env, PORTCULLIS_LOCAL_DIR: dir, EXIT_WITH_PARENT: "1" },
    stdio: ["pipe", "ignore", "pipe"],
    detached: true,
  });
  const complaints: string[] = [];
  child.stderr.on("data", (chunk: Buffer) => complaints.push(chunk.toString()));
  const exited = new Promise<void>((done) => {
    child.once("exit", () => done());
    child.once("error", () => done());
  });
  let isStopping = false;
  const ended = new Promise<void>((done) => {
    exited.then(() => isStopping || done());
  });
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);

  async function stop(): Promise<void> {
    isStopping = true;
    child.kill("SIGTERM");
    await within(STOP_TIMEOUT_MS, exited);
    kill();
    process.off("exit", kill);
    free();
  }

  const file = join(dir, "stack.json");
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null;
  await poll(
    () => (readJson(file) || hasEnded() || signal.aborted ? true : undefined),
    START_TIMEOUT_MS,
  );
  const stack = readJson<Stack>(file);
  if (stack && !signal.aborted) return { stack, ended, stop };
  await stop();
  throw new SetupError(complaints.join("").trim() || "The local cloud did not start in time.");
}

/** Ends and forgets what a demo left behind that was killed. */
async function clean(dir: string): Promise<void> {
  const orphan = readJson<ProcessMark>(join(dir, "runner.lock"));
  if (orphan) await killProcess(orphan);
  for (const name of ["stack.json", "state", "logs"]) {
    rmSync(join(dir, name), { recursive: true, force: true });
  }
}
