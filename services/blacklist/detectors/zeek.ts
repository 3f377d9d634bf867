import * as v from "valibot";
import { createDetector } from "../../../shared/detectors/detector.ts";
import { firstSaid, known } from "../../../shared/detectors/values.ts";

/**
 * Zeek's notice.log as JSON. A notice need not concern an address. For `suppress_for` seconds Zeek does not
 * repeat a notice: a block that ended sooner would let in somebody whom Zeek does not report.
 */
export const zeek = createDetector({
  name: "zeek",
  document: v.object({
    note: v.string(),
    msg: v.optional(v.string(), ""),
    src: v.optional(v.unknown()),
    suppress_for: v.nullish(v.pipe(v.number(), v.finite())),
  }),
  findings: ({ note, msg, src, suppress_for }) => {
    const ip = firstSaid(src);
    if (ip === undefined) return [];
    const seconds = suppress_for && suppress_for > 0 ? Math.ceil(suppress_for) : undefined;
    return [{ ip, ...known({ seconds }), reason: `Zeek ${note}: ${msg}` }];
  },
});
