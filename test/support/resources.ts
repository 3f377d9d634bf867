import { readFileSync } from "node:fs";
import { CreateQueueCommand } from "@aws-sdk/client-sqs";
import { parse } from "yaml";
import type { Clients } from "../../infra/local/clients.ts";
import { createResources } from "../../infra/local/resources.ts";

// The table and the queues as infra/ defines them, on the local engines, under names of a test's own.

const definitionOf = (file: string) =>
  parse(readFileSync(new URL(`../../infra/${file}`, import.meta.url), "utf8"), {
    logLevel: "error", // CloudFormation's own tags are not YAML's
  }).Resources;

/** @returns the ARN of the table's stream */
export async function makeTable(clients: Clients, name: string): Promise<string> {
  const { Properties } = definitionOf("table.yml").Table;
  const table = {
    name,
    keySchema: Properties.KeySchema,
    attributeDefinitions: Properties.AttributeDefinitions,
    localIndexes: Properties.LocalSecondaryIndexes,
    globalIndexes: [],
    ttlAttribute: Properties.TimeToLiveSpecification.AttributeName,
    streamViewType: Properties.StreamSpecification.StreamViewType,
  };
  return (await createResources(clients, { queues: [], table }, [])).table.streamArn;
}

/** @returns the queue's URL */
export async function makeQueue(
  { sqs }: Pick<Clients, "sqs">,
  name: string,
  kind: "Queue" | "DeadLetterQueue",
): Promise<string> {
  const { QueueName, RedrivePolicy, SqsManagedSseEnabled, KmsMasterKeyId, ...attributes } =
    definitionOf("queue.yml")[kind].Properties;
  const { QueueUrl } = await sqs.send(
    new CreateQueueCommand({
      QueueName: name,
      Attributes: Object.fromEntries(
        Object.entries(attributes).map(([key, value]) => [key, String(value)]),
      ),
    }),
  );
  return String(QueueUrl);
}
