import type {
  AttributeValue as Received,
  _Record as ReceivedRecord,
} from "@aws-sdk/client-dynamodb-streams";
import type { AttributeValue, DynamoDBRecord } from "aws-lambda";

/**
 * A stream record as a function gets it: names in Lambda's casing, the time in epoch seconds,
 * binary values in base64.
 */
export function toLambdaRecord(record: ReceivedRecord, streamArn: string): DynamoDBRecord {
  const { dynamodb = {}, userIdentity } = record;
  return {
    eventID: String(record.eventID),
    eventName: record.eventName as "INSERT" | "MODIFY" | "REMOVE",
    eventVersion: record.eventVersion ?? "1.1",
    eventSource: "aws:dynamodb",
    awsRegion: String(record.awsRegion),
    dynamodb: {
      ApproximateCreationDateTime: createdAtSeconds(record),
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

/** A record's position in its shard. */
export const sequenceNumberOf = (record: ReceivedRecord): string =>
  String(record.dynamodb?.SequenceNumber);

/**
 * The record with its time to the second. DynamoDB Local rounds it down to the minute; a record that is
 * read as soon as it exists gets the current time.
 *
 * @param now epoch milliseconds
 */
export function withSeconds(record: ReceivedRecord, now: number): ReceivedRecord {
  const minute = record.dynamodb?.ApproximateCreationDateTime?.getTime();
  if (minute === undefined || minute % 60_000 !== 0) return record;
  const time = new Date(Math.min(Math.max(now, minute), minute + 59_000));
  return { ...record, dynamodb: { ...record.dynamodb, ApproximateCreationDateTime: time } };
}

/** When the change was made, to the second as streams tell it. */
export const createdAtSeconds = (record: ReceivedRecord): number =>
  Math.floor((record.dynamodb?.ApproximateCreationDateTime?.getTime() ?? 0) / 1_000);

type Item = Record<string, Received>;

const toItem = (item: Item): Record<string, AttributeValue> =>
  Object.fromEntries(Object.entries(item).map(([name, value]) => [name, toValue(value)]));

function toValue(value: Received): AttributeValue {
  if (value.B) return { B: toBase64(value.B) };
  if (value.BS) return { BS: value.BS.map(toBase64) };
  if (value.L) return { L: value.L.map(toValue) };
  if (value.M) return { M: toItem(value.M) };
  return value as AttributeValue;
}

const toBase64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");
