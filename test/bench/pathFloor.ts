import {
  DescribeStreamCommand,
  GetRecordsCommand,
  GetShardIteratorCommand,
} from "@aws-sdk/client-dynamodb-streams";
import { CreateNetworkAclEntryCommand, DeleteNetworkAclEntryCommand } from "@aws-sdk/client-ec2";
import { ReceiveMessageCommand, SendMessageCommand } from "@aws-sdk/client-sqs";
import { POLL_MS } from "../../infra/local/sources/stream.ts";
import { NOTHING_KNOWN } from "../../shared/domain/decide.ts";
import { CANDIDATES_PER_SLOT } from "../../shared/targets/networkAcl/target.ts";
import { blockOf } from "./blocks.ts";
import type { Stage } from "./stage.ts";
import { interleave, median } from "./statistics.ts";
import { createAclSubject } from "./subject.ts";

const ROUNDS = 25;
const RULE_LIMIT = 18;

/** The medians of the calls and their sum, and the longest pause between two looks at the stream. */
export type PathFloor = {
  readonly callsMs: number;
  readonly pollMs: number;
  readonly parts: Readonly<Record<string, number>>;
};

/**
 * What a block cannot be faster than: every bare call between the caller's request and the ACL's
 * entry, one after the other; besides, the table's stream is looked at only so often.
 */
export async function pathFloor(stage: Stage): Promise<PathFloor> {
  const { clients, created } = stage;
  const queueUrl = Object.entries(created.queues).find(
    ([name]) => name === "portcullis-local.fifo",
  );
  const QueueUrl = queueUrl?.[1].url;
  const { id: aclId, acl, addresses, blocks, states } = await createAclSubject(stage, RULE_LIMIT);
  const { vpcId } = await acl.describe();
  const ShardIterator = await latestIterator(stage);
  let state = await states.read(aclId, "networkAcl");
  const block = (round: number) => {
    const now = Date.now();
    const expiresAt = Math.floor(now / 1000) + 60;
    return blockOf(`203.0.113.${round}`, { severity: 5, expiresAt, firstSeenAt: now });
  };

  const candidates = { count: RULE_LIMIT * CANDIDATES_PER_SLOT };

  const times = await interleave(
    {
      send: (round) =>
        clients.sqs.send(
          new SendMessageCommand({
            QueueUrl,
            MessageBody: JSON.stringify({ ...block(round), cidr: `203.0.113.${round}/32` }),
            MessageGroupId: `${aclId}.${round}`,
            MessageDeduplicationId: `${aclId}.${round}`,
          }),
        ),
      receive: () => clients.sqs.send(new ReceiveMessageCommand({ QueueUrl })),
      read: (round) => addresses.read([block(round).cidr.text], Date.now()),
      write: (round) => {
        const next = block(round);
        return addresses.write(next.cidr, NOTHING_KNOWN, { ...NOTHING_KNOWN, block: next });
      },
      stream: () => clients.streams.send(new GetRecordsCommand({ ShardIterator })),
      // As converge does it: at the same time.
      desiredAndActual: () =>
        Promise.all([
          states.read(aclId, "networkAcl"),
          acl.describe(),
          blocks.readStrongest(4, candidates, Date.now()),
          blocks.readStrongest(6, candidates, Date.now()),
        ]),
      vpc: () => acl.vpcCidrs(vpcId),
      record: async () => {
        state = await states.write(aclId, state);
      },
      apply: (round) =>
        clients.ec2.send(
          new CreateNetworkAclEntryCommand({
            ...{ NetworkAclId: aclId, Egress: false, RuleNumber: 50, RuleAction: "deny" },
            ...{ Protocol: "-1", CidrBlock: `203.0.113.${round}/32` },
          }),
        ),
    },
    ROUNDS,
    async (kind) => {
      if (kind !== "apply") return;
      await clients.ec2
        .send(
          new DeleteNetworkAclEntryCommand({ NetworkAclId: aclId, Egress: false, RuleNumber: 50 }),
        )
        .catch(() => undefined);
    },
  );
  const parts = Object.fromEntries(
    Object.entries(times).map(([name, each]) => [name, median(each)]),
  );
  const callsMs = Object.values(parts).reduce((sum, ms) => sum + ms, 0);
  return { callsMs, pollMs: POLL_MS, parts };
}

async function latestIterator({ clients, created }: Stage): Promise<string | undefined> {
  const StreamArn = created.table.streamArn;
  const { StreamDescription } = await clients.streams.send(
    new DescribeStreamCommand({ StreamArn }),
  );
  const ShardId = StreamDescription?.Shards?.at(-1)?.ShardId;
  const { ShardIterator } = await clients.streams.send(
    new GetShardIteratorCommand({ StreamArn, ShardId, ShardIteratorType: "LATEST" }),
  );
  return ShardIterator;
}
