/** The request makes no sense: exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** The request was tried and failed: exit code 1. */
export class FailedError extends Error {
  override readonly name = "FailedError";
}
