import * as v from "valibot";
import { createDetector } from "../../../shared/detectors/detector.ts";
import { firstSaid, known } from "../../../shared/detectors/values.ts";

/**
 * Zeek's notice.log as JSON. A notice may be about no address. For `suppress_for` seconds Zeek gives no
 * further notice of the same: a block that ended earlier would let in somebody of whom Zeek is silent.
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
