import { createHash } from "node:crypto";

export const DETECTOR_TOKEN = "5f0c2a-token-of-a-detector";
export const OPERATOR_TOKEN = "91be77-token-of-an-operator";

export const digestOf = (token: string) => createHash("sha256").update(token).digest("hex");

export const TOKEN_LIST = JSON.stringify([
  { name: "suricata", role: "detector", sha256: digestOf(DETECTOR_TOKEN) },
  { name: "night-shift", role: "operator", sha256: digestOf(OPERATOR_TOKEN) },
]);
