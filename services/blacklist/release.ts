import type { Blacklist, Request } from "./blacklist.ts";
import { forbidden } from "./errors.ts";
import type { Answer } from "./http.ts";
import { takeOne } from "./intake.ts";
import type { Fields } from "./request.ts";
import { unblock } from "./unblock.ts";

/**
 * `DELETE /blacklistip`: an operator's lifts the block; a detector's withdraws that detector's own reports,
 * and the block stands while another caller wants it.
 *
 * @throws Refusal, QueueUnavailableError
 */
export async function release(
  fields: Fields,
  request: Request,
  blacklist: Blacklist,
): Promise<Answer> {
  if (request.caller.role === "operator") return unblock(fields, request, blacklist);
  if (fields.hold !== undefined) throw forbidden("operator");
  return takeOne({ kind: "withdrawal", ip: fields.ip }, request, blacklist);
}
