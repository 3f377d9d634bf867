import type {
  AttributeValue as Received,
  _Record as ReceivedRecord,
} from "@aws-sdk/client-dynamodb-streams";
import type { AttributeValue, DynamoDBRecord } from "aws-lambda";

/** A record's position in its shard. */
export const sequenceNumberOf = (record: ReceivedRecord): string =>
  String(record.dynamodb?.SequenceNumber);

/** A stream record as Lambda hands it to a function: times in epoch seconds, binary in base64. */
export function toLambdaRecord(record: ReceivedRecord, streamArn: string): DynamoDBRecord {
  const { dynamodb = {}, userIdentity } = record;
  const createdAtMs = dynamodb.ApproximateCreationDateTime?.getTime() ?? 0;
  return {
    eventID: String(record.eventID),
    eventName: record.eventName as "INSERT" | "MODIFY" | "REMOVE",
    eventVersion: record.eventVersion ?? "1.1",
    eventSource: "aws:dynamodb",
    awsRegion: String(record.awsRegion),
    dynamodb: {
      ApproximateCreationDateTime: Math.floor(createdAtMs / 1_000),
      ...(dynamodb.Keys && { Keys: toItem(dynamodb.Keys) }),
      ...(dynamodb.NewImage && { NewImage: toItem(dynamodb.NewImage) }),
      ...(dynamodb.OldImage && { OldImage: toItem(dynamodb.OldImage) }),
      SequenceNumber: sequenceNumberOf(record),
      SizeBytes: dynamodb.SizeBytes ?? 0,
      StreamViewType: dynamodb.StreamViewType ?? "NEW_AND_OLD_IMAGES",
    },
    eventSourceARN: streamArn,
    ...(userIdentity && {
      userIdentity: { type: userIdentity.Type, principalId: userIdentity.PrincipalId },
    }),
  };
}

const toItem = (item: Record<string, Received>): Record<string, AttributeValue> =>
  Object.fromEntries(Object.entries(item).map(([name, value]) => [name, toValue(value)]));

function toValue(value: Received): AttributeValue {
  if (value.B) return { B: toBase64(value.B) };
  if (value.BS) return { BS: value.BS.map(toBase64) };
  if (value.L) return { L: value.L.map(toValue) };
  if (value.M) return { M: toItem(value.M) };
  return value as AttributeValue;
}

const toBase64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");
