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

/** A block that left the table, and who removed it. */
export type Removal = {
  readonly block: EndedBlock;
  /** TTL deleted it; otherwise the worker or a person did. */
  readonly byTtl: boolean;
  /** It had expired when it was removed: that counts as a strike; an unblock does not. */
  readonly hasEnded: boolean;
};

/**
 * The blocks that left the table, if the event comes from its stream. The record's userIdentity tells a TTL
 * deletion from a person's.
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

/** Offenders written at a time: the converge that runs meanwhile must not wait for them. */
const PARALLEL = 25;

/** After this many failures no more writes are tried: the invocation must end. */
const MAX_FAILURES = 25;

/**
 * Remembers the addresses whose blocks have ended. One that cannot be remembered only loses a strike, and
 * its next block counts as its first, so such a failure must not keep anything from being converged.
 *
 * @param until after which no write is begun
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
