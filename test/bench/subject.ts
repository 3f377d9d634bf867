import { Logger } from "@aws-lambda-powertools/logger";
import { CreateNetworkAclCommand, DescribeNetworkAclsCommand } from "@aws-sdk/client-ec2";
import { provideIpSets } from "../../infra/local/targets.ts";
import type { Converged, Enforcer } from "../../services/enforcer/converge.ts";
import {
  type Convergence,
  convergenceOf,
  createConvergeAll,
} from "../../services/enforcer/convergeAll.ts";
import { createSweeper, type Swept } from "../../services/enforcer/sweep.ts";
import { createTimeToEntry } from "../../services/enforcer/timeToEntry.ts";
import { createDynamo, createEc2, createWaf, patient } from "../../shared/aws/clients.ts";
import { createLastKnown } from "../../shared/aws/neverBlock.ts";
import { type Addresses, createAddresses } from "../../shared/aws/table/addresses.ts";
import { type Blocks, createBlocks } from "../../shared/aws/table/blocks.ts";
import { createOrderBook } from "../../shared/aws/table/orders.ts";
import { createTargetStates, type TargetStates } from "../../shared/aws/table/targetStates.ts";
import type { Block } from "../../shared/domain/block.ts";
import { MARGIN } from "../../shared/domain/rank.ts";
import type { EpochMillis, Millis } from "../../shared/domain/time.ts";
import { createNetworkAcl, type NetworkAcl } from "../../shared/targets/networkAcl/ec2.ts";
import type { NumberRange } from "../../shared/targets/networkAcl/rules.ts";
import { createNetworkAclTarget } from "../../shared/targets/networkAcl/target.ts";
import { createWafIpSetTarget } from "../../shared/targets/wafIpSet/target.ts";
import { createIpSets } from "../../shared/targets/wafIpSet/wafv2.ts";
import { control, type Stage } from "./stage.ts";

/** Our rule numbers in an ACL. */
export const NUMBERS: NumberRange = { first: 1, last: 99 };

const HALF_LIFE: Millis = 300_000;
const CONVERGE_MS = 60_000;

const silent = new Logger({ logLevel: "SILENT" });

/** An enforcer with one target, a list of its own, and a clock that can be set ahead. */
export type Subject = {
  /** Of the target; the list has the same name. */
  readonly id: string;
  readonly addresses: Addresses;
  readonly blocks: Blocks;
  readonly states: TargetStates;
  /** Milliseconds by which the enforcer's clock is ahead. */
  aheadMs: number;
  clock(): EpochMillis;
  /** Writes a block as the worker does. */
  want(block: Block): Promise<void>;
  /** Converges as the handler does. */
  converge(): Promise<Converged>;
  /** Goes on with what the last converge has begun to sweep, as the handler does. */
  sweep(): Promise<Swept>;
};

export type AclSubject = Subject & { readonly acl: NetworkAcl };

/** On a network ACL of its own. */
export async function createAclSubject(stage: Stage, ruleLimit: number): Promise<AclSubject> {
  const { ec2 } = stage.clients;
  const { NetworkAcls } = await ec2.send(new DescribeNetworkAclsCommand({}));
  const made = await ec2.send(new CreateNetworkAclCommand({ VpcId: NetworkAcls?.[0]?.VpcId }));
  const id = String(made.NetworkAcl?.NetworkAclId);
  const acl = createNetworkAcl(createEc2(), id);
  const target = createNetworkAclTarget(acl, {
    id,
    leastSeverity: 1,
    directions: ["ingress"],
    ruleLimit,
    numbers: NUMBERS,
    maxInnocents: 0,
    margin: HALF_LIFE * MARGIN,
  });
  return Object.assign(
    createSubject(stage, id, (enforcer) => convergenceOf(enforcer, target)),
    { acl },
  );
}

/** On a pair of WAF IP sets of its own, WAF without its throttle. */
export async function createWafSubject(stage: Stage, id: string): Promise<Subject> {
  const { clients, endpoints } = stage;
  await provideIpSets(clients.wafv2, endpoints.wafv2, [id]);
  await control(endpoints.wafv2, { throttle: false });
  const target = createWafIpSetTarget(createIpSets(createWaf()), { id, leastSeverity: 1 });
  return createSubject(stage, id, (enforcer) => convergenceOf(enforcer, target));
}

function createSubject(
  { model }: Stage,
  id: string,
  convergenceWith: (enforcer: Enforcer) => Convergence,
): Subject {
  const dynamo = createDynamo(patient);
  const config = { tableName: model.table.name, list: id };
  const parameters = { get: async () => "none" };
  const blocks = createBlocks(dynamo, config);
  const clock = () => Date.now() + subject.aheadMs;
  const sweeper = createSweeper(blocks, { log: silent, clock });
  const subject = {
    id,
    addresses: createAddresses(dynamo, config),
    blocks,
    states: createTargetStates(dynamo, config),
    aheadMs: 0,
    clock,
    sweep: sweeper.end,
    async want(block: Block) {
      const { text } = block.cidr;
      const known = (await subject.addresses.read([text], subject.clock())).get(text);
      if (known) await subject.addresses.write(block.cidr, known, { ...known, block });
    },
    async converge() {
      // A new one each time: between two of one, a target may want a pause.
      const convergeAll = createConvergeAll([convergence], subject.clock);
      const { converged, failed } = await convergeAll(subject.clock() + CONVERGE_MS);
      const [failure] = failed.values();
      if (failure) throw failure;
      return converged.get(id) as Converged;
    },
  };
  const convergence = convergenceWith({
    blocks: subject.blocks,
    states: subject.states,
    orders: createOrderBook(dynamo, config),
    sources: { recent: async () => [] },
    sweeper,
    timeToEntry: createTimeToEntry(),
    neverBlock: createLastKnown(
      parameters,
      "never-block",
      async () => [],
      async () => ({ ranges: new Map(), isCurrent: true }),
      subject.states,
      silent,
      Date.now,
    ),
    mode: "enforce",
    log: silent,
    clock: subject.clock,
  });
  return subject;
}
