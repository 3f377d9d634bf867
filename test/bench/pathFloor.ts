import {
  DescribeStreamCommand,
  GetRecordsCommand,
  GetShardIteratorCommand,
} from "@aws-sdk/client-dynamodb-streams";
import { CreateNetworkAclEntryCommand, DeleteNetworkAclEntryCommand } from "@aws-sdk/client-ec2";
import { ReceiveMessageCommand, SendMessageCommand } from "@aws-sdk/client-sqs";
import { POLL_MS } from "../../infra/local/sources/stream.ts";
import { blockOf } from "./blocks.ts";
import { createSubject, type Stage } from "./stage.ts";
import { interleave, median } from "./statistics.ts";

const ROUNDS = 25;

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
  const queueUrl = Object.entries(created.queues).find(([name]) => name === "portcullis-dev.fifo");
  const QueueUrl = queueUrl?.[1].url;
  const { table, enforcer, aclId } = await createSubject(stage, 18);
  const { acl } = enforcer;
  const { vpcId } = await acl.describe();
  const ShardIterator = await latestIterator(stage);
  let state = await table.readState();
  const block = (round: number) => {
    const now = Date.now();
    const expiresAt = Math.floor(now / 1000) + 60;
    return blockOf(`203.0.113.${round}`, { severity: 5, expiresAt, firstSeenAt: now });
  };

  const times = await interleave(
    {
      send: (round) =>
        clients.sqs.send(
          new SendMessageCommand({
            QueueUrl,
            MessageBody: JSON.stringify(block(round)),
            MessageGroupId: `${aclId}.${round}`,
            MessageDeduplicationId: `${aclId}.${round}`,
          }),
        ),
      receive: () => clients.sqs.send(new ReceiveMessageCommand({ QueueUrl })),
      read: (round) => table.readKnown([block(round).cidr], Date.now()),
      write: (round) => table.writeBlock(block(round), undefined),
      stream: () => clients.streams.send(new GetRecordsCommand({ ShardIterator })),
      // As converge does it: at the same time.
      desiredAndActual: () =>
        Promise.all([
          table.readState(),
          acl.describe(),
          table.readStrongest(4, 180, Date.now()),
          table.readStrongest(6, 180, Date.now()),
        ]),
      vpc: () => acl.vpcCidrs(vpcId),
      record: async () => {
        state = await table.writeState(state);
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
