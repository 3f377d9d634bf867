import type { Role } from "../../shared/domain/caller.ts";
import type { EpochMillis } from "../../shared/domain/time.ts";

/** An answer that refuses a request: one clear sentence, and a code that callers may rely on. */
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

const WHOSE: Readonly<Record<Role, string>> = {
  detector: "a detector's or an operator's",
  operator: "an operator's",
  reader: "a reader's or an operator's",
};

export const forbidden = (role: Role) =>
  new Refusal(403, "forbidden", `This call needs ${WHOSE[role]} token.`);

export const forbiddenSource = () =>
  new Refusal(403, "forbidden_source", "This token may not be used from this address.");

export const tooLarge = (limit: string) =>
  new Refusal(413, "too_large", `The body must be smaller than ${limit}.`);

const tryAgain = (message: string, cause?: unknown) =>
  new Refusal(503, "unavailable", message, { "retry-after": "2" }, cause);

export const unavailable = (message: string, cause?: unknown) =>
  tryAgain(`${message} Nothing was accepted; please try again.`, cause);

export const unannounced = (cause: unknown) =>
  tryAgain(
    "The order is queued, but a report may still be taken for one from before it; please try again.",
    cause,
  );

const MINUTE = 60_000;

const tooMany = (code: string, message: string, retryAfter: number) =>
  new Refusal(429, code, message, { "retry-after": String(retryAfter) });

/** The budget is renewed with the next minute. */
export const overBudget = (limit: number, now: EpochMillis) =>
  tooMany(
    "over_budget",
    `This token may report ${limit} addresses a minute.`,
    Math.ceil((MINUTE - (now % MINUTE)) / 1000),
  );

export const tooManyBlocks = (limit: number) =>
  tooMany("too_many_blocks", `This token may have ${limit} blocks in force at a time.`, 60);

export const listFull = () =>
  new Refusal(503, "list_full", "The list of blocks is full. Nothing was accepted.", {
    "retry-after": "60",
  });

export const tooManyHolds = (limit: number) =>
  tooMany("too_many_holds", `No more than ${limit} holds may be in force at a time.`, 60);

export const tooManyUndos = (limit: number) =>
  tooMany("too_many_undos", `No more than ${limit} undo orders may be in force at a time.`, 3_600);
