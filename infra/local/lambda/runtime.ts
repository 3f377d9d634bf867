// The inside of an execution environment: a worker thread that loads the packaged handler once and
// then runs one invocation after the other.
import { access } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { getHeapStatistics } from "node:v8";
import { parentPort, workerData } from "node:worker_threads";
import type { Context } from "aws-lambda";
import type { Boot, FunctionError, Invocation, Report } from "./protocol.ts";

type Handler = (event: unknown, context: Context) => unknown;

const boot = workerData as Boot;
const require = createRequire(import.meta.url);
const report = (message: Report) => parentPort?.postMessage(message);

try {
  const handler = await load(boot);
  parentPort?.on("message", (invocation: Invocation) => run(handler, invocation));
  report({ kind: "ready" });
} catch (error) {
  report({ kind: "init-error", error: asFunctionError(error) });
}

async function load({ codeDir, handler, preload }: Boot): Promise<Handler> {
  if (preload !== undefined) await import(preload);
  const [file = "", name = ""] = handler.split(".");
  const module = await loadModule(codeDir, file);
  const found = module[name];
  if (typeof found === "function") return found as Handler;
  throw Object.assign(new Error(`${handler} is undefined or not exported`), {
    name: "Runtime.HandlerNotFound",
  });
}

/** Lambda looks for these endings, in this order; it imports an ES module and requires the others. */
async function loadModule(codeDir: string, file: string): Promise<Record<string, unknown>> {
  for (const ending of [".js", ".mjs", ".cjs"]) {
    const path = join(codeDir, file + ending);
    const exists = await access(path).then(
      () => true,
      () => false,
    );
    if (exists) return ending === ".mjs" ? import(pathToFileURL(path).href) : require(path);
  }
  throw Object.assign(new Error(`Cannot find module '${file}'`), {
    name: "Runtime.ImportModuleError",
  });
}

async function run(handler: Handler, { requestId, event, deadlineMs }: Invocation): Promise<void> {
  const retired = () => {
    throw new Error("Lambda's Node.js runtime no longer has callbacks");
  };
  const context: Context = {
    ...boot.context,
    awsRequestId: requestId,
    callbackWaitsForEmptyEventLoop: true,
    getRemainingTimeInMillis: () => Math.max(0, deadlineMs - Date.now()),
    done: retired,
    fail: retired,
    succeed: retired,
  };
  try {
    const result = await handler(JSON.parse(event), context);
    report({ kind: "result", payload: JSON.stringify(result) ?? "null", ...memory() });
  } catch (error) {
    report({ kind: "error", error: asFunctionError(error), ...memory() });
  }
}

/** The thread's own heap and what it holds; not Node.js itself, which the functions share here. */
function memory(): { memoryBytes: number } {
  const { used_heap_size, external_memory, malloced_memory } = getHeapStatistics();
  return { memoryBytes: used_heap_size + external_memory + malloced_memory };
}

function asFunctionError(thrown: unknown): FunctionError {
  if (!(thrown instanceof Error)) {
    return { errorType: typeof thrown, errorMessage: String(thrown), trace: [] };
  }
  return {
    errorType: thrown.name,
    errorMessage: thrown.message,
    trace: (thrown.stack ?? "").split("\n"),
  };
}
