import * as v from "valibot";
import {
  bounded,
  createDetector,
  NotUnderstoodError,
  understand,
} from "../../../shared/detectors/detector.ts";
import {
  duration,
  firstSaid,
  firstText,
  known,
  severityOf,
  valueAt,
} from "../../../shared/detectors/values.ts";

const POINTER = /^(\/([^~/\p{Cc}]|~[01])*)+$/u;

/** A JSON pointer (RFC 6901), parsed into its keys. */
const pointer = v.pipe(
  v.string(),
  v.check((text) => text.length <= 256 && POINTER.test(text), "a JSON pointer such as /alert/ip"),
  v.transform((text) =>
    text
      .split("/")
      .slice(1)
      .map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~")),
  ),
);

/** Other programs' values for an alert that is over. */
const OVER = new Set<unknown>([true, "true", "resolved", "recovered"]);

/** Any document whose sender says where each field is. The address field may hold one address or a list. */
export const generic = createDetector({
  name: "generic",
  document: v.looseObject({}),
  options: {
    ip: pointer,
    reason: v.optional(pointer),
    severity: v.optional(pointer),
    expiryTime: v.optional(pointer),
    /** Where the document says whether the detector withdraws its report. */
    withdraw: v.optional(pointer),
  },
  findings: (document, options) => {
    const at = (path: readonly string[] | undefined) =>
      path && firstSaid(valueAt(document, ...path));
    const found = valueAt(document, ...options.ip);
    if (found === undefined || found === null) {
      throw new NotUnderstoodError(`${options.ip.join(".")} was looked for and not found.`);
    }
    // Mustache loops leave empty elements behind.
    const all = (Array.isArray(found) ? found : [found]).filter((ip) => ip !== "");
    const ips = bounded(all, options.ip.join("."));
    const over = at(options.withdraw);
    if (OVER.has(typeof over === "string" ? over.toLowerCase() : over)) {
      return ips.map((ip) => ({ ip, withdraws: true }));
    }
    const time = at(options.expiryTime);
    const seconds =
      time === undefined ? undefined : understand(duration, time, options.expiryTime?.join("."));
    const severity = severityOf(at(options.severity));
    const reason = firstText(at(options.reason));
    return ips.map((ip) => ({ ip, ...known({ seconds, severity, reason }) }));
  },
});
