import type { AttributeValue as DynamoValue } from "@aws-sdk/client-dynamodb";
import { marshall } from "@aws-sdk/util-dynamodb";
import type { AttributeValue, DynamoDBRecord } from "aws-lambda";

/** Who DynamoDB says it was, where TTL deletes. */
export const TTL = { type: "Service", principalId: "dynamodb.amazonaws.com" };

/** The record of an item that left the table at `removedAt`, in epoch seconds. */
export function removalOf(
  item: object,
  removedAt: number,
  userIdentity?: { type?: string; principalId?: string },
): DynamoDBRecord {
  return {
    eventID: "1",
    eventName: "REMOVE",
    ...(userIdentity && { userIdentity }),
    dynamodb: { ApproximateCreationDateTime: removedAt, OldImage: imageOf(item) },
  };
}

/** The record of an item that came. */
export const insertOf = (item: object): DynamoDBRecord => ({
  eventID: "2",
  eventName: "INSERT",
  dynamodb: { NewImage: imageOf(item) },
});

function imageOf(item: object) {
  const image: Record<string, DynamoValue> = marshall(item);
  return image as Record<string, AttributeValue>;
}
