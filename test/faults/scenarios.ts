import { rmSync } from "node:fs";
import { join } from "node:path";
import { DeleteItemCommand, PutItemCommand } from "@aws-sdk/client-dynamodb";
import { SendMessageCommand } from "@aws-sdk/client-sqs";
import { pause } from "../../infra/local/waiting.ts";
import { listDeadLetters } from "../../services/cli/replay/deadLetters.ts";
import { textOf } from "./invariant.ts";
import { type Lane, LIST } from "./lane.ts";
import type { Call, Choose, Fault } from "./proxy.ts";
import type { Promised } from "./storm.ts";

/** One run of the campaign: what goes wrong while a storm rages. */
export type Scenario = {
  readonly hop: string;
  readonly fault: string;
  /** It needs an ACL that is not full yet. */
  readonly needsNewLane?: boolean;
  /** Does the harm, and has ended it when it resolves. */
  harm(lane: Lane, promised: Promised, run: number): Promise<void>;
  /** What else must hold afterwards; what does not. */
  verify?(lane: Lane, run: number): Promise<string[]>;
};

type Matches = (call: Call) => boolean;

const HARM_MS = 3_000;
const MINUTE_MS = 60_000;
/** A call that is to kill the runner comes within this time: the slowest is TTL's. */
const KILL_MS = 45_000;

const calls =
  (service: Call["service"], pattern: RegExp, body = /^/): Matches =>
  (call) =>
    call.service === service && pattern.test(call.action) && body.test(call.body);

/** What names the main queue in a call, and no other queue. */
const QUEUE = new RegExp(`/${LIST}\\.fifo"`);
const WAKE_UPS = new RegExp(`/${LIST}-wake-ups"`);

