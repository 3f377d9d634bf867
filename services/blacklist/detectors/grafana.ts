import { createAlertmanager } from "./alertmanager.ts";

/** Grafana's own alerting sends what Alertmanager does, and more; a custom body is for `generic`. */
export const grafana = createAlertmanager("grafana");
