import type { AttributeValue as DynamoValue } from "@aws-sdk/client-dynamodb";
import { unmarshall } from "@aws-sdk/util-dynamodb";
import type {
  DynamoDBRecord,
  DynamoDBStreamEvent,
  ScheduledEvent,
  SQSEvent,
  SQSRecord,
} from "aws-lambda";
import * as v from "valibot";
import { cidr } from "../../shared/aws/schemas.ts";
import type { EndedBlock } from "../../shared/aws/table/offenders.ts";

const block = v.object({
  cidr,
  strikes: v.number(),
  score: v.number(),
  firstSeenAt: v.number(),
  expiresAt: v.number(),
});

/** A block that left the table, and who took it out. */
export type Removal = {
  readonly block: EndedBlock;
  /** TTL deleted it; otherwise the worker or a person did. */
  readonly byTtl: boolean;
  /** Its time was over when it was removed: that makes it a strike, which an unblock does not. */
  readonly hasEnded: boolean;
};

/**
 * The blocks that left the table, where the event is of its stream. A TTL deletion differs from a
 * person's by the record's userIdentity.
 *
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/time-to-live-ttl-streams.html
 */
export function removalsIn(event: DynamoDBStreamEvent | SQSEvent | ScheduledEvent): Removal[] {
  const records: readonly (DynamoDBRecord | SQSRecord)[] = "Records" in event ? event.Records : [];
  return records.flatMap((record) => {
    if (!("dynamodb" in record)) return [];
    const image = record.dynamodb?.OldImage;
    if (record.eventName !== "REMOVE" || !image) return [];
    const parsed = v.safeParse(block, unmarshall(image as Record<string, DynamoValue>));
    if (!parsed.success) return [];
    const removedAt = record.dynamodb?.ApproximateCreationDateTime ?? 0;
    const identity: { type?: string; principalId?: string } | undefined = record.userIdentity;
    const byTtl = identity?.type === "Service" && identity.principalId === "dynamodb.amazonaws.com";
    const hasEnded = byTtl || parsed.output.expiresAt <= removedAt;
    return [{ block: parsed.output, byTtl, hasEnded }];
  });
}
