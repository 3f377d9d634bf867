import { expect, test } from "@jest/globals";
import { createSources } from "../../../shared/aws/table/sources.ts";
import { parseCidr } from "../../../shared/domain/cidr.ts";
import { describeWithTable, NOW, TABLE, useTable } from "./table.ts";

describeWithTable("the sources of callers", () => {
  const table = useTable();
  const sources = () => createSources(table.dynamo, { tableName: TABLE, list: table.list });
  const FOUR = parseCidr("203.0.113.7");
  const SIX = parseCidr("2001:db8::7");
  const texts = async (now = NOW) => (await sources().recent(now)).map(({ text }) => text);

  test("are remembered for a day, each once", async () => {
    for (const source of [FOUR, SIX, FOUR]) await sources().saw(source, NOW);
    expect((await texts()).toSorted()).toEqual(["2001:db8::7/128", "203.0.113.7/32"]);
    expect(await texts(NOW + 86_399_999)).toHaveLength(2);
    expect(await texts(NOW + 86_400_000)).toEqual([]);
  });

  test("are each list's own", async () => {
    await sources().saw(FOUR, NOW);
    const another = createSources(table.dynamo, { tableName: TABLE, list: "another" });
    expect(await another.recent(NOW)).toEqual([]);
  });
});
