import {
  CreateTableCommand,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
  ResourceInUseException,
  UpdateTimeToLiveCommand,
  waitUntilTableExists,
} from "@aws-sdk/client-dynamodb";
import {
  CreateQueueCommand,
  GetQueueAttributesCommand,
  QueueNameExists,
  type SQSClient,
} from "@aws-sdk/client-sqs";
import { PutParameterCommand } from "@aws-sdk/client-ssm";
import type { Clients } from "./clients.ts";
import { SetupError } from "./errors.ts";
import type { Created, Model, ParameterModel, QueueModel, TableModel } from "./template.ts";

/** Creates the model's resources, or changes existing ones to what the model wants. */
export async function createResources(
  clients: Pick<Clients, "sqs" | "dynamodb" | "ssm">,
  model: Pick<Model, "queues" | "table">,
  parameters: readonly ParameterModel[],
): Promise<Created> {
  const [queues, table] = await Promise.all([
    createQueues(clients.sqs, model.queues),
    createTable(clients.dynamodb, model.table),
    ...parameters.map(({ name, type, value }) =>
      clients.ssm.send(
        new PutParameterCommand({
          Name: name,
          Value: value,
          Type: type as "String",
          Overwrite: true,
        }),
      ),
    ),
  ]);
  return { queues, table };
}

/** The parameters that operators write, no template: their values by what functions call their names. */
export function parametersFor(
  { functions }: Pick<Model, "functions">,
  values: Readonly<Record<string, string>>,
): Model["parameters"] {
  return Object.entries(values).flatMap(([variable, value]) => {
    const names = new Set(functions.flatMap(({ environment }) => environment[variable] ?? []));
    return [...names].map((name) => ({ name, value, type: "String" }));
  });
}

/** Dead-letter queues first: a redrive policy names one by its ARN. */
async function createQueues(
  sqs: SQSClient,
  models: readonly QueueModel[],
): Promise<Created["queues"]> {
  const created: Record<string, { url: string; arn: string }> = {};
  for (const model of models.toSorted((a, b) => Number(!!a.redrive) - Number(!!b.redrive))) {
    const { redrive } = model;
    const attributes = {
      ...model.attributes,
      ...(redrive && {
        RedrivePolicy: JSON.stringify({
          deadLetterTargetArn: created[redrive.deadLetterQueue]?.arn,
          maxReceiveCount: redrive.maxReceiveCount,
        }),
      }),
    };
    created[model.name] = await createQueue(sqs, model.name, attributes);
  }
  return created;
}

/** As in SQS, creating a queue that exists with these very attributes looks it up. */
async function createQueue(
  sqs: SQSClient,
  name: string,
  attributes: Record<string, string>,
): Promise<{ url: string; arn: string }> {
  const { QueueUrl = "" } = await sqs
    .send(new CreateQueueCommand({ QueueName: name, Attributes: attributes }))
    .catch((error) => {
      if (!(error instanceof QueueNameExists)) throw error;
      throw new SetupError(`Queue ${name} exists with other attributes: delete it (or its state).`);
    });
  const { Attributes } = await sqs.send(
    new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ["QueueArn"] }),
  );
  return { url: QueueUrl, arn: String(Attributes?.QueueArn) };
}

async function createTable(
  dynamodb: Clients["dynamodb"],
  model: TableModel,
): Promise<Created["table"]> {
  try {
    await dynamodb.send(
      new CreateTableCommand({
        TableName: model.name,
        BillingMode: "PAY_PER_REQUEST",
        KeySchema: [...model.keySchema],
        AttributeDefinitions: [...model.attributeDefinitions],
        ...(model.localIndexes.length > 0 && { LocalSecondaryIndexes: [...model.localIndexes] }),
        ...(model.globalIndexes.length > 0 && { GlobalSecondaryIndexes: [...model.globalIndexes] }),
        ...(model.streamViewType && {
          StreamSpecification: {
            StreamEnabled: true,
            StreamViewType: model.streamViewType as "NEW_AND_OLD_IMAGES",
          },
        }),
      }),
    );
  } catch (error) {
    if (!(error instanceof ResourceInUseException)) throw error;
  }
  await waitUntilTableExists(
    { client: dynamodb, maxWaitTime: 60, minDelay: 1, maxDelay: 2 },
    { TableName: model.name },
  );
  await setTimeToLive(dynamodb, model);

  const { Table } = await dynamodb.send(new DescribeTableCommand({ TableName: model.name }));
  if (model.streamViewType && !Table?.LatestStreamArn) {
    throw new Error(`Table ${model.name} exists already, and has no stream`);
  }
  return { arn: String(Table?.TableArn), streamArn: String(Table?.LatestStreamArn) };
}

/** Changes it only if it differs: DynamoDB refuses to turn on what is already on. */
async function setTimeToLive(
  dynamodb: Clients["dynamodb"],
  { name, ttlAttribute }: TableModel,
): Promise<void> {
  const { TimeToLiveDescription: now } = await dynamodb.send(
    new DescribeTimeToLiveCommand({ TableName: name }),
  );
  const isOn = now?.TimeToLiveStatus?.startsWith("ENABL") ?? false;
  if (isOn === (ttlAttribute !== undefined)) return;
  await dynamodb.send(
    new UpdateTimeToLiveCommand({
      TableName: name,
      TimeToLiveSpecification: {
        AttributeName: ttlAttribute ?? now?.AttributeName,
        Enabled: !isOn,
      },
    }),
  );
}
