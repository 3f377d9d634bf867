import { spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { SetupError } from "../errors.ts";
import { killProcess, markProcess, type ProcessMark } from "../processes.ts";
import { within } from "../waiting.ts";

const READY_TIMEOUT_MS = 60_000;

/** What an engine's process prints, as one line of JSON, when it can be used. */
export type Ready = {
  url: string;
  /** A process of its own that must end with it. */
  helperPid?: number;
};

/** An engine that runs as a process. */
export type EngineProcess = {
  name: string;
  url: string;
  marks: ProcessMark[];
  /** Resolves when the process has ended, whoever ended it. */
  exited: Promise<void>;
  stop(): Promise<void>;
};

/**
 * Starts an engine's main file and waits until it prints that it is ready.
 *
 * It is a process group of its own, so that Ctrl-C reaches the runner alone, which then stops its
 * engines in order; and its stdin is a pipe from the runner, so that it ends when the runner does,
 * even by `kill -9`.
 */
export async function startEngineProcess(
  name: string,
  main: URL,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  logFile: string,
): Promise<EngineProcess> {
  const { NODE_OPTIONS: _jest, ...inherited } = process.env;
  const child = spawn(process.execPath, [fileURLToPath(main), ...args], {
    env: { ...inherited, ...env },
    detached: true,
  });
  child.stderr.pipe(createWriteStream(logFile, { flags: "a" }));
  const exited = new Promise<void>((done) => {
    child.once("exit", () => done());
    child.once("error", () => done());
  });
  child.stdin.on("error", () => undefined);

  const firstLine = new Promise<Ready>((ready) => {
    createInterface(child.stdout).once("line", (line) => ready(JSON.parse(line) as Ready));
  });
  const ready = await within(
    READY_TIMEOUT_MS,
    Promise.race([firstLine, exited.then(() => undefined)]),
  );
  if (!ready) {
    child.kill("SIGKILL");
    throw new SetupError(`${name} did not start: see ${logFile}`);
  }
  const pids = [child.pid, ready.helperPid].filter((pid) => pid !== undefined);
  const marks = pids.map(markProcess).filter((mark) => mark !== undefined);
  return {
    name,
    url: ready.url,
    marks,
    exited,
    async stop() {
      child.stdin.end();
      await within(3_000, exited);
      await Promise.all(marks.map((mark) => killProcess(mark)));
    },
  };
}
