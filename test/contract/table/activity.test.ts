import { expect, test } from "@jest/globals";
import { createActivities } from "../../../shared/aws/table/activity.ts";
import { describeWithTable, NOW, TABLE, useTable } from "./table.ts";

describeWithTable("what detectors do", () => {
  const table = useTable();
  const activities = (list = table.list) =>
    createActivities(table.dynamo, { tableName: TABLE, list });
  const WHY = { code: "not_understood", message: "alerts was looked for.", at: NOW };

  test("adds up, with the last refusal and the last time", async () => {
    await activities().add("fail2ban", { accepted: 2, refused: 1, lastRefusal: WHY }, NOW);
    await activities().add("fail2ban", { accepted: 3, refused: 0 }, NOW + 1);
    await activities().add("suricata", { accepted: 1, refused: 0 }, NOW);
    expect(await activities().all()).toEqual([
      {
        ...{ detector: "fail2ban", accepted: 5, refused: 1 },
        ...{ lastRefusal: WHY, lastSeenAt: NOW + 1 },
      },
      { detector: "suricata", accepted: 1, refused: 0, lastSeenAt: NOW },
    ]);
  });

  test("is each list's own", async () => {
    await activities().add("fail2ban", { accepted: 1, refused: 0 }, NOW);
    expect(await activities("another").all()).toEqual([]);
  });
});
