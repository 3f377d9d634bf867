import * as v from "valibot";
import { aclId, text, wholeNumber } from "../../shared/aws/settings.ts";

const MAX_RULE_NUMBER = 32_766;

export const settings = v.object({
  ACL_ID: aclId,
  TABLE_NAME: text,
  NEVER_BLOCK_PARAMETER: text,
  MODE: v.picklist(["enforce", "monitor"], "must be enforce or monitor"),
  /** Entries per family and direction. */
  RULE_LIMIT: wholeNumber(1, 40),
  RULE_NUMBER_FIRST: wholeNumber(1, MAX_RULE_NUMBER),
  RULE_NUMBER_LAST: wholeNumber(1, MAX_RULE_NUMBER),
  DIRECTIONS: v.picklist(["ingress", "both"], "must be ingress or both"),
  /** Innocent addresses that merged ranges may cover under pressure; 0 merges without loss only. */
  MAX_INNOCENTS: wholeNumber(0, 65_536),
  /** Seconds for which an address is remembered after its block has ended. */
  REPEAT_MEMORY: wholeNumber(0, 31_536_000),
});
