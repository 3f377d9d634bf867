import type { Blacklist, Request } from "./blacklist.ts";
import { badRequest } from "./errors.ts";
import type { Answer } from "./http.ts";
import { type Said, takeAll, takeOne } from "./intake.ts";
import { termsOf } from "./judge.ts";
import type { Fields } from "./request.ts";

/**
 * A caller's report that an address attacks: validated, checked against what is never blocked and against
 * the caller's budget, and queued. Once the answer is 202, it is durable.
 *
 * @throws Refusal for bad input, QueueUnavailableError
 */
export const block = (fields: Fields, request: Request, blacklist: Blacklist): Promise<Answer> =>
  takeOne({ kind: "report", ip: fields.ip, terms: termsOf(fields, blacklist) }, request, blacklist);

/** At most this many addresses per request. */
const MAX_ADDRESSES = 100;

/**
 * As `block`, for up to 100 addresses in one request (`ips`); the other parameters apply to all.
 *
 * @throws Refusal if `ips` is no such list, and as `takeAll`
 */
export async function blockAll(
  fields: Fields,
  request: Request,
  blacklist: Blacklist,
): Promise<Answer> {
  const { ips } = fields;
  if (!Array.isArray(ips) || ips.length === 0 || ips.length > MAX_ADDRESSES) {
    const message = `The parameter ips must be a list of 1 to ${MAX_ADDRESSES} addresses.`;
    throw badRequest("invalid_ips", message);
  }
  const terms = termsOf(fields, blacklist);
  return takeAll(
    ips.map((ip: unknown): Said => ({ kind: "report", ip, terms })),
    request,
    blacklist,
  );
}
