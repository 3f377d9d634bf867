import { type DynamoDBDocumentClient, UpdateCommand } from "@aws-sdk/lib-dynamodb";
import * as v from "valibot";
import type { Seconds } from "../../domain/time.ts";
import { partition, type TableConfig } from "./items.ts";

/** How many addresses callers have reported per minute, over all instances of the endpoint. */
export type Budgets = {
  /**
   * Takes `count` addresses from the caller's minute, in one write, however many ask at once.
   *
   * @param minute counted since 1970
   * @returns how many have been taken from it, these included
   */
  take(caller: string, minute: number, count: number, signal?: AbortSignal): Promise<number>;
};

/** Longer than clocks differ; the count of a past minute is of no use. */
const MEMORY: Seconds = 300;

const budgetItem = v.object({ taken: v.number() });

export function createBudgets(
  dynamo: DynamoDBDocumentClient,
  { tableName, list }: TableConfig,
): Budgets {
  return {
    async take(caller, minute, count, abortSignal) {
      const { Attributes } = await dynamo.send(
        new UpdateCommand({
          TableName: tableName,
          Key: { list: partition.budgets(list), sk: `budget#${caller}#${minute}` },
          UpdateExpression: "SET expiresAt = :until ADD taken :count",
          ExpressionAttributeValues: { ":until": minute * 60 + MEMORY, ":count": count },
          ReturnValues: "UPDATED_NEW",
        }),
        { ...(abortSignal && { abortSignal }) },
      );
      return v.parse(budgetItem, Attributes).taken;
    },
  };
}
