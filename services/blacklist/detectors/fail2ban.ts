import * as v from "valibot";
import { createDetector } from "../../../shared/detectors/detector.ts";
import { duration, known } from "../../../shared/detectors/values.ts";

/** What our action file sends; `ip`, `expiryTime` and `reason` alone will do. */
export const fail2ban = createDetector({
  name: "fail2ban",
  document: v.object({
    ip: v.unknown(),
    expiryTime: v.optional(duration),
    reason: v.optional(v.string()),
    jail: v.optional(v.string(), "some jail"),
    failures: v.optional(v.union([v.number(), v.string()]), "some"),
    action: v.optional(v.picklist(["ban", "unban"]), "ban"),
  }),
  findings: ({ ip, expiryTime, reason, jail, failures, action }) => {
    if (action === "unban") return [{ ip, withdraws: true }];
    const why = reason || `fail2ban ${jail}: ${failures} failures`;
    return [{ ip, ...known({ seconds: expiryTime }), reason: why }];
  },
});
