import * as v from "valibot";
import {
  createDetector,
  NotUnderstoodError,
  understand,
} from "../../../shared/detectors/detector.ts";
import { firstSaid, known, severityOfPriority, valueAt } from "../../../shared/detectors/values.ts";

const alertEvent = v.object({
  alert: v.looseObject({
    signature: v.optional(v.string(), ""),
    severity: v.optional(v.unknown()),
  }),
  flow: v.optional(v.unknown()),
});

/**
 * Suricata's EVE log. If the rule states its target, the event names the attacker; otherwise the attacker is
 * whoever began the flow. The event's own `src_ip` sent the packet, and may be the victim answering.
 */
export const suricata = createDetector({
  name: "suricata",
  document: v.looseObject({ event_type: v.string() }),
  findings: (event) => {
    if (event.event_type !== "alert") return [];
    const { alert, flow } = understand(alertEvent, event);
    const isAimed = Object.hasOwn(alert, "source") || Object.hasOwn(alert, "target");
    const ip = firstSaid(isAimed ? valueAt(alert, "source", "ip") : valueAt(flow, "src_ip"));
    if (ip === undefined) {
      throw new NotUnderstoodError(
        "No alert.source.ip or flow.src_ip was found; the rule needs a target, or the EVE log's alerts metadata with the flow.",
      );
    }
    const severity = severityOfPriority(alert.severity);
    return [{ ip, ...known({ severity }), reason: `Suricata ${alert.signature}` }];
  },
});
