import * as v from "valibot";
import { createDetector, NotUnderstoodError } from "../../../shared/detectors/detector.ts";
import { firstSaid, known, severityOf, valueAt } from "../../../shared/detectors/values.ts";

/**
 * Falco's events, through Falcosidekick. Only `fd.rip` is always the remote end; `fd.cip` and `fd.sip` are
 * client and server, and either may be our own.
 */
export const falcosidekick = createDetector({
  name: "falcosidekick",
  document: v.object({
    rule: v.string(),
    priority: v.optional(v.unknown()),
    output_fields: v.record(v.string(), v.unknown()),
  }),
  findings: ({ rule, priority, output_fields }) => {
    const ip = firstSaid(valueAt(output_fields, "fd.rip"));
    if (ip === undefined) {
      throw new NotUnderstoodError(
        "output_fields: no fd.rip was found; the rule's output must hold %fd.rip.",
      );
    }
    return [{ ip, ...known({ severity: severityOf(priority) }), reason: `Falco ${rule}` }];
  },
});
