import * as v from "valibot";
import {
  createDetector,
  NotUnderstoodError,
  understand,
} from "../../../shared/detectors/detector.ts";
import { firstSaid, known, severityOf, valueAt } from "../../../shared/detectors/values.ts";

const alert = v.object({
  rule: v.object({ level: v.number(), description: v.optional(v.string(), "") }),
  data: v.optional(v.unknown()),
});

/** Where decoders put the address; Windows' own field comes last. */
const PLACES = [["srcip"], ["src_ip"], ["win", "eventdata", "ipAddress"]];

/** Wazuh's levels range from 0 to 15. */
const PER_LEVEL = 10 / 15;

/** Wazuh's alert, as our integration script posts it, or in the envelope of Wazuh's own. */
export const wazuh = createDetector({
  name: "wazuh",
  document: v.looseObject({}),
  findings: (document) => {
    const isFramed = Object.hasOwn(document, "all_fields");
    const { rule, data } = isFramed
      ? understand(alert, document.all_fields, "all_fields")
      : understand(alert, document);
    const ips = PLACES.map((place) => valueAt(data, ...place));
    // Windows writes a dash if it knows no address.
    const ip = firstSaid(...ips.filter((one) => one !== "-"));
    if (ip === undefined) {
      const place = isFramed ? "all_fields.data" : "data";
      throw new NotUnderstoodError(
        `${place}: no srcip, src_ip or win.eventdata.ipAddress was found.`,
      );
    }
    const severity = severityOf(rule.level * PER_LEVEL);
    return [{ ip, ...known({ severity }), reason: `Wazuh ${rule.description}` }];
  },
});
