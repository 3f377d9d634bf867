import * as v from "valibot";
import {
  aclIds,
  ipSetNames,
  parameterName,
  severityByTarget,
  text,
  wholeNumber,
} from "../../shared/aws/settings.ts";

const MAX_RULE_NUMBER = 32_766;

export const settings = v.object({
  /** The targets: network ACLs, and pairs of WAF IP sets. */
  ACL_ID: aclIds,
  WAF_IP_SETS: ipSetNames,
  LEAST_SEVERITY: severityByTarget,
  TABLE_NAME: text,
  LIST_NAME: text,
  STAGE_NAME: text,
  WAKE_UP_QUEUE_URL: text,
  NEVER_BLOCK_PARAMETER: parameterName,
  MODE: v.picklist(["enforce", "monitor"], "must be enforce or monitor"),
  /** Entries per family and direction. */
  RULE_LIMIT: wholeNumber(1, 40),
  RULE_NUMBER_FIRST: wholeNumber(1, MAX_RULE_NUMBER),
  RULE_NUMBER_LAST: wholeNumber(1, MAX_RULE_NUMBER),
  DIRECTIONS: v.picklist(["ingress", "both"], "must be ingress or both"),
  /** How many innocent addresses merged ranges may cover under pressure; 0: merges without loss only. */
  MAX_INNOCENTS: wholeNumber(0, 65_536),
  /** Seconds for which an address is remembered after its block has ended. */
  REPEAT_MEMORY: wholeNumber(0, 31_536_000),
  /** Seconds after which a report counts half in the score. */
  SCORE_HALF_LIFE: wholeNumber(1, 86_400),
});
