/** A pull failed for a reason that an operator can fix. The message is one sentence and holds no secret. */
export class PullError extends Error {
  override readonly name = "PullError";
}
