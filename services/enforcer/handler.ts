import type { Context, DynamoDBStreamEvent, ScheduledEvent } from "aws-lambda";
import { createDynamo, createEc2, createSsm } from "../../shared/aws/clients.ts";
import { createLogger, createMetrics } from "../../shared/aws/log.ts";
import { AclNotFoundError, createNetworkAcl } from "../../shared/aws/networkAcl.ts";
import { readNeverBlock } from "../../shared/aws/neverBlock.ts";
import { createParameters } from "../../shared/aws/parameters.ts";
import { readSettings } from "../../shared/aws/settings.ts";
import { createTable } from "../../shared/aws/table.ts";
import { converge, type Enforcer } from "./converge.ts";
import { removalsIn } from "./removals.ts";
import { settings } from "./settings.ts";

const config = readSettings(settings, process.env);
const log = createLogger();
const metrics = createMetrics();
const parameters = createParameters(createSsm());
const table = createTable(
  createDynamo(),
  { tableName: config.TABLE_NAME, aclId: config.ACL_ID },
  log,
);
const enforcer: Enforcer = {
  table,
  acl: createNetworkAcl(createEc2(), config.ACL_ID),
  neverBlock: (vpcCidrs) => readNeverBlock(parameters, config.NEVER_BLOCK_PARAMETER, vpcCidrs),
  directions: config.DIRECTIONS === "both" ? ["ingress", "egress"] : ["ingress"],
  ruleLimit: config.RULE_LIMIT,
  numbers: { first: config.RULE_NUMBER_FIRST, last: config.RULE_NUMBER_LAST },
  maxInnocents: config.MAX_INNOCENTS,
  mode: config.MODE,
  log,
  clock: Date.now,
};

/** Time that a converge keeps for its last EC2 call and its record, in milliseconds. */
const RESERVE_MS = 20_000;

/** Two triggers, the table's stream and the schedule, and one answer: converge. */
export async function handler(
  event: DynamoDBStreamEvent | ScheduledEvent,
  context: Context,
): Promise<void> {
  const removals = "Records" in event ? removalsIn(event.Records) : [];
  for (const { block, byTtl, hasEnded } of removals) {
    log.info("A block left the table", { cidr: block.cidr, by: byTtl ? "TTL" : "hand", hasEnded });
  }
  const remembering = Promise.all(
    removals
      .filter(({ hasEnded }) => hasEnded)
      .map(({ block }) => table.rememberOffender(block, config.REPEAT_MEMORY)),
  );
  // Its failure is told at the end: until then, unhandled, it would end the process and the converge.
  remembering.catch(() => {});
  try {
    const deadline = Date.now() + context.getRemainingTimeInMillis() - RESERVE_MS;
    const outcome = await converge(enforcer, deadline);
    log.info("Converged", outcome);
    metrics.addMetric("Enforced", "Count", outcome.enforced);
    metrics.addMetric("Waiting", "Count", outcome.waiting);
    metrics.addMetric("Foreign", "Count", outcome.foreign);
    metrics.addMetric("ChangesApplied", "Count", outcome.applied);
    metrics.addMetric("ChangesLeft", "Count", outcome.left);
    metrics.addMetric("DriftRepaired", "Count", outcome.drifted);
    metrics.addMetric("NeverBlockUnreadable", "Count", outcome.isNeverBlockReadable ? 0 : 1);
  } catch (error) {
    // Nothing to enforce on, and no retry can help: an alarm, not a loop of errors.
    if (!(error instanceof AclNotFoundError)) throw error;
    log.error("The network ACL does not exist", error);
    metrics.addMetric("AclMissing", "Count", 1);
  } finally {
    metrics.publishStoredMetrics();
    await remembering;
  }
}
