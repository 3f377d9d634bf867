import * as v from "valibot";
import { createDetector, NotUnderstoodError } from "../../../shared/detectors/detector.ts";
import {
  duration,
  fieldOf,
  firstSaid,
  firstText,
  known,
  severityOf,
} from "../../../shared/detectors/values.ts";

const FIELDS = ["ip", "src_ip", "source.ip"];

/** ElastAlert 2's `post2`: the fields that the rule names, or the whole match if it asks for all values. */
export const elastalert = createDetector({
  name: "elastalert",
  document: v.looseObject({ expiryTime: v.nullish(duration) }),
  findings: ({ expiryTime, ...match }) => {
    const ip = firstSaid(...FIELDS.map((field) => fieldOf(match, field)));
    if (ip === undefined) {
      throw new NotUnderstoodError("The document: no ip, src_ip or source.ip was found.");
    }
    const why = firstText(match.reason, match.rule_name, fieldOf(match, "rule.name"));
    const severity = severityOf(match.severity);
    const seconds = expiryTime ?? undefined;
    return [{ ip, ...known({ seconds, severity }), reason: why ?? "ElastAlert" }];
  },
});
