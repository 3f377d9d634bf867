import * as v from "valibot";
import { EVENT_KINDS } from "../../shared/aws/queue.ts";
import { names, parameterName, text, wholeNumber } from "../../shared/aws/settings.ts";

const isEventKind = (name: string) => EVENT_KINDS.some((kind) => kind === name);

export const settings = v.object({
  TABLE_NAME: text,
  LIST_NAME: text,
  STAGE_NAME: text,
  QUEUE_URL: text,
  DEAD_LETTER_QUEUE_URL: text,
  CALLERS_PARAMETER: parameterName,
  NEVER_BLOCK_PARAMETER: parameterName,
  /** The detectors whose events EventBridge puts into the queue, separated by commas. */
  EVENT_DETECTORS: v.pipe(
    names,
    v.everyItem(isEventKind, `must be of ${EVENT_KINDS.join(", ")}, separated by commas`),
  ),
  /** Seconds; no event's block lasts longer. */
  MAX_EXPIRY_TIME: wholeNumber(1, 31_536_000),
  /** Each further block of an address lasts this percentage of the one before; 100 = no longer. */
  REPEAT_PERCENT: wholeNumber(100, 1000),
  /** Seconds; no escalated block lasts longer. */
  REPEAT_MAX: wholeNumber(1, 31_536_000),
  /** Weight that distinct detectors must reach before an address is blocked; 0 = any one will do. */
  CORROBORATION_THRESHOLD: wholeNumber(0, 1000),
  /** Seconds within which their reports add up. */
  CORROBORATION_WINDOW: wholeNumber(1, 86_400),
  /** Seconds that a block stays once every detector has withdrawn its report. */
  WITHDRAWAL_GRACE: wholeNumber(0, 3_600),
  /** Seconds after which a report counts half in the score. */
  SCORE_HALF_LIFE: wholeNumber(1, 86_400),
});
