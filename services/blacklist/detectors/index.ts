import type { Detector } from "../../../shared/detectors/detector.ts";
import { guardDuty } from "../../../shared/detectors/guardDuty.ts";
import { securityHub } from "../../../shared/detectors/securityHub.ts";
import { alertmanager } from "./alertmanager.ts";
import { crowdsec } from "./crowdsec.ts";
import { elastalert } from "./elastalert.ts";
import { fail2ban } from "./fail2ban.ts";
import { falcosidekick } from "./falcosidekick.ts";
import { generic } from "./generic.ts";
import { grafana } from "./grafana.ts";
import { kibana } from "./kibana.ts";
import { snort } from "./snort.ts";
import { suricata } from "./suricata.ts";
import { wazuh } from "./wazuh.ts";
import { zeek } from "./zeek.ts";

const ALL: readonly Detector[] = [
  alertmanager,
  crowdsec,
  elastalert,
  fail2ban,
  falcosidekick,
  generic,
  grafana,
  guardDuty,
  kibana,
  securityHub,
  snort,
  suricata,
  wazuh,
  zeek,
];

/** The detectors whose own formats are understood, by name. */
export const detectors: ReadonlyMap<string, Detector> = new Map(
  ALL.map((detector) => [detector.name, detector]),
);
