import { randomUUID } from "node:crypto";
import * as v from "valibot";
import { callerName } from "../../shared/aws/callers.ts";
import { MAX_UNDOS } from "../../shared/aws/table/orders.ts";
import { type EpochMillis, type EpochSeconds, toEpochSeconds } from "../../shared/domain/time.ts";
import type { Blacklist, Request } from "./blacklist.ts";
import { badRequest, tooManyUndos, unavailable } from "./errors.ts";
import type { Answer } from "./http.ts";
import type { Fields } from "./request.ts";

/**
 * An operator takes back everything that a detector has reported since a given time: what is blocked, and
 * what is still queued. The worker does it, page by page; no report folds into one from before the undo.
 *
 * @throws Refusal, QueueUnavailableError
 */
export async function undo(
  fields: Fields,
  { caller, now, trace }: Request,
  { fold, orderBook, log }: Blacklist,
): Promise<Answer> {
  const detector = detectorOf(fields);
  const since = sinceOf(fields, now);
  const { undos } = await orderBook.read(now).catch((cause) => {
    throw unavailable("The undo orders cannot be counted now.", cause);
  });
  if (undos.length >= MAX_UNDOS) throw tooManyUndos(MAX_UNDOS);
  const requestId = randomUUID();
  await fold.sendOrder({
    kind: "undo",
    detector,
    since: since * 1000,
    requestedAt: now,
    operator: caller.name,
    requestId,
  });
  log.info("Queued an undo", { detector, since, requestId, ...trace });
  return { status: 202, body: { status: "queued", requestId, detector, since } };
}

/** Checks only the name: the detector may no longer be a caller. */
function detectorOf({ detector }: Fields): string {
  const { success, output } = v.safeParse(callerName, detector);
  if (success) return output;
  throw badRequest("invalid_detector", "The parameter detector must be the name of a caller.");
}

const moment = v.union([
  v.pipe(v.string(), v.regex(/^\d{1,10}$/), v.transform(Number)),
  v.pipe(
    v.string(),
    v.isoTimestamp(),
    v.transform((text) => toEpochSeconds(Date.parse(text))),
    v.integer(),
    v.minValue(0),
  ),
]);

function sinceOf({ since }: Fields, now: EpochMillis): EpochSeconds {
  const { success, output } = v.safeParse(moment, since);
  if (success && output * 1000 <= now) return output;
  throw badRequest(
    "invalid_since",
    "The parameter since must be a moment that has passed, in epoch seconds or as ISO 8601 with a time zone.",
  );
}
