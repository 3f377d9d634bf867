import { expect, test } from "@jest/globals";
import { createBudgets } from "../../../shared/aws/table/budgets.ts";
import { describeWithTable, NOW, TABLE, useTable } from "./table.ts";

const MINUTE = Math.floor(NOW / 60_000);

describeWithTable("the budgets of a list", () => {
  const table = useTable();
  const budgets = (list = table.list) => createBudgets(table.dynamo, { tableName: TABLE, list });

  test("count what all have taken, however many take at once", async () => {
    const takes = Array.from({ length: 5 }, () => budgets().take("suricata", MINUTE, 3));
    const totals = await Promise.all(takes);
    expect(totals.toSorted((a, b) => a - b)).toEqual([3, 6, 9, 12, 15]);
  });

  test("are each caller's, each minute's and each list's own", async () => {
    await budgets().take("suricata", MINUTE, 3);
    expect(await budgets().take("elastalert", MINUTE, 1)).toBe(1);
    expect(await budgets().take("suricata", MINUTE + 1, 1)).toBe(1);
    expect(await budgets("another").take("suricata", MINUTE, 1)).toBe(1);
  });

  test("are not waited for longer than the caller will", async () => {
    const taken = budgets().take("suricata", MINUTE, 1, AbortSignal.abort());
    await expect(taken).rejects.toThrow();
  });
});
