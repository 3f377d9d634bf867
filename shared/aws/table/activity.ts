import { type DynamoDBDocumentClient, QueryCommand, UpdateCommand } from "@aws-sdk/lib-dynamodb";
import * as v from "valibot";
import { type EpochMillis, type Seconds, toEpochSeconds } from "../../domain/time.ts";
import type { Logger } from "../log.ts";
import { createReader, partition, type TableConfig } from "./items.ts";

/** Why a detector was refused. */
export type LastRefusal = {
  readonly code: string;
  /** What was expected in a body that was not understood. */
  readonly message?: string | undefined;
  readonly at: EpochMillis;
};

/** What a detector did in some span of time. */
export type Seen = {
  /** Reports and withdrawals that were accepted, those of protected addresses included. */
  readonly accepted: number;
  readonly refused: number;
  readonly lastRefusal?: LastRefusal | undefined;
};

/** What a detector has done to date. */
export type Activity = Seen & { readonly detector: string; readonly lastSeenAt: EpochMillis };

/** The activity of detectors, as the operator sees it. */
export type Activities = {
  add(detector: string, seen: Seen, now: EpochMillis, signal?: AbortSignal): Promise<void>;
  /** At most a thousand. */
  all(signal?: AbortSignal): Promise<readonly Activity[]>;
};

/** A detector that reports nothing for this long is forgotten. */
const MEMORY: Seconds = 90 * 86_400;

/** At most this many callers per list. */
const MOST = 1_000;

const item = v.object({
  detector: v.string(),
  accepted: v.optional(v.number(), 0),
  refused: v.optional(v.number(), 0),
  lastRefusal: v.optional(
    v.object({ code: v.string(), message: v.optional(v.string()), at: v.number() }),
  ),
  lastSeenAt: v.number(),
});

export function createActivities(
  dynamo: DynamoDBDocumentClient,
  { tableName, list }: TableConfig,
  log?: Pick<Logger, "error">,
): Activities {
  const readable = createReader(log);
  const callers = partition.callers(list);
  const options = (abortSignal?: AbortSignal) => ({ ...(abortSignal && { abortSignal }) });
  return {
    async add(detector, { accepted, refused, lastRefusal }, now, signal) {
      const why = lastRefusal ? ", lastRefusal = :why" : "";
      await dynamo.send(
        new UpdateCommand({
          TableName: tableName,
          Key: { list: callers, sk: `activity#${detector}` },
          UpdateExpression: `ADD accepted :accepted, refused :refused SET detector = :detector, lastSeenAt = :now, expiresAt = :end${why}`,
          ExpressionAttributeValues: {
            ":accepted": accepted,
            ":refused": refused,
            ":detector": detector,
            ":now": now,
            ":end": toEpochSeconds(now) + MEMORY,
            ...(lastRefusal && { ":why": lastRefusal }),
          },
        }),
        options(signal),
      );
    },

    async all(signal) {
      const { Items } = await dynamo.send(
        new QueryCommand({
          TableName: tableName,
          KeyConditionExpression: "#list = :callers AND begins_with(sk, :activity)",
          ExpressionAttributeNames: { "#list": "list" },
          ExpressionAttributeValues: { ":callers": callers, ":activity": "activity#" },
          Limit: MOST,
        }),
        options(signal),
      );
      return (Items ?? []).flatMap((one) => readable(item, one) ?? []);
    },
  };
}
