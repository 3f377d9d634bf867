/** An error as Lambda returns it. */
export type FunctionError = { errorType: string; errorMessage: string; trace?: string[] };

/** What a new execution environment starts with. */
export type Boot = {
  codeDir: string;
  /** `file.export` */
  handler: string;
  /** A module to load before it, as a URL. */
  preload?: string;
  context: {
    functionName: string;
    functionVersion: string;
    invokedFunctionArn: string;
    memoryLimitInMB: string;
    logGroupName: string;
    logStreamName: string;
  };
};

/** One invocation, with the event as JSON, as a function receives it. */
export type Invocation = { requestId: string; event: string; deadlineMs: number };

/**
 * What an execution environment reports: that it is initialised, then the end of each invocation, with
 * the memory in use then.
 */
export type Report =
  | { kind: "ready" }
  | { kind: "init-error"; error: FunctionError }
  | { kind: "result"; payload: string; memoryBytes: number }
  | { kind: "error"; error: FunctionError; memoryBytes: number };
