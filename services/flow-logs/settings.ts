import * as v from "valibot";
import { aclIds, text, wholeNumber } from "../../shared/aws/settings.ts";

export const settings = v.object({
  /** The network ACLs whose entries deny the packets. */
  ACL_ID: aclIds,
  TABLE_NAME: text,
  LIST_NAME: text,
  STAGE_NAME: text,
  QUEUE_URL: text,
  QUEUE_SHARDS: wholeNumber(1, 100),
  /** Whether a knock extends the block. */
  FLOW_LOGS_EXTEND: v.picklist(["on", "off"], "must be on or off"),
  /** Seconds by which it extends it. */
  EXPIRY_TIME: wholeNumber(1, 31_536_000),
});
