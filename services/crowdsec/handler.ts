import type { Context, ScheduledEvent } from "aws-lambda";
import { createAdded } from "../../shared/aws/added.ts";
import { createCallers } from "../../shared/aws/callers.ts";
import { createDynamo, createSqs, createSsm, patient } from "../../shared/aws/clients.ts";
import { createLogger, createMetrics } from "../../shared/aws/log.ts";
import { createParameters } from "../../shared/aws/parameters.ts";
import { createQueue } from "../../shared/aws/queue.ts";
import { readSettings } from "../../shared/aws/settings.ts";
import { createAdditions } from "../../shared/aws/table/additions.ts";
import { createBudgets } from "../../shared/aws/table/budgets.ts";
import { ConflictError, partition } from "../../shared/aws/table/items.ts";
import { createOutstanding } from "../../shared/aws/table/outstanding.ts";
import { createPulls } from "../../shared/aws/table/pulls.ts";
import { PullError } from "./errors.ts";
import { createLapi } from "./lapi.ts";
import { CALLER, type Crowdsec, pull } from "./pull.ts";
import { settings } from "./settings.ts";

const config = readSettings(settings, process.env);
const log = createLogger();
const metrics = createMetrics(config.STAGE_NAME);
const dynamo = createDynamo(patient);
const parameters = createParameters(createSsm());
const tableConfig = { tableName: config.TABLE_NAME, list: config.LIST_NAME };
const added = createAdded(
  createAdditions(dynamo, tableConfig, partition.settings(config.LIST_NAME)),
  log,
  Date.now,
);
const crowdsec: Crowdsec = {
  lapi: createLapi(config.CROWDSEC_URL, () => parameters.get(config.CROWDSEC_KEY_PARAMETER)),
  pulls: createPulls(dynamo, tableConfig, CALLER, log),
  callers: createCallers(parameters, config.CALLERS_PARAMETER, added, log, Date.now),
  budgets: createBudgets(dynamo, tableConfig),
  outstanding: createOutstanding(dynamo, tableConfig),
  queue: createQueue(createSqs(), {
    url: config.QUEUE_URL,
    list: config.LIST_NAME,
    shards: config.QUEUE_SHARDS,
  }),
  origins: config.CROWDSEC_ORIGINS.map((origin) => origin.toLowerCase()),
  blockLimit: config.BLOCK_LIMIT,
  log,
  clock: Date.now,
};

/** The time that a pull reserves for its last messages and its mark, in milliseconds. */
const RESERVE_MS = 5_000;

/** A failed pull is logged once and not retried; the next one makes up for it. */
export async function handler(_event: ScheduledEvent, context: Context): Promise<void> {
  const count = (name: string, value: number) => metrics.addMetric(name, "Count", value);
  try {
    const deadline = Date.now() + context.getRemainingTimeInMillis() - RESERVE_MS;
    const { reported, withdrawn, left } = await pull(crowdsec, deadline);
    if (reported + withdrawn > 0) log.info("Pulled", { reported, withdrawn, left });
    count("PullReports", reported);
    count("PullWithdrawals", withdrawn);
    count("PullLeft", left);
    count("PullFailed", 0);
  } catch (error) {
    if (error instanceof ConflictError) {
      log.info("Another pull is under way");
      return;
    }
    // The sentence says all that needs fixing; its cause may repeat what CrowdSec answered.
    const why = error instanceof PullError ? { why: error.message } : { error: error as Error };
    log.error("A pull of CrowdSec's decisions failed", why);
    count("PullFailed", 1);
  } finally {
    metrics.publishStoredMetrics();
  }
}
