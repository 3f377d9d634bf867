import * as v from "valibot";
import {
  bounded,
  createDetector,
  NotUnderstoodError,
  ofEach,
} from "../../../shared/detectors/detector.ts";
import { fieldOf, firstText, known, severityOf } from "../../../shared/detectors/values.ts";

/**
 * Kibana's detection rules, through its webhook connector and this body, in which Kibana itself makes the
 * list of alerts (a Mustache loop would leave one comma too many):
 *
 *     {"rule":"{{rule.name}}","alerts":{{{context.alerts.asJSON}}}}
 */
export const kibana = createDetector({
  name: "kibana",
  document: v.object({ rule: v.optional(v.string()), alerts: v.array(v.unknown()) }),
  findings: ({ rule, alerts }) =>
    ofEach(alerts, "alerts", v.looseObject({}), (alert, place) => {
      const found = fieldOf(alert, "source.ip");
      if (found === undefined) throw new NotUnderstoodError(`${place}: no source.ip was found.`);
      const severity = severityOf(fieldOf(alert, "kibana.alert.severity"));
      const reason = firstText(rule, fieldOf(alert, "kibana.alert.rule.name")) ?? "Kibana";
      // An Elastic field may hold one value or a list.
      const ips = bounded(Array.isArray(found) ? found : [found], `${place}.source.ip`);
      return ips.map((ip) => ({ ip, ...known({ severity }), reason }));
    }),
});
