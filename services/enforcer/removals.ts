import type { AttributeValue as DynamoValue } from "@aws-sdk/client-dynamodb";
import { unmarshall } from "@aws-sdk/util-dynamodb";
import type { DynamoDBRecord } from "aws-lambda";
import * as v from "valibot";
import type { EndedBlock } from "../../shared/aws/table.ts";

const block = v.object({
  cidr: v.string(),
  strikes: v.number(),
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
 * The removals among the records of the table's stream. A TTL deletion is told from a person's by
 * the record's userIdentity.
 *
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/time-to-live-ttl-streams.html
 */
export function removalsIn(records: readonly DynamoDBRecord[]): Removal[] {
  return records.flatMap((record) => {
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
