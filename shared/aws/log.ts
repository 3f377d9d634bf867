import { Logger } from "@aws-lambda-powertools/logger";
import { Metrics } from "@aws-lambda-powertools/metrics";

/** One logger and one metrics sink per function; service and namespace come from the environment. */
export const createLogger = () => new Logger();
/** Every metric carries the dimensions `service` and `stage`: the alarms of two stages never mix. */
export const createMetrics = (stage: string) => new Metrics({ defaultDimensions: { stage } });
export type { Logger, Metrics };
