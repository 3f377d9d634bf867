import { randomUUID } from "node:crypto";
import type { Caller } from "../../shared/aws/tokens.ts";
import type { Blacklist } from "./blacklist.ts";
import type { Answer } from "./http.ts";
import { coveringRanges } from "./list.ts";
import { addressOf, type Fields, numberOf } from "./request.ts";
/**
 * An operator's unblock, in order with the blocks. Where a wider range covers the address, the answer
 * says so: that range stays.
 *
 * @throws Refusal, QueueUnavailableError
 */
export async function unblock(
  fields: Fields,
  caller: Caller,
  { fold, blocks, holdSeconds, maxExpirySeconds, log }: Blacklist,
  now: number,
): Promise<Answer> {
  const cidr = addressOf(fields);
  const seconds = numberOf(fields, "hold", {
    min: 0,
    max: maxExpirySeconds,
    otherwise: holdSeconds,
    code: "invalid_hold",
  });
  const requestId = randomUUID();
  await fold.sendUnblock({
    kind: "unblock",
    cidr,
    requestedAt: now,
    operator: caller.name,
    holdUntil: seconds > 0 ? Math.floor(now / 1000) + seconds : 0,
    requestId,
  });
  log.info("Queued an unblock", { cidr: cidr.text, caller: caller.name, requestId });
  const coveredBy = await coveringRanges(cidr, blocks, now).catch((error) => {
    log.error("What covers the address cannot be read", error as Error);
    return [];
  });
  return {
    status: 202,
    body: {
      status: "queued",
      requestId,
      cidr: cidr.text,
      ...(coveredBy.length > 0 && { coveredBy: coveredBy.map((block) => block.cidr.text) }),
    },
  };
}
