/**
 * Something about the machine or the call that a person can fix (no Java, a port in use, a missing
 * ACL_ID). Shown as its one sentence, without a stack; the exit code is 1.
 */
export class SetupError extends Error {
  override name = "SetupError";
}

/** The message of anything that was thrown. */
export const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message || error.name : String(error);