/** The pipeline's hops, in the order in which a block takes them. */
const HOPS: Readonly<Record<string, Matches>> = {
  "endpoint → queue": calls("sqs", /^SendMessage/, QUEUE),
  "endpoint → table": calls("dynamodb", /^(UpdateItem|PutItem)$/, /#orders|#budgets|#callers/),
  "functions → orders": calls("dynamodb", /^Query$/, /#orders/),
  "queue → worker": calls("sqs", /^(ReceiveMessage|DeleteMessageBatch)$/, QUEUE),
  // The worker alone reads what is remembered of offenders, and writes blocks and counts.
  "worker → table": calls(
    "dynamodb",
    /^(BatchGetItem|PutItem|DeleteItem|UpdateItem)$/,
    /"block#|"suspect#|"unblock#|#outstanding/,
  ),
  "table → enforcer": calls("dynamodb", /^(DescribeStream|GetShardIterator|GetRecords)$/),
  "enforcer → table": calls(
    "dynamodb",
    /^(GetItem|Query|PutItem|UpdateItem|BatchExecuteStatement)$/,
    /"target#|"network#|#rank|"offender#|DELETE/,
  ),
  "enforcer → EC2": calls("ec2", /./),
  "enforcer → WAF": calls("wafv2", /./),
  "enforcer → wake-ups → enforcer": calls("sqs", /./, WAKE_UPS),
  "functions → parameters": calls("ssm", /./),
};

const FAULTS: readonly (readonly [string, Fault])[] = [
  ["engine down", "down"],
  ["5xx", "error"],
  ["answer lost after the effect", "lostAnswer"],
  ["throttled", "throttle"],
  ["slow", "slow"],
  ["every call twice", "twice"],
];

function during(hop: string, fault: string, choose: Choose, ms = HARM_MS): Scenario {
  return {
    hop,
    fault,
    async harm(lane) {
      lane.choose = choose;
      await pause(ms);
      lane.choose = () => undefined;
    },
  };
}

const eachHopAndFault = Object.entries(HOPS).flatMap(([hop, matches]) =>
  FAULTS.map(([name, fault]) => during(hop, name, (call) => (matches(call) ? fault : undefined))),
);

const forMinutes = [
  during(
    "enforcer → WAF",
    "throttled for minutes",
    (call) => (calls("wafv2", /^UpdateIPSet$/)(call) ? "throttle" : undefined),
    1.5 * MINUTE_MS,
  ),
  during(
    "enforcer → EC2",
    "throttled for minutes",
    (call) => (calls("ec2", /Entry$/)(call) ? "throttle" : undefined),
    1.5 * MINUTE_MS,
  ),
  during(
    "worker → table",
    "throttled for minutes",
    (call) => (HOPS["worker → table"]?.(call) ? "throttle" : undefined),
    1.5 * MINUTE_MS,
  ),
];

/**
 * Each call of one block's life, in order: accepted, written, enforced, expired, taken out; and those of
 * an unblock.
 */
const AWAITS: Readonly<Record<string, Matches>> = {
  "Query orders": calls("dynamodb", /^Query$/, /#orders/),
  "UpdateItem budget": calls("dynamodb", /^UpdateItem$/, /#budgets/),
  SendMessage: calls("sqs", /^SendMessage$/, QUEUE),
  ReceiveMessage: calls("sqs", /^ReceiveMessage$/, QUEUE),
  BatchGetItem: calls("dynamodb", /^BatchGetItem$/, /"offender#/),
  "PutItem block": calls("dynamodb", /^PutItem$/, /"block#/),
  DeleteMessageBatch: calls("sqs", /^DeleteMessageBatch$/, QUEUE),
  GetRecords: calls("dynamodb", /^GetRecords$/),
  "GetItem state": calls("dynamodb", /^GetItem$/, /"target#/),
  "UpdateItem outstanding": calls("dynamodb", /^UpdateItem$/, /#outstanding/),
  "Query rank": calls("dynamodb", /^Query$/, /#rank/),
  DescribeNetworkAcls: calls("ec2", /^DescribeNetworkAcls$/),
  DescribeVpcs: calls("ec2", /^DescribeVpcs$/),
  "PutItem state": calls("dynamodb", /^PutItem$/, /"target#/),
  ReplaceNetworkAclEntry: calls("ec2", /^ReplaceNetworkAclEntry$/),
  CreateNetworkAclEntry: calls("ec2", /^CreateNetworkAclEntry$/),
  DeleteNetworkAclEntry: calls("ec2", /^DeleteNetworkAclEntry$/),
  GetIPSet: calls("wafv2", /^GetIPSet$/),
  UpdateIPSet: calls("wafv2", /^UpdateIPSet$/),
  "SendMessage wake-up": calls("sqs", /^SendMessage$/, WAKE_UPS),
  DeleteItem: calls("dynamodb", /^DeleteItem$/, /"block#/),
  "UpdateItem offender": calls("dynamodb", /^UpdateItem$/, /"offender#/),
  "PutItem unblock": calls("dynamodb", /^PutItem$/, /"unblock#/),
  "UpdateItem unblocks": calls("dynamodb", /^UpdateItem$/, /#orders/),
};

const killed = (["killBefore", "killAfter"] as const).flatMap((fault) =>
  Object.entries(AWAITS).map(
    ([name, matches]): Scenario => ({
      hop: name,
      fault: fault === "killBefore" ? "runner killed before" : "runner killed after",
      needsNewLane: /^(Create|Delete)NetworkAclEntry$/.test(name),
      async harm(lane, _promised, run) {
        let isFirst = true;
        lane.choose = (call) => {
          if (!isFirst || !matches(call)) return undefined;
          isFirst = false;
          return fault;
        };
        let came = await lane.killed(KILL_MS / 3);
        if (!came) {
          await blockShortly(lane, run);
          came = await lane.killed(KILL_MS);
        }
        lane.choose = () => undefined;
        if (!came) throw new Error(`There was no call ${name}.`);
        await lane.restart();
      },
    }),
  ),
);

/**
 * A block through all hops. The storm's own short blocks may have come too late to be any, or been
 * extended, and its detector may have a share of its budget left: so an operator reports it. Of IPv6 there
 * is room in each ACL, so that it enters, and nothing takes its place when it ends.
 */
async function blockShortly(lane: Lane, run: number): Promise<void> {
  const { stack, call } = lane.cloud();
  const ip = `2a02:${(run + 1).toString(16)}::`;
  await call("/blacklistip", {
    method: "POST",
    token: stack.operatorToken,
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ ip, severity: 9, expiryTime: 3 }),
    signal: AbortSignal.timeout(10_000),
  }).catch(() => undefined); // it may be what kills the runner
}

const HOUR = 3_600;
const nowSeconds = () => Math.floor(Date.now() / 1000);

/** A message as the endpoint queues it. */
const messageOf = (cidr: string, change: object = {}) => ({
  ...{ kind: "block", cidr, severity: 9, reason: "fault" },
  ...{ detector: "detector", requestId: `by-hand-${cidr}` },
  ...{ reportedAt: Date.now(), expiresAt: nowSeconds() + HOUR, ...change },
});

async function queue(lane: Lane, body: string): Promise<void> {
  await lane.clients.sqs.send(
    new SendMessageCommand({
      QueueUrl: lane.queues().main,
      MessageBody: body,
      MessageGroupId: LIST,
      MessageDeduplicationId: crypto.randomUUID(),
    }),
  );
}

const poisonOf = (run: number): readonly string[] =>
  [
    { kind: "surprise" },
    messageOf(`46.${run}.0.2`),
    messageOf(`46.${run}.0.0/8`),
    messageOf(`46.${run}.0.3/32`, { severity: 1e300 }),
    messageOf(`46.${run}.0.4/32`, { expiresAt: "tomorrow" }),
    messageOf(`46.${run}.0.5/32`, { count: -1 }),
  ]
    // The same texts when they are looked for.
    .map((message) => JSON.stringify({ ...message, reportedAt: run }))
    .map((text) => text.replace(/"expiresAt":\d+/, '"expiresAt":9999999999'))
    .concat(`not JSON ${run}`, `{"kind":"block","cidr":"46.${run}.0.1/32"`);

const poisonMessages: Scenario = {
  hop: "queue → worker",
  fault: "poison messages",
  async harm(lane, _promised, run) {
    for (const poison of poisonOf(run)) await queue(lane, poison);
  },
  async verify(lane, run) {
    const { deadLetters } = await listDeadLetters(lane.clients.sqs, lane.queues().dead);
    const reasons = new Map(deadLetters.map(({ body, reason }) => [body, reason]));
    return poisonOf(run)
      .filter((body) => !/^invalid_/.test(reasons.get(body) ?? ""))
      .map((body) => `no dead letter: ${body}`);
  },
};

const deadLetterFaults = FAULTS.map(
  ([fault, effect]): Scenario => ({
    hop: "worker → dead letters",
    fault,
    async harm(lane, _promised, run) {
      lane.choose = ({ action, body }) =>
        action === "SendMessage" && body.includes("-dead.fifo") ? effect : undefined;
      await poisonMessages.harm(lane, _promised, run);
      await pause(HARM_MS);
      lane.choose = () => undefined;
    },
    ...(poisonMessages.verify && { verify: poisonMessages.verify }),
  }),
);

/** Items under a block's key that are no blocks; they come, and they go. */
const poisonRecords: Scenario = {
  hop: "table → enforcer",
  fault: "poison stream records",
  async harm(lane, _promised, run) {
    const { tableName: TableName } = lane.cloud().stack;
    const good = { family: { N: "4" }, expiresAt: { N: String(nowSeconds() + HOUR) } };
    const bad = [
      {},
      { ...good, cidr: { S: "nonsense" }, rank: { S: "4#99" } },
      { ...good, cidr: { N: "12" }, rank: { S: "4#98" }, severity: { S: "high" } },
      { ...good, family: { N: "5" }, rank: { S: "4#97" } },
      { expiresAt: { S: "never" }, rank: { S: "6#96" } },
      { rank: { S: "#" }, hits: { M: {} } },
    ];
    const keys = bad.map((_item, index) => ({
      list: { S: LIST },
      sk: { S: `block#47.${run}.0.${index}/32` },
    }));
    const { dynamodb } = lane.clients;
    for (const [index, item] of bad.entries()) {
      const Item = { ...keys[index], ...item };
      await dynamodb.send(new PutItemCommand({ TableName, Item }));
    }
    await pause(HARM_MS);
    for (const Key of keys) await dynamodb.send(new DeleteItemCommand({ TableName, Key }));
  },
};

/** How long the blocks last that come and go while answers are lost, in seconds. */
const SHORT_SECONDS = 4;
const shortOf = (run: number) => [`51.${run}.0.0/32`, `2a01:${(run + 1).toString(16)}::/128`];

/**
 * Blocks come and go while nobody can say whether a set was updated: what is ours must not be taken for
 * a person's, or it would stay for ever.
 */
const endsWithoutAnswers = (
  [
    ["blocks end while answers are lost", "lostAnswer"],
    ["blocks end before they take effect", "belated"],
  ] as const
).map(
  ([fault, effect]): Scenario => ({
    hop: "enforcer → WAF",
    fault,
    async harm(lane, _promised, run) {
      lane.choose = (call) => (calls("wafv2", /^UpdateIPSet$/)(call) ? effect : undefined);
      const expiresAt = nowSeconds() + SHORT_SECONDS;
      for (const cidr of shortOf(run)) {
        await queue(lane, JSON.stringify(messageOf(cidr, { expiresAt })));
      }
      await pause(4 * SHORT_SECONDS * 1_000);
      lane.choose = () => undefined;
    },
    async verify(lane, run) {
      const there = [...(await lane.addresses(4)), ...(await lane.addresses(6))].map(textOf);
      return shortOf(run)
        .filter((cidr) => there.includes(cidr))
        .map((cidr) => `ended, and still in a set: ${cidr}`);
    },
  }),
);

const expiredIterator = during("table → enforcer", "expired iterator", ({ action }) =>
  action === "GetRecords" ? "expired" : undefined,
);

/** SQS deletes nothing, so that it delivers all again. */
const duplicates = during("queue → worker", "duplicated delivery", ({ action }) =>
  action === "DeleteMessageBatch" ? "down" : undefined,
);

/** The enforcer's stream begins again with the oldest record. */
const replayedStream: Scenario = {
  hop: "table → enforcer",
  fault: "duplicated delivery",
  async harm(lane) {
    await lane.kill();
    rmSync(join(lane.dir, "state", "checkpoints-enforcer.json"), { force: true });
    await lane.restart();
  },
};

/** Messages come again later, older after newer, shorter and weaker after longer and stronger. */
const disorder: Scenario = {
  hop: "queue → worker",
  fault: "redelivery out of group order",
  async harm(lane, promised) {
    const addresses = [...promised.blocks.keys()].slice(0, 10);
    for (const [index, cidr] of addresses.entries()) {
      const age = 1_000 * (10 - index);
      const change = { reportedAt: Date.now() - age, severity: 1, expiresAt: nowSeconds() + 5 };
      await queue(lane, JSON.stringify(messageOf(cidr, change)));
    }
  },
};

/** Endpoints whose clocks are a minute and a half off. */
const skewedClocks: Scenario = {
  hop: "endpoint → queue",
  fault: "clock skew",
  async harm(lane, promised, run) {
    for (const [index, skewSeconds] of [-90, 90].entries()) {
      const cidr = `48.${run}.0.${4 * index}/32`;
      const reportedAt = Date.now() + 1000 * skewSeconds;
      const expiresAt = nowSeconds() + skewSeconds + 600;
      await queue(lane, JSON.stringify(messageOf(cidr, { reportedAt, expiresAt })));
      promised.blocks.set(cidr, expiresAt);
      promised.accepted++;
    }
  },
};

/** The whole campaign, those that take longest first. */
export const SCENARIOS: readonly Scenario[] = [
  ...forMinutes,
  ...killed,
  replayedStream,
  ...eachHopAndFault,
  ...deadLetterFaults,
  poisonMessages,
  poisonRecords,
  ...endsWithoutAnswers,
  expiredIterator,
  duplicates,
  disorder,
  skewedClocks,
];
