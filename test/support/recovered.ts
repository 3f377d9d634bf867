import {
  type AttributeValue,
  BatchWriteItemCommand,
  CreateTableCommand,
  DescribeTableCommand,
  type DynamoDBClient,
  ScanCommand,
} from "@aws-sdk/client-dynamodb";

/**
 * Another table with the same items, keys and indexes, as point-in-time recovery makes one: without time
 * to live, stream and tags.
 */
export async function recover(dynamo: Dynamo, from: string, to: string): Promise<void> {
  const { Table } = await dynamo.send(new DescribeTableCommand({ TableName: from }));
  await dynamo.send(
    new CreateTableCommand({
      TableName: to,
      BillingMode: "PAY_PER_REQUEST",
      KeySchema: Table?.KeySchema,
      AttributeDefinitions: Table?.AttributeDefinitions,
      LocalSecondaryIndexes: Table?.LocalSecondaryIndexes?.map(
        ({ IndexName, KeySchema, Projection }) => ({ IndexName, KeySchema, Projection }),
      ),
    }),
  );
  const items = await itemsOf(dynamo, from);
  await inBatches(items, (some) =>
    dynamo.send(
      new BatchWriteItemCommand({
        RequestItems: { [to]: some.map((Item) => ({ PutRequest: { Item } })) },
      }),
    ),
  );
}

type Item = Record<string, AttributeValue>;
type Dynamo = Pick<DynamoDBClient, "send">;

/** Deletes every item that is meant. What the table is besides stays: stream, time to live. */
export async function lose(
  dynamo: Dynamo,
  table: string,
  isMeant: (list: string, sk: string) => boolean = () => true,
): Promise<void> {
  const items = await itemsOf(dynamo, table);
  const lost = items.filter(({ list, sk }) => isMeant(list?.S ?? "", sk?.S ?? ""));
  await inBatches(lost, (some) =>
    dynamo.send(
      new BatchWriteItemCommand({
        RequestItems: {
          [table]: some.map(({ list, sk }) => ({
            DeleteRequest: { Key: { list, sk } as Item },
          })),
        },
      }),
    ),
  );
}

/** All of them, of every list. */
export async function itemsOf(dynamo: Dynamo, table: string): Promise<Item[]> {
  const items: Item[] = [];
  let ExclusiveStartKey: Item | undefined;
  do {
    const page = await dynamo.send(
      new ScanCommand({ TableName: table, ConsistentRead: true, ExclusiveStartKey }),
    );
    items.push(...(page.Items ?? []));
    ExclusiveStartKey = page.LastEvaluatedKey;
  } while (ExclusiveStartKey);
  return items;
}

async function inBatches(items: readonly Item[], write: (some: readonly Item[]) => unknown) {
  for (let start = 0; start < items.length; start += 25)
    await write(items.slice(start, start + 25));
}
