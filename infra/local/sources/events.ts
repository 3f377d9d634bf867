import { randomUUID } from "node:crypto";
import { SendMessageCommand, type SQSClient } from "@aws-sdk/client-sqs";
import Fastify from "fastify";
import * as v from "valibot";
import type { EventRule } from "../template.ts";
import { compileFilters } from "./filter.ts";
import type { EventSource } from "./source.ts";

const entry = v.object({
  Source: v.pipe(v.string(), v.nonEmpty()),
  DetailType: v.pipe(v.string(), v.nonEmpty()),
  Detail: v.pipe(v.string(), v.parseJson(), v.looseObject({})),
  Resources: v.optional(v.array(v.string()), []),
  /** Epoch seconds. */
  Time: v.optional(v.number()),
});

const putEvents = v.object({ Entries: v.pipe(v.array(v.unknown()), v.maxLength(10)) });

/** The variable of an input template that is known here: the whole event. */
const EVENT = "<aws.events.event.json>";

/**
 * EventBridge's default bus: `PutEvents` of its API, and rules with patterns whose targets are queues. A
 * rule sends what its input template says. It also accepts events of AWS's own services, which AWS accepts
 * from nobody else.
 */
export async function startEventBus(options: {
  rules: readonly EventRule[];
  queueUrl: (arn: string) => string;
  sqs: SQSClient;
  region: string;
  accountId: string;
}): Promise<EventSource & { url: string }> {
  const rules = options.rules.map((rule) => ({ ...rule, fits: compileFilters([rule.pattern]) }));

  async function put(input: unknown) {
    const parsed = v.safeParse(entry, input);
    if (!parsed.success) {
      const [issue] = parsed.issues;
      const ErrorCode = issue.type === "parse_json" ? "MalformedDetail" : "InvalidArgument";
      return { ErrorCode, ErrorMessage: `${v.getDotPath(issue)}: ${issue.message}` };
    }
    const { Source, DetailType, Detail, Resources, Time = Date.now() / 1_000 } = parsed.output;
    const event = {
      version: "0",
      id: randomUUID(),
      "detail-type": DetailType,
      source: Source,
      account: options.accountId,
      time: new Date(Time * 1_000).toISOString().replace(/\.\d+/, ""),
      region: options.region,
      resources: Resources,
      detail: Detail,
    };
    for (const { fits, queueArn, messageGroupId, inputTemplate } of rules) {
      if (!fits(event)) continue;
      await options.sqs.send(
        new SendMessageCommand({
          QueueUrl: options.queueUrl(queueArn),
          // A function, because in a replacement string the event's dollar signs would be special.
          MessageBody: inputTemplate.replace(EVENT, () => JSON.stringify(event)),
          MessageGroupId: messageGroupId,
        }),
      );
    }
    return { EventId: event.id };
  }

  const app = Fastify({ forceCloseConnections: true });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "string" }, (_request, body, done) => done(null, body));
  app.post("/", async ({ headers, body }, reply) => {
    reply.type("application/x-amz-json-1.1");
    const refuse = (type: string, message: string) =>
      reply.code(400).send(JSON.stringify({ __type: type, message }));
    if (headers["x-amz-target"] !== "AWSEvents.PutEvents") {
      return refuse("UnknownOperationException", "Only PutEvents is known here.");
    }
    const request = v.safeParse(v.pipe(v.string(), v.parseJson(), putEvents), body);
    if (!request.success) return refuse("ValidationException", request.issues[0].message);
    const Entries = await Promise.all(request.output.Entries.map(put));
    const FailedEntryCount = Entries.filter((one) => "ErrorCode" in one).length;
    return JSON.stringify({ FailedEntryCount, Entries });
  });
  return {
    url: await app.listen({ host: "127.0.0.1", port: 0 }),
    stop: () => app.close(),
  };
}
