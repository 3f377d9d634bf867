import * as v from "valibot";
import type { Seconds } from "../domain/time.ts";
import { createDetector, type Finding, NotUnderstoodError, ofEach } from "./detector.ts";
import { firstSaid, known, severityOf, valueAt } from "./values.ts";

/** An ongoing finding is reported again within six hours: the block lasts until then. */
export const UNTIL_NEXT: Seconds = 7 * 3_600;

/** GuardDuty's findings, as EventBridge delivers them. */
export const guardDuty = createDetector({
  name: "guardduty",
  document: v.object({
    "detail-type": v.literal("GuardDuty Finding"),
    detail: v.object({
      type: v.string(),
      severity: v.number(),
      service: v.looseObject({ archived: v.optional(v.boolean()) }),
    }),
  }),
  findings: ({ detail: { type, severity, service } }) => {
    if (service.archived === true || isSample(service.additionalInfo)) return [];
    // If the resource is the actor, it is one of ours; runtime findings state neither.
    if (service.resourceRole !== "TARGET") return [];
    const about = {
      seconds: UNTIL_NEXT,
      ...known({ severity: severityOf(severity) }),
      reason: `GuardDuty ${type}`,
    };
    return actors(service.action).map((one) =>
      "notUnderstood" in one ? one : { ...one, ...about },
    );
  },
});

/** Samples are generated for trying things out; they say so in a flag, or in text that is JSON. */
export function isSample(additionalInfo: unknown): boolean {
  const value = valueAt(additionalInfo, "value");
  return (
    valueAt(additionalInfo, "sample") === true ||
    (typeof value === "string" && /"sample"\s*:\s*true/.test(value))
  );
}

/**
 * The remote parties that act. A caller of AWS's own API is not stopped by what we block, and an attack
 * sequence does not say which end is which: its findings also arrive one by one.
 */
function actors(action: unknown) {
  const path = "detail.service.action";
  const probes = valueAt(action, "portProbeAction", "portProbeDetails");
  if (Array.isArray(probes)) {
    const place = `${path}.portProbeAction.portProbeDetails`;
    return ofEach(probes, place, v.unknown(), remoteOf);
  }
  const isInbound = valueAt(action, "networkConnectionAction", "connectionDirection") === "INBOUND";
  const kind = [
    ...(isInbound ? ["networkConnectionAction"] : []),
    "rdsLoginAttemptAction",
    // Not its sourceIPs: they name proxies as well.
    "kubernetesApiCallAction",
  ].find((one) => valueAt(action, one));
  return kind === undefined ? [] : remoteOf(valueAt(action, kind), `${path}.${kind}`);
}

function remoteOf(party: unknown, place: string): readonly Finding[] {
  const ips = ["ipAddressV4", "ipAddressV6"]
    .map((field) => firstSaid(valueAt(party, "remoteIpDetails", field)))
    .filter((ip) => ip !== undefined);
  if (ips.length > 0) return ips.map((ip) => ({ ip }));
  throw new NotUnderstoodError(
    `${place}.remoteIpDetails: no ipAddressV4 or ipAddressV6 was found.`,
  );
}
