import type { DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";
import { describe, expect, test } from "@jest/globals";
import { createAddresses } from "../../../../shared/aws/table/addresses.ts";
import { isPermanent } from "../../../../shared/aws/table/items.ts";
import { blockOf } from "../../../support/blocks.ts";
import { NOW } from "../../../support/reports.ts";

// What DynamoDB Local does not do: leave keys of a batch unread. The rest is in test/contract.

type Key = { readonly list: string; readonly sk: string };

/** A client that reads at most `atOnce` keys of each call. */
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
  return { asked, addresses: createAddresses(dynamo, { tableName: "table", list: "list-1" }) };
}

const A = "203.0.113.1/32";
const B = "203.0.113.2/32";
const blockItem = (cidr: string) => ({
  list: "list-1",
  sk: `block#${cidr}`,
  ...blockOf(cidr),
  cidr,
});
const items = [
  blockItem(A),
  blockItem(B),
  { list: "list-1", sk: `offender#${B}`, strikes: 3, lastBlockAt: 0, expiresAt: NOW },
];

test("keys that DynamoDB leaves unread are asked for again, and only those", async () => {
  const { asked, addresses } = readingOnly(5, items);
  const known = await addresses.read([A, B], NOW);
  expect(known.get(A)).toMatchObject({ block: blockOf(A), strikes: 0 });
  expect(known.get(B)).toMatchObject({ block: blockOf(B), strikes: 3 });
  expect(asked.map((keys) => keys.length)).toEqual([10, 5]);
});

test("keys that stay unread are an error, not an address that nobody knows", async () => {
  const { asked, addresses } = readingOnly(0, items);
  await expect(addresses.read([A, B], NOW)).rejects.toThrow("unread");
  expect(asked.length).toBeLessThan(10);
});

describe("isPermanent", () => {
  test.each([new TypeError("x"), new RangeError("x"), new SyntaxError("x")])(
    "holds of our own mistakes: %s",
    (error) => {
      expect(isPermanent(error)).toBe(true);
    },
  );

  test("holds of a call that DynamoDB finds invalid, and of nothing that may be mended", () => {
    const named = (name: string) => Object.assign(new Error(name), { name });
    expect(isPermanent(named("ValidationException"))).toBe(true);
    for (const name of ["AccessDeniedException", "ThrottlingException", "TimeoutError", "Error"]) {
      expect(isPermanent(named(name))).toBe(false);
    }
  });
});
