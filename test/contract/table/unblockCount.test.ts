import { GetCommand } from "@aws-sdk/lib-dynamodb";
import { expect, test } from "@jest/globals";
import { describeWithTable, TABLE, useTable } from "./table.ts";

describeWithTable("the unblocks of a list", () => {
  const table = useTable();
  const count = () => table.unblockCount.read(AbortSignal.timeout(5_000));

  test("are counted one by one, for each list, however many count at once", async () => {
    expect(await count()).toBe(0);
    await Promise.all(Array.from({ length: 5 }, () => table.unblockCount.increment()));
    expect(await count()).toBe(5);
    expect(await table.another().unblockCount.read(AbortSignal.timeout(5_000))).toBe(0);
  });

  test("lie where no block does: the endpoint may write that partition only", async () => {
    await table.unblockCount.increment();
    const Key = { list: `${table.list}#unblocks`, sk: "unblocks" };
    const { Item } = await table.dynamo.send(new GetCommand({ TableName: TABLE, Key }));
    expect(Item).toEqual({ ...Key, unblocks: 1 });
  });

  test("are not waited for longer than the caller will", async () => {
    await expect(table.unblockCount.read(AbortSignal.abort())).rejects.toThrow();
  });
});
