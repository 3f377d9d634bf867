import * as v from "valibot";
import { createDetector, NotUnderstoodError } from "../../../shared/detectors/detector.ts";
import { firstSaid, known, severityOfPriority } from "../../../shared/detectors/values.ts";

const text = v.optional(v.string());

const alert = v.object({
  dir: text,
  src_addr: text,
  dst_addr: text,
  src_ap: text,
  dst_ap: text,
  /** The victim's side, if the rule says which it is. */
  target: text,
  priority: v.optional(v.unknown()),
  msg: text,
  rule: text,
});

type Side = "src" | "dst";

/** Snort 3's `alert_json`. The addresses are the packet's; the target or direction says who attacks. */
export const snort = createDetector({
  name: "snort",
  document: alert,
  findings: (document) => {
    const ip = addressOf(attackerOf(document), document);
    const severity = severityOfPriority(document.priority);
    const why = firstSaid(document.msg, document.rule, "alert");
    return [{ ip, ...known({ severity }), reason: `Snort ${why}` }];
  },
});

function attackerOf(document: v.InferOutput<typeof alert>): Side {
  const { dir, target } = document;
  if (target !== undefined) {
    if (target === addressOf("src", document)) return "dst";
    if (target === addressOf("dst", document)) return "src";
    throw new NotUnderstoodError("target is neither the source's nor the destination's address.");
  }
  // The client attacks; when the server answers, the client is the destination.
  if (dir === "C2S") return "src";
  if (dir === "S2C") return "dst";
  throw new NotUnderstoodError("No dir of C2S or S2C was found, and no target.");
}

function addressOf(side: Side, document: v.InferOutput<typeof alert>): string {
  const address =
    document[`${side}_addr`] || /^([\d.]+):\d+$/.exec(document[`${side}_ap`] ?? "")?.[1];
  if (address) return address;
  throw new NotUnderstoodError(
    `No ${side}_addr was found, and no ${side}_ap of IPv4 (of IPv6 it does not tell address and port apart); add src_addr and dst_addr to the fields of alert_json.`,
  );
}
