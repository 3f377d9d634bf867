import { createAlertmanager } from "./alertmanager.ts";

/** Grafana's own alerting sends what Alertmanager does, and more; a body replaced by the user is `generic`. */
export const grafana = createAlertmanager("grafana");
