import { ConditionalCheckFailedException } from "@aws-sdk/client-dynamodb";
import { type DynamoDBDocumentClient, UpdateCommand } from "@aws-sdk/lib-dynamodb";
import * as v from "valibot";
import type { Block } from "../../domain/block.ts";
import type { Seconds } from "../../domain/time.ts";
import { partition, type TableConfig } from "./items.ts";

export const offenderKey = (cidrText: string) => `offender#${cidrText}`;

export const offenderItem = v.object({
  strikes: v.number(),
  score: v.optional(v.number()),
  lastBlockAt: v.number(),
  expiresAt: v.number(),
});

export type EndedBlock = Pick<Block, "cidr" | "strikes" | "score" | "firstSeenAt" | "expiresAt">;

/** Addresses whose blocks have ended. */
export type Offenders = {
  /** Remembers that a block has expired; safe to repeat. */
  remember(ended: EndedBlock, memory: Seconds): Promise<void>;
};

export function createOffenders(
  dynamo: DynamoDBDocumentClient,
  { tableName, list }: TableConfig,
): Offenders {
  return {
    async remember({ cidr, strikes, score, firstSeenAt, expiresAt }, memory) {
      await dynamo
        .send(
          new UpdateCommand({
            TableName: tableName,
            Key: { list: partition.memory(list), sk: offenderKey(cidr.text) },
            UpdateExpression:
              "SET strikes = :strikes, score = :score, lastBlockAt = :begun, expiresAt = :until",
            // A record that is redelivered or late must not undo what came after it.
            ConditionExpression: "attribute_not_exists(sk) OR lastBlockAt < :begun",
            ExpressionAttributeValues: {
              ":strikes": strikes,
              ":score": score,
              ":begun": firstSeenAt,
              ":until": expiresAt + memory,
            },
          }),
        )
        .catch((error) => {
          if (!(error instanceof ConditionalCheckFailedException)) throw error;
        });
    },
  };
}
