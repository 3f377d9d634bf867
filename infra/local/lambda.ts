import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { createEnvironment, type Environment, type Outcome } from "./lambda/environment.ts";
import type { Log } from "./log.ts";
import type { FunctionModel } from "./template.ts";
import { within } from "./waiting.ts";

export type { Outcome } from "./lambda/environment.ts";
export type { FunctionError } from "./lambda/protocol.ts";

/** Execution environments at a time if nothing is reserved: a machine is not a region. */
const UNRESERVED_CONCURRENCY = 4;
/** How long an invocation without reserved concurrency waits for an environment. */
const UNRESERVED_WAIT_MS = 30_000;
const MAX_WAITING = 1_000;

/** All concurrency that the function may use is in use: Lambda's `TooManyRequestsException`. */
export class ThrottledError extends Error {
  override name = "TooManyRequestsException";

  constructor() {
    super("Rate Exceeded.");
  }
}

/** How an event source invokes its function. Rejects with {@link ThrottledError} only. */
export type Invoke = (event: unknown, options?: { waitMs?: number }) => Promise<Outcome>;

/** A function that can be invoked. */
export type LambdaFunction = {
  invoke: Invoke;
  /** Refuses new invocations, gives running ones that long to end, and ends the environments. */
  close(graceMs: number): Promise<void>;
};

/**
 * Runs a function as Lambda does: one invocation at a time per execution environment, environments
 * reused, never more of them than the function's reserved concurrency.
 *
 * With reserved concurrency, an invocation beyond it is throttled at once, unless the caller says
 * how long it may wait. Waiting invocations are served in order of arrival.
 */
export function createFunction(
  model: FunctionModel,
  options: {
    codeDir: string;
    env: Readonly<Record<string, string>>;
    log: Log;
    /** A module that each environment loads before the handler, as a URL: it sees what the function does. */
    preload?: string;
  },
): LambdaFunction {
  const { log, preload } = options;
  const limit = model.reservedConcurrency ?? UNRESERVED_CONCURRENCY;
  const patienceMs = model.reservedConcurrency === undefined ? UNRESERVED_WAIT_MS : 0;
  const idle: Environment[] = [];
  const environments = new Set<Environment>();
  const running = new Set<Promise<Outcome>>();
  const waiting: (() => void)[] = [];
  let inUse = 0;
  let closed = false;

  function newEnvironment(): Environment {
    const logStreamName = `local/[$LATEST]${randomUUID().replaceAll("-", "")}`;
    const logGroupName = `/aws/lambda/${model.name}`;
    const context = {
      functionName: model.name,
      functionVersion: "$LATEST",
      invokedFunctionArn: model.arn,
      memoryLimitInMB: String(model.memoryMb),
      logGroupName,
      logStreamName,
    };
    const codeDir = join(options.codeDir, model.artefact);
    const environment = createEnvironment(
      { codeDir, handler: model.handler, context, ...(preload !== undefined && { preload }) },
      {
        ...options.env,
        AWS_EXECUTION_ENV: "AWS_Lambda_nodejs24.x",
        AWS_LAMBDA_FUNCTION_NAME: model.name,
        AWS_LAMBDA_FUNCTION_VERSION: "$LATEST",
        AWS_LAMBDA_FUNCTION_MEMORY_SIZE: String(model.memoryMb),
        AWS_LAMBDA_INITIALIZATION_TYPE: "on-demand",
        AWS_LAMBDA_LOG_GROUP_NAME: logGroupName,
        AWS_LAMBDA_LOG_STREAM_NAME: logStreamName,
        LAMBDA_TASK_ROOT: codeDir,
        _HANDLER: model.handler,
      },
      log,
    );
    environments.add(environment);
    return environment;
  }

  async function takeSlot(waitMs: number): Promise<void> {
    if (closed) throw new ThrottledError();
    if (inUse < limit) {
      inUse += 1;
      return;
    }
    if (waitMs <= 0 || waiting.length >= MAX_WAITING) throw new ThrottledError();
    let mine = () => {};
    const turn = new Promise<true>((resolve) => {
      mine = () => resolve(true);
      waiting.push(mine);
    });
    const came = await within(waitMs, turn);
    const index = waiting.indexOf(mine);
    if (index >= 0) waiting.splice(index, 1);
    if (!came && index < 0) freeSlot();
    if (!came || closed) throw new ThrottledError();
  }

  /** Hands the slot to the one that has waited longest, or frees it. */
  function freeSlot(): void {
    const first = waiting.shift();
    if (first) first();
    else inUse -= 1;
  }

  async function run(event: unknown): Promise<Outcome> {
    const environment = idle.pop() ?? newEnvironment();
    const requestId = randomUUID();
    const startedAt = performance.now();
    const outcome = await environment.invoke(requestId, event, model.timeoutSeconds * 1_000);
    if (environment.alive) idle.push(environment);
    else environments.delete(environment);
    const ms = (performance.now() - startedAt).toFixed(0);
    const usedMb = Math.ceil(environment.maxMemoryBytes / 2 ** 20);
    log.line(
      `REPORT RequestId: ${requestId} Duration: ${ms} ms Memory Size: ${model.memoryMb} MB Max Memory Used: ${usedMb} MB`,
    );
    if (!outcome.ok) log.line(`ERROR RequestId: ${requestId} ${JSON.stringify(outcome.error)}`);
    return outcome;
  }

  return {
    async invoke(event, { waitMs = patienceMs } = {}) {
      await takeSlot(waitMs);
      const outcome = run(event);
      running.add(outcome);
      return outcome.finally(() => {
        running.delete(outcome);
        freeSlot();
      });
    },
    async close(graceMs) {
      closed = true;
      for (const turn of waiting.splice(0)) turn();
      await within(graceMs, Promise.allSettled(running));
      await Promise.all([...environments].map((environment) => environment.terminate()));
    },
  };
}
