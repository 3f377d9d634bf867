import type { Detector } from "../../../shared/detectors/detector.ts";
import { fail2ban } from "./fail2ban.ts";

/** The detectors whose own words the endpoint takes, by name: one line each. */
export const detectors: ReadonlyMap<string, Detector> = new Map(
  [fail2ban].map((detector) => [detector.name, detector]),
);
