import * as v from "valibot";
import { decisionFindings, goDuration } from "../../../shared/detectors/crowdsec.ts";
import { createDetector, understand } from "../../../shared/detectors/detector.ts";
import { atLeastASecond } from "../../../shared/detectors/values.ts";

/** An alert as CrowdSec's HTTP plugin sends it, in a list of one second's alerts. */
const alert = v.object({
  decisions: v.nullable(v.array(v.unknown())),
  simulated: v.optional(v.unknown()),
});

/** One decision, as in the shorter of the plugin's usual templates. */
const line = v.object({
  ip: v.unknown(),
  duration: goDuration,
  reason: v.optional(v.string(), ""),
});

export const crowdsec = createDetector({
  name: "crowdsec",
  document: v.looseObject({}),
  findings: (document) => {
    if (!Object.hasOwn(document, "decisions") && Object.hasOwn(document, "ip")) {
      const { ip, duration, reason } = understand(line, document);
      return duration > 0 ? [{ ip, seconds: atLeastASecond(duration), reason }] : [];
    }
    const { decisions, simulated } = understand(alert, document);
    return simulated === true ? [] : decisionFindings(decisions ?? [], "decisions");
  },
});
