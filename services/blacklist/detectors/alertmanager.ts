import * as v from "valibot";
import { createDetector, NotUnderstoodError, ofEach } from "../../../shared/detectors/detector.ts";
import {
  firstSaid,
  firstText,
  known,
  severityOf,
  valueAt,
} from "../../../shared/detectors/values.ts";

/** Labels that name an attacker. `instance` is not one of them: it names the victim. */
const LABELS = ["src_ip", "source_ip", "ip", "client_ip", "remote_ip"];

/** The group's own status is not used: it says firing as long as one of its alerts does. */
const alert = v.object({
  status: v.picklist(["firing", "resolved"]),
  labels: v.record(v.string(), v.unknown()),
  annotations: v.nullish(v.record(v.string(), v.unknown())),
});

/**
 * Alertmanager's groups, and those of programs that adopted its format. `endsAt` is not used: for a firing
 * alert it is in the year 1, as nobody knows when the alert will end.
 */
export const createAlertmanager = (name: string) =>
  createDetector({
    name,
    document: v.object({ alerts: v.array(v.unknown()) }),
    options: {
      /** The label that holds the address, if it is none of the above. */
      ip: v.optional(v.pipe(v.string(), v.minLength(1), v.maxLength(128))),
      /** An alert that resolves because the block works is no reason to unblock: off unless asked for. */
      resolved: v.optional(v.picklist(["ignore", "withdraw"]), "ignore"),
    },
    findings: ({ alerts }, { ip: label, resolved }) =>
      ofEach(alerts, "alerts", alert, ({ status, labels, annotations }, place) => {
        if (status === "resolved" && resolved === "ignore") return [];
        const names = label === undefined ? LABELS : [label];
        const ip = firstSaid(...names.map((one) => valueAt(labels, one)));
        if (ip === undefined) {
          throw new NotUnderstoodError(`${place}.labels: no ${listOf(names)} was found.`);
        }
        if (status === "resolved") return [{ ip, withdraws: true }];
        const why = firstText(valueAt(annotations, "summary"), valueAt(labels, "alertname"));
        const severity = severityOf(valueAt(labels, "severity"));
        return [{ ip, ...known({ severity }), reason: why ?? name }];
      }),
  });

export const alertmanager = createAlertmanager("alertmanager");

const listOf = (names: readonly string[]) =>
  new Intl.ListFormat("en", { type: "disjunction" }).format(names);
