import { randomUUID } from "node:crypto";
import { QueueUnavailableError, type UnblockMessage } from "../../shared/aws/queue.ts";
import { ConflictError } from "../../shared/aws/table/items.ts";
import { MAX_HOLDS } from "../../shared/aws/table/orders.ts";
import type { Hold } from "../../shared/domain/orders.ts";
import { type EpochMillis, toEpochSeconds } from "../../shared/domain/time.ts";
import type { Blacklist, Request } from "./blacklist.ts";
import { tooManyHolds, unavailable } from "./errors.ts";
import type { Answer } from "./http.ts";
import { coveringRanges } from "./list.ts";
import { addressOf, type Fields, numberOf } from "./request.ts";

/**
 * An operator's unblock, ahead of all detectors. If a wider range covers the address, that range stays, and
 * the answer says so.
 *
 * @throws Refusal, QueueUnavailableError
 */
export async function unblock(
  fields: Fields,
  { caller, now, trace }: Request,
  blacklist: Blacklist,
): Promise<Answer> {
  const { blocks, holdSeconds, maxExpirySeconds, log } = blacklist;
  const cidr = addressOf(fields.ip);
  const seconds = numberOf(fields, "hold", {
    min: 0,
    max: maxExpirySeconds,
    otherwise: holdSeconds,
    code: "invalid_hold",
  });
  const requestId = randomUUID();
  const holdUntil = seconds > 0 ? toEpochSeconds(now) + seconds : 0;
  const message: UnblockMessage = {
    kind: "unblock",
    cidr,
    requestedAt: now,
    operator: caller.name,
    holdUntil,
    requestId,
  };
  if (holdUntil === 0) await blacklist.fold.sendOrder(message);
  else await sendWithHold(message, { cidr, requestedAt: now, until: holdUntil }, blacklist, now);
  log.info("Queued an unblock", { cidr: cidr.text, requestId, holdUntil, ...trace });
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

/** Writes the hold before it queues the unblock, so that no report slips in between. */
async function sendWithHold(
  message: UnblockMessage,
  hold: Hold,
  { fold, orderBook, log }: Blacklist,
  now: EpochMillis,
): Promise<void> {
  const unwritten = (cause: unknown) => unavailable("The hold cannot be written now.", cause);
  const { holds } = await orderBook.read(now).catch((cause) => {
    throw unwritten(cause);
  });
  const standing = holds.filter(({ until }) => until * 1000 > now);
  const earlier = standing.find(({ cidr }) => cidr.text === hold.cidr.text);
  const others = standing.filter((one) => one !== earlier);
  if (others.length >= MAX_HOLDS) throw tooManyHolds(MAX_HOLDS);
  await orderBook.hold(hold).catch((cause) => {
    // On a conflict, a newer hold is in force.
    if (!(cause instanceof ConflictError)) throw unwritten(cause);
  });
  /** The hold is as it was before, an earlier one included. */
  async function withdrawHold(): Promise<void> {
    await orderBook.lift(hold);
    if (earlier) await orderBook.hold(earlier);
  }
  try {
    await fold.sendOrder(message);
  } catch (error) {
    // An unblock that is queued, and merely could not be announced, keeps its hold.
    if (!(error instanceof QueueUnavailableError)) throw error;
    await withdrawHold().catch((cause) => {
      log.error("A hold without its unblock could not be lifted", cause as Error);
    });
    throw error;
  }
}
