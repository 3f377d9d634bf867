import type { AttributeValue as DynamoValue } from "@aws-sdk/client-dynamodb";
import { unmarshall } from "@aws-sdk/util-dynamodb";
import type {
  DynamoDBRecord,
  DynamoDBStreamEvent,
  ScheduledEvent,
  SQSEvent,
  SQSRecord,
} from "aws-lambda";
import pLimit from "p-limit";
import * as v from "valibot";
import type { Logger } from "../../shared/aws/log.ts";
import { cidr } from "../../shared/aws/schemas.ts";
import type { EndedBlock, Offenders } from "../../shared/aws/table/offenders.ts";
import type { EpochMillis, Seconds } from "../../shared/domain/time.ts";

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

/** Offenders that are written at a time: the converge beside them must not wait. */
const PARALLEL = 25;

/** A table that fails so often is asked for no more: the invocation must end. */
const MAX_FAILURES = 25;

/**
 * Remembers the addresses whose blocks have ended. One that cannot be remembered costs a strike, no more:
 * the next block of it counts as its first. That must keep nothing from being converged.
 *
 * @param until after which none is begun
 * @returns how many were forgotten
 */
export async function rememberEnded(
  removals: readonly Removal[],
  offenders: Offenders,
  memory: Seconds,
  until: EpochMillis,
  { log, clock }: { readonly log: Pick<Logger, "error">; readonly clock: () => EpochMillis },
): Promise<number> {
  const limit = pLimit(PARALLEL);
  const failures: Error[] = [];
  let forgotten = 0;
  async function remember({ block }: Removal): Promise<void> {
    if (failures.length >= MAX_FAILURES || clock() >= until) {
      forgotten++;
      return;
    }
    await offenders.remember(block, memory).catch((error: Error) => {
      failures.push(error);
      forgotten++;
    });
  }
  const ended = removals.filter(({ hasEnded }) => hasEnded);
  await Promise.all(ended.map((removal) => limit(() => remember(removal))));
  const [error] = failures;
  if (forgotten > 0) log.error("Offenders are forgotten", { forgotten, ...(error && { error }) });
  return forgotten;
}
