import * as v from "valibot";
import {
  aclIds,
  callerNames,
  ipSetNames,
  parameterName,
  text,
  wholeNumber,
} from "../../shared/aws/settings.ts";

const YEAR = 31_536_000;

export const settings = v.object({
  /** The targets whose state the operator's list shows. */
  ACL_ID: aclIds,
  WAF_IP_SETS: ipSetNames,
  TABLE_NAME: text,
  LIST_NAME: text,
  STAGE_NAME: text,
  QUEUE_URL: text,
  QUEUE_SHARDS: wholeNumber(1, 100),
  TOKENS_PARAMETER: parameterName,
  CALLERS_PARAMETER: parameterName,
  NEVER_BLOCK_PARAMETER: parameterName,
  /** Seconds that a block lasts if the request gives no expiryTime. */
  EXPIRY_TIME: wholeNumber(1, YEAR),
  /** Seconds; the longest expiryTime that a request may give. */
  MAX_EXPIRY_TIME: wholeNumber(1, YEAR),
  /** Seconds for which an unblocked address is not blocked again, if the request gives none. */
  HOLD_TIME: wholeNumber(0, YEAR),
  /** Detectors whose reports are counted separately, so that an alarm notices when one falls silent. */
  WATCHED_DETECTORS: callerNames,
  /** How many blocks may be in force, of all callers together. */
  BLOCK_LIMIT: wholeNumber(1, 2_000_000),
});
