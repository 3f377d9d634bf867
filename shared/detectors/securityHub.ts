import * as v from "valibot";
import { createDetector, NotUnderstoodError, ofEach } from "./detector.ts";
import { isSample, UNTIL_NEXT } from "./guardDuty.ts";
import { firstSaid, known, severityOf, valueAt } from "./values.ts";

const finding = v.object({
  RecordState: v.string(),
  Workflow: v.object({ Status: v.string() }),
  Title: v.string(),
  Types: v.optional(v.array(v.string()), []),
  Severity: v.object({ Normalized: v.optional(v.number()), Label: v.optional(v.unknown()) }),
  Sample: v.optional(v.unknown()),
  Action: v.optional(v.unknown()),
  ProductFields: v.nullish(v.record(v.string(), v.unknown())),
});

type Parsed = v.InferOutput<typeof finding>;

/** Security Hub's findings in ASFF, as EventBridge delivers them. */
export const securityHub = createDetector({
  name: "securityhub",
  document: v.object({
    "detail-type": v.literal("Security Hub Findings - Imported"),
    detail: v.object({ findings: v.array(v.unknown()) }),
  }),
  findings: ({ detail: { findings } }) =>
    ofEach(findings, "detail.findings", finding, (one, place) => {
      if (!isOpen(one)) return [];
      const { Normalized, Label } = one.Severity;
      const severity = severityOf(Normalized === undefined ? Label : Normalized / 10);
      const reason = `Security Hub ${one.Types[0] ?? one.Title}`;
      const about = { seconds: UNTIL_NEXT, ...known({ severity }), reason };
      return actors(one, place).map((ip) => ({ ip, ...about }));
    }),
});

const GUARD_DUTY = "aws/guardduty/service";

/** Whether nobody has dealt with it yet, it is no sample, and the remote side acts. */
function isOpen({ RecordState, Workflow, Sample, ProductFields }: Parsed): boolean {
  const of = (field: string) => valueAt(ProductFields, `${GUARD_DUTY}/${field}`);
  const role = of("resourceRole");
  return (
    RecordState === "ACTIVE" &&
    ["NEW", "NOTIFIED"].includes(Workflow.Status) &&
    Sample !== true &&
    of("additionalInfo/sample") !== "true" &&
    !isSample({ value: of("additionalInfo/value") }) &&
    (role === undefined || role === "TARGET")
  );
}

/** @throws NotUnderstoodError if an inbound action names nobody */
function actors({ Action, ProductFields }: Parsed, place: string): readonly unknown[] {
  if (Action === undefined || Action === null) return guardDutyActors(ProductFields);
  const connection = valueAt(Action, "NetworkConnectionAction");
  const probes = valueAt(Action, "PortProbeAction", "PortProbeDetails");
  const direction = valueAt(connection, "ConnectionDirection");
  // ASFF says IN; GuardDuty passes on its own word.
  const isInbound = direction === "IN" || direction === "INBOUND";
  const parties = [...(isInbound ? [connection] : []), ...(Array.isArray(probes) ? probes : [])];
  const ips = parties.flatMap((party) => {
    const ip = firstSaid(valueAt(party, "RemoteIpDetails", "IpAddressV4"));
    return ip === undefined ? [] : [ip];
  });
  if (parties.length === 0 || ips.length > 0) return ips;
  throw new NotUnderstoodError(
    `${place}.Action: no RemoteIpDetails.IpAddressV4 of an inbound connection or a port probe was found.`,
  );
}

const REMOTE =
  /^(networkConnectionAction|portProbeAction\/portProbeDetails\.\d+_|rdsLoginAttemptAction)\/remoteIpDetails\/ipAddressV[46]$/;

/** GuardDuty's findings may come without an action, and describe it in the product fields instead. */
function guardDutyActors(fields: Parsed["ProductFields"]): readonly unknown[] {
  const prefix = `${GUARD_DUTY}/action/`;
  const direction = valueAt(fields, `${prefix}networkConnectionAction/connectionDirection`);
  return Object.entries(fields ?? {}).flatMap(([name, value]) => {
    const kind = name.startsWith(prefix) && REMOTE.exec(name.slice(prefix.length))?.[1];
    const isInbound = kind !== "networkConnectionAction" || direction === "INBOUND";
    return kind && isInbound && value !== "" && value !== null ? [value] : [];
  });
}
