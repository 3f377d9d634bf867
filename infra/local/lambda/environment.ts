import { Worker } from "node:worker_threads";
import type { Log } from "../log.ts";
import { within } from "../waiting.ts";
import type { Boot, FunctionError, Invocation, Report } from "./protocol.ts";

/** Lambda's time limit for the code outside the handler. */
const INIT_TIMEOUT_MS = 10_000;

/** How an invocation ended. */
export type Outcome = { ok: true; payload: unknown } | { ok: false; error: FunctionError };

/** An execution environment: it runs one invocation at a time. */
export type Environment = {
  /** Whether it may be used again: not after a timeout, a crash or a failed initialisation. */
  readonly alive: boolean;
  /** The most memory in use at the end of any invocation. */
  readonly maxMemoryBytes: number;
  invoke(requestId: string, event: unknown, timeoutMs: number): Promise<Outcome>;
  terminate(): Promise<void>;
};

/**
 * Makes an execution environment of a worker thread, with modules and variables of its own.
 *
 * As in Lambda, module code runs before the first invocation and within ten seconds; an error that
 * the handler throws leaves the environment in use; a timeout, a `process.exit`, an uncaught error
 * or too much memory ends it, and the next invocation starts a new one.
 */
export function createEnvironment(
  boot: Boot,
  env: Readonly<Record<string, string>>,
  log: Log,
): Environment {
  const worker = new Worker(new URL("./runtime.ts", import.meta.url), {
    workerData: boot,
    env,
    execArgv: (env.NODE_OPTIONS ?? "").split(/\s+/).filter(Boolean),
    stdout: true,
    stderr: true,
    resourceLimits: { maxOldGenerationSizeMb: Number(boot.context.memoryLimitInMB) },
  });
  log.take(worker.stdout);
  log.take(worker.stderr);

  let alive = true;
  let maxMemoryBytes = 0;
  let crash: FunctionError | undefined;
  let listener: ((report: Report | undefined) => void) | undefined;
  worker.on("message", (report: Report) => listener?.(report));
  worker.on("error", (error: NodeJS.ErrnoException) => {
    const outOfMemory = error.code === "ERR_WORKER_OUT_OF_MEMORY";
    crash = {
      errorType: outOfMemory ? "Runtime.OutOfMemory" : error.name,
      errorMessage: error.message,
      trace: (error.stack ?? "").split("\n"),
    };
  });
  worker.once("exit", () => {
    alive = false;
    listener?.(undefined);
  });

  const next = (): Promise<Report | undefined> =>
    new Promise((resolve) => {
      listener = resolve;
      if (!alive) resolve(undefined);
    });
  const initialised = within(INIT_TIMEOUT_MS, next());

  async function end(error: FunctionError): Promise<Outcome> {
    alive = false;
    await worker.terminate();
    return { ok: false, error };
  }
  const exited = (requestId: string, code = 1): FunctionError =>
    crash ?? {
      errorType: "Runtime.ExitError",
      errorMessage: `RequestId: ${requestId} Error: Runtime exited with error: exit status ${code}`,
    };
  const timedOut = (requestId: string, ms: number): FunctionError => ({
    errorType: "Sandbox.Timedout",
    errorMessage: `RequestId: ${requestId} Error: Task timed out after ${(ms / 1_000).toFixed(2)} seconds`,
  });

  return {
    get alive() {
      return alive;
    },
    get maxMemoryBytes() {
      return maxMemoryBytes;
    },
    async invoke(requestId, event, timeoutMs) {
      const started = await initialised;
      if (started?.kind === "init-error") return end(started.error);
      if (!started) {
        return end(alive ? timedOut(requestId, INIT_TIMEOUT_MS) : exited(requestId));
      }
      const answer = next();
      worker.postMessage({
        requestId,
        event: JSON.stringify(event),
        deadlineMs: Date.now() + timeoutMs,
      } satisfies Invocation);
      const report = await within(timeoutMs, answer);
      if (report && "memoryBytes" in report) {
        maxMemoryBytes = Math.max(maxMemoryBytes, report.memoryBytes);
      }
      if (report?.kind === "result") return { ok: true, payload: JSON.parse(report.payload) };
      if (report?.kind === "error") return { ok: false, error: report.error };
      return end(alive ? timedOut(requestId, timeoutMs) : exited(requestId));
    },
    async terminate() {
      alive = false;
      await worker.terminate();
    },
  };
}
