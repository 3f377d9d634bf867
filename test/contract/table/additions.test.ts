import { expect, test } from "@jest/globals";
import {
  type Change,
  createAdditions,
  writeAdditions,
} from "../../../shared/aws/table/additions.ts";
import { ConflictError, partition } from "../../../shared/aws/table/items.ts";
import { describeWithTable, TABLE, useTable } from "./table.ts";

describeWithTable("what operators add", () => {
  const table = useTable();
  const config = { tableName: TABLE };
  const settings = () => partition.settings(table.list);
  const tokens = () => partition.tokens(table.list);
  const additionsIn = (name: string) => createAdditions(table.dynamo, config, name);
  const write = (...changes: Change[]) => writeAdditions(table.dynamo, config, changes);
  const put = (sk: string, item: object = {}, where = settings()): Change => ({
    ...{ partition: where, sk, item: { ...item } },
  });

  test("is nothing at the beginning", async () => {
    expect(await additionsIn(settings()).version()).toBe(0);
    expect(await additionsIn(settings()).items()).toEqual([]);
  });

  test("counts each change of a partition, and only of that", async () => {
    await write(put("caller#a", { caller: null }));
    await write(put("caller#b"), put("token#b", { secrets: [] }, tokens()));
    expect(await additionsIn(settings()).version()).toBe(2);
    expect(await additionsIn(tokens()).version()).toBe(1);
    expect(await additionsIn(settings()).items()).toMatchObject([
      { sk: "caller#a", caller: null },
      { sk: "caller#b" },
    ]);
    expect(await additionsIn(tokens()).items()).toMatchObject([{ sk: "token#b" }]);
    await write({ partition: settings(), sk: "caller#a", item: undefined });
    expect(await additionsIn(settings()).version()).toBe(3);
    expect(await additionsIn(settings()).items()).toMatchObject([{ sk: "caller#b" }]);
  });

  test("takes 10,000 ranges, and reads them back", async () => {
    const ranges = Array.from({ length: 10_000 }, (_, n) => `45.${n >> 8}.${n & 255}.7/32`);
    await write(...ranges.map((text) => put(`never-block#${text}`, { why: "an office" })));
    expect(await additionsIn(settings()).items()).toHaveLength(10_000);
  }, 60_000);

  test("that is new is not written over what is there, nor is anything that belongs to it", async () => {
    await write(put("token#a", { secrets: [] }, tokens()));
    const again = write(put("caller#a"), { ...put("token#a", {}, tokens()), isNew: true });
    await expect(again).rejects.toThrow(ConflictError);
    expect(await additionsIn(settings()).items()).toEqual([]);
    expect(await additionsIn(tokens()).version()).toBe(1);
  });

  test("is changed by several operators at once, each completely", async () => {
    const names = ["a", "b", "c", "d"];
    await Promise.all(
      names.map((name) => write(put(`caller#${name}`), put(`token#${name}`, {}, tokens()))),
    );
    expect(await additionsIn(settings()).version()).toBe(4);
    expect(await additionsIn(tokens()).items()).toHaveLength(4);
  });
});
