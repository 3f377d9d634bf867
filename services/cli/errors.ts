/** What a person asked for cannot be: exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** What was asked for was tried, and the answer is no: exit code 1. */
export class FailedError extends Error {
  override readonly name = "FailedError";
}
