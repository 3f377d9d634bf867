import type { Context, DynamoDBStreamEvent, ScheduledEvent, SQSEvent } from "aws-lambda";
import { createAccountAddresses } from "../../shared/aws/accountAddresses.ts";
import { createAdded } from "../../shared/aws/added.ts";
import {
  createDynamo,
  createEc2,
  createSqs,
  createSsm,
  createWaf,
  patient,
} from "../../shared/aws/clients.ts";
import { createLogger, createMetrics } from "../../shared/aws/log.ts";
import { createLastKnown } from "../../shared/aws/neverBlock.ts";
import { createParameters } from "../../shared/aws/parameters.ts";
import { createPrefixLists } from "../../shared/aws/prefixLists.ts";
import { readSettings } from "../../shared/aws/settings.ts";
import { createAdditions } from "../../shared/aws/table/additions.ts";
import { createBlocks } from "../../shared/aws/table/blocks.ts";
import { partition } from "../../shared/aws/table/items.ts";
import { createOffenders } from "../../shared/aws/table/offenders.ts";
import { createOrderBook } from "../../shared/aws/table/orders.ts";
import { createSources } from "../../shared/aws/table/sources.ts";
import { createTargetStates } from "../../shared/aws/table/targetStates.ts";
import { MARGIN } from "../../shared/domain/rank.ts";
import { toEpochSeconds } from "../../shared/domain/time.ts";
import { createNetworkAcl } from "../../shared/targets/networkAcl/ec2.ts";
import { createNetworkAclTarget } from "../../shared/targets/networkAcl/target.ts";
import { createWafIpSetTarget } from "../../shared/targets/wafIpSet/target.ts";
import { createIpSets } from "../../shared/targets/wafIpSet/wafv2.ts";
import type { Enforcer } from "./converge.ts";
import { convergenceOf, createConvergeAll } from "./convergeAll.ts";
import { publishMetrics } from "./metrics.ts";
import { rememberEnded, removalsIn } from "./removals.ts";
import { settings } from "./settings.ts";
import { createSweeper } from "./sweep.ts";
import { createTimeToEntry } from "./timeToEntry.ts";
import { createWakeUps } from "./wakeUps.ts";

const config = readSettings(settings, process.env);
const log = createLogger();
const metrics = createMetrics(config.STAGE_NAME);
const dynamo = createDynamo(patient);
const tableConfig = { tableName: config.TABLE_NAME, list: config.LIST_NAME };
const offenders = createOffenders(dynamo, tableConfig);
const blocks = createBlocks(dynamo, tableConfig, log);
const states = createTargetStates(dynamo, tableConfig);
const sweeper = createSweeper(blocks, { log, clock: Date.now });
/** A change to what operators have added wakes the enforcer, so it looks every time. */
const LOOK_ALWAYS = 0;
const added = createAdded(
  createAdditions(dynamo, tableConfig, partition.settings(config.LIST_NAME)),
  log,
  Date.now,
  LOOK_ALWAYS,
);
/** For what EC2 knows besides the targets. */
const ec2 = createEc2();
const lastKnown = createLastKnown(
  createParameters(createSsm()),
  config.NEVER_BLOCK_PARAMETER,
  added,
  createPrefixLists(ec2, states, log, Date.now),
  states,
  log,
  Date.now,
);
const accountAddresses = createAccountAddresses(ec2, states, log, Date.now);
const enforcer: Enforcer = {
  blocks,
  states,
  sweeper,
  timeToEntry: createTimeToEntry(),
  orders: createOrderBook(dynamo, tableConfig, log),
  sources: createSources(dynamo, tableConfig, log),
  neverBlock: async (ownRanges) => lastKnown([...ownRanges, ...(await accountAddresses())]),
  mode: config.MODE,
  log,
  clock: Date.now,
};

const ipSets = createIpSets(createWaf());
const leastSeverity = (id: string) => config.LEAST_SEVERITY[id] ?? 1;
const convergeAll = createConvergeAll(
  [
    ...config.ACL_ID.map((id) =>
      convergenceOf(
        enforcer,
        // One client each: the SDK slows down a throttled client, whichever ACL its calls are for.
        createNetworkAclTarget(createNetworkAcl(createEc2(), id), {
          id,
          leastSeverity: leastSeverity(id),
          directions: config.DIRECTIONS === "both" ? ["ingress", "egress"] : ["ingress"],
          ruleLimit: config.RULE_LIMIT,
          numbers: { first: config.RULE_NUMBER_FIRST, last: config.RULE_NUMBER_LAST },
          maxInnocents: config.MAX_INNOCENTS,
          margin: config.SCORE_HALF_LIFE * 1000 * MARGIN,
        }),
      ),
    ),
    ...config.WAF_IP_SETS.map((id) =>
      convergenceOf(
        enforcer,
        createWafIpSetTarget(ipSets, { id, leastSeverity: leastSeverity(id) }),
      ),
    ),
  ],
  Date.now,
);
const wakeUpAt = createWakeUps(createSqs(), config.WAKE_UP_QUEUE_URL, log, Date.now);

/** The time that a converge reserves for its last change and its record, in milliseconds. */
const RESERVE_MS = 20_000;

/** Three triggers (the table's stream, wake-ups and the schedule) and one response: converge. */
export async function handler(
  event: DynamoDBStreamEvent | SQSEvent | ScheduledEvent,
  context: Context,
): Promise<void> {
  const removals = removalsIn(event);
  for (const { block, byTtl, hasEnded } of removals) {
    const by = byTtl ? "TTL" : "hand";
    log.info("A block left the table", { cidr: block.cidr.text, by, hasEnded });
  }
  const deadline = Date.now() + context.getRemainingTimeInMillis() - RESERVE_MS;
  const remembering = rememberEnded(removals, offenders, config.REPEAT_MEMORY, deadline, enforcer);
  const results = await convergeAll(deadline, remembering);
  for (const [target, { timesToEntry, ...converged }] of results.converged)
    log.info("Converged", { target, ...converged, entered: timesToEntry.length });
  for (const [target, error] of results.failed) log.error("A converge failed", { target, error });
  if (results.wakeUpAt !== undefined) await wakeUpAt(results.wakeUpAt);
  const { isMore } = await sweeper.end();
  if (isMore) await wakeUpAt(toEpochSeconds(Date.now()) + 1);
  publishMetrics(metrics, results, await remembering);
  const [failure] = results.failed.values();
  // If no target could be converged, Lambda tries the records again.
  if (failure && results.failed.size === config.ACL_ID.length + config.WAF_IP_SETS.length)
    throw failure;
}
