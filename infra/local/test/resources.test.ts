import { DescribeTimeToLiveCommand } from "@aws-sdk/client-dynamodb";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { createResources } from "../resources.ts";
import type { TableModel } from "../template.ts";
import { startTestEngines } from "./support/fixtures.ts";

let aws: Awaited<ReturnType<typeof startTestEngines>>;
beforeAll(async () => {
  aws = await startTestEngines("dynamodb");
}, 60_000);
afterAll(() => aws.stop());

const TABLE: TableModel = {
  name: "things",
  keySchema: [{ AttributeName: "id", KeyType: "HASH" }],
  attributeDefinitions: [{ AttributeName: "id", AttributeType: "S" }],
  localIndexes: [],
  globalIndexes: [],
};

describe("a table's time to live", () => {
  it.each([
    ["off", TABLE, "DISABLED"],
    ["turned on", { ...TABLE, ttlAttribute: "expiresAt" }, "ENABLED"],
    ["on still", { ...TABLE, ttlAttribute: "expiresAt" }, "ENABLED"],
    ["turned off", TABLE, "DISABLED"],
  ])("is %s as the model wants it", async (_, table, status) => {
    await createResources(aws.clients, { queues: [], table }, []);
    const { TimeToLiveDescription } = await aws.clients.dynamodb.send(
      new DescribeTimeToLiveCommand({ TableName: TABLE.name }),
    );
    expect(TimeToLiveDescription?.TimeToLiveStatus).toBe(status);
  });
});
