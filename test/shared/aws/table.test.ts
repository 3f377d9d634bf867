import type { DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";
import { expect, test } from "@jest/globals";
import { createTable } from "../../../shared/aws/table.ts";
import { applyReport } from "../../../shared/domain/block.ts";
import { NOW, reportOf } from "../../support/reports.ts";

// What DynamoDB Local does not do: leave keys of a batch unread. The rest is in test/contract.

type Key = { readonly aclId: string; readonly sk: string };

/** A client that reads only so many keys of each call. */
function readingOnly(atOnce: number, items: readonly (Key & object)[]) {
  const asked: Key[][] = [];
  const client = {
    async send({ input }: { input: { RequestItems: { table: { Keys: Key[] } } } }) {
      const { Keys } = input.RequestItems.table;
      asked.push(Keys);
      const read = Keys.slice(0, atOnce);
      const unread = Keys.slice(atOnce);
      return {
        Responses: { table: items.filter((item) => read.some(({ sk }) => sk === item.sk)) },
        UnprocessedKeys: unread.length > 0 ? { table: { Keys: unread } } : {},
      };
    },
  };
  const dynamo = client as unknown as DynamoDBDocumentClient;
  return { asked, table: createTable(dynamo, { tableName: "table", aclId: "acl-1" }) };
}

const A = "203.0.113.1/32";
const B = "203.0.113.2/32";
const blockItem = (cidr: string) => ({
  aclId: "acl-1",
  sk: `block#${cidr}`,
  ...applyReport(undefined, reportOf(cidr), 0, { factor: 1, maxSeconds: 1 }, NOW),
});
const items = [
  blockItem(A),
  blockItem(B),
  { aclId: "acl-1", sk: `offender#${B}`, strikes: 3, lastBlockAt: 0, expiresAt: NOW },
];

test("keys that DynamoDB leaves unread are asked for again, and only those", async () => {
  const { asked, table } = readingOnly(5, items);
  const known = await table.readKnown([A, B], NOW);
  expect(known.get(A)).toMatchObject({ block: { cidr: A }, strikes: 0 });
  expect(known.get(B)).toMatchObject({ block: { cidr: B }, strikes: 3 });
  expect(asked.map((keys) => keys.length)).toEqual([8, 3]);
});

test("keys that stay unread are an error, not an address that nobody knows", async () => {
  const { asked, table } = readingOnly(0, items);
  await expect(table.readKnown([A, B], NOW)).rejects.toThrow("unread");
  expect(asked.length).toBeLessThan(10);
});
