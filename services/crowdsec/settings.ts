import * as v from "valibot";
import { names, parameterName, text, wholeNumber } from "../../shared/aws/settings.ts";

export const settings = v.object({
  TABLE_NAME: text,
  LIST_NAME: text,
  STAGE_NAME: text,
  QUEUE_URL: text,
  QUEUE_SHARDS: wholeNumber(1, 100),
  CALLERS_PARAMETER: parameterName,
  /** How many blocks may be in force, of all callers together. */
  BLOCK_LIMIT: wholeNumber(1, 2_000_000),
  /** Where CrowdSec's LAPI is. */
  CROWDSEC_URL: text,
  /** The origins whose decisions count. */
  CROWDSEC_ORIGINS: names,
  /** The parameter that holds the bouncer's key. */
  CROWDSEC_KEY_PARAMETER: text,
});
