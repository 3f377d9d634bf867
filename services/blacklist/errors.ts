/** An answer that refuses a request: one clear sentence and a code that callers may rely on. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly status: number;
  readonly code: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Who was refused, for the log: the operator must see which detector keeps being refused. */
  caller: string | undefined;

  constructor(status: number, code: string, message: string, headers = {}, cause?: unknown) {
    super(message, { cause });
    this.status = status;
    this.code = code;
    this.headers = headers;
  }
}

export const badRequest = (code: string, message: string) => new Refusal(400, code, message);

export const unauthorized = () =>
  new Refusal(401, "unauthorized", "A valid access token is required.", {
    "www-authenticate": "Bearer",
  });

export const forbidden = () =>
  new Refusal(403, "forbidden", "This call needs an operator's token.");

const tryAgain = (message: string, cause?: unknown) =>
  new Refusal(503, "unavailable", message, { "retry-after": "2" }, cause);

export const unavailable = (message: string) =>
  tryAgain(`${message} Nothing was accepted; please try again.`);

export const unannounced = (cause: unknown) =>
  tryAgain(
    "The unblock is queued, but a report may still be taken for one from before it; please try again.",
    cause,
  );
