import {
  EventBridgeClient,
  PutEventsCommand,
  PutRuleCommand,
  PutTargetsCommand,
} from "@aws-sdk/client-eventbridge";
import {
  CreateQueueCommand,
  DeleteMessageCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SQSClient,
} from "@aws-sdk/client-sqs";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { startEventBus } from "../../sources/events.ts";
import { REGION, startTestEngines } from "../support/fixtures.ts";
import { hasMoto, startMoto } from "../support/moto.ts";

/*
 * What we rely on of EventBridge: a rule's pattern, its input template and its message group, with a FIFO
 * queue as the target. An expectation is what AWS does; where moto does something else, the case says so.
 */

const PATTERN = {
  source: ["aws.finder"],
  detail: {
    role: ["TARGET"],
    archived: [false, { exists: false }],
    kind: [{ "anything-but": ["CALL"] }],
  },
};
const LIST_PATTERN = { source: ["aws.lister"], detail: { found: { state: ["ACTIVE"] } } };
const TEMPLATE = '{"kind":"finder","event":<aws.events.event.json>}';

type Bus = { events: EventBridgeClient; sqs: SQSClient; queueUrl: string; stop(): Promise<void> };

const credentials = { accessKeyId: "local", secretAccessKey: "local" };
const clientsOf = (events: string, sqs: string) => ({
  events: new EventBridgeClient({ endpoint: events, region: REGION, credentials }),
  sqs: new SQSClient({ endpoint: sqs, region: REGION, credentials }),
});

async function makeQueue(sqs: SQSClient): Promise<{ queueUrl: string; queueArn: string }> {
  const { QueueUrl = "" } = await sqs.send(
    new CreateQueueCommand({
      QueueName: "found.fifo",
      Attributes: { FifoQueue: "true", ContentBasedDeduplication: "true" },
    }),
  );
  const { Attributes } = await sqs.send(
    new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ["QueueArn"] }),
  );
  return { queueUrl: QueueUrl, queueArn: String(Attributes?.QueueArn) };
}

async function startOurs(): Promise<Bus> {
  const aws = await startTestEngines("sqs");
  const { queueUrl, queueArn } = await makeQueue(aws.clients.sqs);
  const rule = { queueArn, messageGroupId: "finder", inputTemplate: TEMPLATE };
  const bus = await startEventBus({
    rules: [
      { ...rule, ruleName: "finder", pattern: JSON.stringify(PATTERN) },
      { ...rule, ruleName: "lister", pattern: JSON.stringify(LIST_PATTERN) },
    ],
    queueUrl: () => queueUrl,
    sqs: aws.clients.sqs,
    region: REGION,
    accountId: "000000000000",
  });
  const clients = clientsOf(bus.url, aws.engines.endpoints.sqs);
  const stop = async () => {
    await bus.stop();
    await aws.stop();
  };
  return { ...clients, queueUrl, stop };
}

async function startMotos(): Promise<Bus> {
  const moto = await startMoto();
  const { events, sqs } = clientsOf(moto.url, moto.url);
  const { queueUrl, queueArn } = await makeQueue(sqs);
  for (const [Name, pattern] of Object.entries({ finder: PATTERN, lister: LIST_PATTERN })) {
    await events.send(new PutRuleCommand({ Name, EventPattern: JSON.stringify(pattern) }));
    const target = {
      Id: "queue",
      Arn: queueArn,
      SqsParameters: { MessageGroupId: "finder" },
      InputTransformer: { InputTemplate: TEMPLATE },
    };
    await events.send(new PutTargetsCommand({ Rule: Name, Targets: [target] }));
  }
  return { events, sqs, queueUrl, stop: () => moto.stop() };
}

const backends = [
  { name: "emulator", start: startOurs },
  { name: "moto", start: startMotos },
];

describe.each(backends)("EventBridge, $name", ({ name: backend, start }) => {
  if (backend === "moto" && !hasMoto) {
    it.skip("moto is not installed", () => {});
    return;
  }

  let bus: Bus;
  beforeAll(async () => {
    bus = await start();
  }, 60_000);
  afterAll(async () => {
    bus?.events.destroy();
    bus?.sqs.destroy();
    await bus?.stop();
  });

  const put = (Source: string, detail: object) =>
    bus.events.send(
      new PutEventsCommand({
        Entries: [{ Source, DetailType: "Found", Detail: JSON.stringify(detail) }],
      }),
    );

  /** What lies in the queue, which is empty then. */
  async function received() {
    const { Messages = [] } = await bus.sqs.send(
      new ReceiveMessageCommand({
        QueueUrl: bus.queueUrl,
        MaxNumberOfMessages: 10,
        MessageSystemAttributeNames: ["MessageGroupId"],
      }),
    );
    for (const { ReceiptHandle } of Messages)
      await bus.sqs.send(new DeleteMessageCommand({ QueueUrl: bus.queueUrl, ReceiptHandle }));
    return Messages.map(({ Body = "", Attributes }) => ({
      ...JSON.parse(Body),
      group: Attributes?.MessageGroupId,
    }));
  }

  it("sends the whole event in the template's place, to the message group", async () => {
    // What a template does not escape, and what a replacement would take for its own.
    const detail = {
      role: "TARGET",
      kind: "PROBE",
      text: 'says "$&" and \\ and ünïcode',
      list: [1],
    };
    const { Entries } = await put("aws.finder", detail);
    expect(await received()).toEqual([
      {
        kind: "finder",
        group: "finder",
        event: expect.objectContaining({
          id: Entries?.[0]?.EventId,
          source: "aws.finder",
          "detail-type": "Found",
          region: REGION,
          time: expect.anything(),
          detail,
        }),
      },
    ]);
  });

  it.each<[string, object, boolean]>([
    ["of another role", { role: "ACTOR", kind: "PROBE" }, false],
    ["of no role", { kind: "PROBE" }, false],
    ["archived", { role: "TARGET", kind: "PROBE", archived: true }, false],
    ["not archived", { role: "TARGET", kind: "PROBE", archived: false }, true],
    ["of the kind that is left out", { role: "TARGET", kind: "CALL" }, false],
    ["of no kind", { role: "TARGET" }, false],
  ])("a rule's pattern: one %s", async (_what, detail, isSent) => {
    await put("aws.finder", detail);
    expect(await received()).toHaveLength(isSent ? 1 : 0);
  });

  it("a rule's pattern looks into lists of objects (moto: it does not)", async () => {
    await put("aws.lister", { found: [{ state: "GONE" }, { state: "ACTIVE" }] });
    expect(await received()).toHaveLength(backend === "moto" ? 0 : 1);
  });

  it("refuses a detail that is no JSON, and takes the others", async () => {
    const entry = { Source: "aws.finder", DetailType: "Found" };
    const good = JSON.stringify({ role: "TARGET", kind: "LOGIN" });
    const answer = await bus.events.send(
      new PutEventsCommand({
        Entries: [
          { ...entry, Detail: "{" },
          { ...entry, Detail: good },
        ],
      }),
    );
    expect(answer).toMatchObject({
      FailedEntryCount: 1,
      Entries: [{ ErrorCode: "MalformedDetail" }, { EventId: expect.any(String) }],
    });
    expect(await received()).toHaveLength(1);
  });
});
