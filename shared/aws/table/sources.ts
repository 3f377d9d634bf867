import { type DynamoDBDocumentClient, PutCommand, QueryCommand } from "@aws-sdk/lib-dynamodb";
import * as v from "valibot";
import type { Cidr } from "../../domain/cidr.ts";
import { type EpochMillis, isExpired, type Seconds, toEpochSeconds } from "../../domain/time.ts";
import type { Logger } from "../log.ts";
import { cidr } from "../schemas.ts";
import { createReader, partition, type TableConfig } from "./items.ts";

/** The addresses that callers have called from within the last day. */
export type Sources = {
  saw(source: Cidr, now: EpochMillis, signal?: AbortSignal): Promise<void>;
  /** At most a thousand. */
  recent(now: EpochMillis, signal?: AbortSignal): Promise<readonly Cidr[]>;
};

const MEMORY: Seconds = 86_400;

/** At most one page of a query, however many addresses a stolen token has called from. */
const MOST = 1_000;

const sourceItem = v.object({ cidr, expiresAt: v.number() });

export function createSources(
  dynamo: DynamoDBDocumentClient,
  { tableName, list }: TableConfig,
  log?: Pick<Logger, "error">,
): Sources {
  const readable = createReader(log);
  const callers = partition.callers(list);
  const options = (abortSignal?: AbortSignal) => ({ ...(abortSignal && { abortSignal }) });
  return {
    async saw({ text }, now, signal) {
      const Item = {
        list: callers,
        sk: `source#${text}`,
        cidr: text,
        expiresAt: toEpochSeconds(now) + MEMORY,
      };
      await dynamo.send(new PutCommand({ TableName: tableName, Item }), options(signal));
    },

    async recent(now, signal) {
      const { Items } = await dynamo.send(
        new QueryCommand({
          TableName: tableName,
          KeyConditionExpression: "#list = :callers AND begins_with(sk, :source)",
          ExpressionAttributeNames: { "#list": "list" },
          ExpressionAttributeValues: { ":callers": callers, ":source": "source#" },
          Limit: MOST,
        }),
        options(signal),
      );
      return (Items ?? [])
        .flatMap((item) => readable(sourceItem, item) ?? [])
        .filter((item) => !isExpired(item, now))
        .map((item) => item.cidr);
    },
  };
}
