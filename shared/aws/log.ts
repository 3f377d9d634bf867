import { Logger } from "@aws-lambda-powertools/logger";
import { Metrics } from "@aws-lambda-powertools/metrics";

/** One logger and one metrics sink per function; service and namespace come from the environment. */
export const createLogger = () => new Logger();
export const createMetrics = () => new Metrics();
export type { Logger, Metrics };
