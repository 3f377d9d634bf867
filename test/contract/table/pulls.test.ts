import { expect, test } from "@jest/globals";
import { ConflictError } from "../../../shared/aws/table/items.ts";
import { createPulls, type Reported } from "../../../shared/aws/table/pulls.ts";
import { parseCidr } from "../../../shared/domain/cidr.ts";
import { describeWithTable, NOW, TABLE, useTable } from "./table.ts";

const UNTIL = NOW + 45_000;
const END = NOW / 1000 + 3_600;

const reported = (text: string, change: Partial<Reported> = {}): Reported => ({
  cidr: parseCidr(text),
  until: END,
  expiresAt: END,
  reportedAt: NOW,
  ...change,
});

describeWithTable("what the pulls of a source remember", () => {
  const table = useTable();
  const pulls = (source = "crowdsec", list = table.list) =>
    createPulls(table.dynamo, { tableName: TABLE, list }, source, { error: fail });
  const fail = () => {
    throw new Error("An item cannot be read.");
  };

  test("is nothing at first", async () => {
    expect(await pulls().begin(NOW, UNTIL)).toEqual({ wholeAt: 0 });
    expect(await pulls().reported(NOW)).toEqual(new Map());
  });

  test("how far a pull has come, once it has finished", async () => {
    await pulls().begin(NOW, UNTIL);
    await pulls().finish(UNTIL, NOW);
    expect(await pulls().begin(NOW + 60_000, UNTIL + 60_000)).toEqual({ wholeAt: NOW });
  });

  test("the first pull that has not finished, through all that fail after it", async () => {
    await pulls().begin(NOW, UNTIL);
    await pulls().finish(UNTIL, NOW);
    await pulls().begin(NOW + 60_000, UNTIL + 60_000); // and dies
    for (const minute of [2, 3]) {
      const later = minute * 60_000;
      const progress = await pulls().begin(NOW + later, UNTIL + later);
      expect(progress).toEqual({ wholeAt: NOW, unfinishedSince: NOW + 60_000 });
      await pulls().giveUp(UNTIL + later);
    }
    await pulls().begin(NOW + 180_001, UNTIL + 240_000); // at once, as it was given up
    await pulls().finish(UNTIL + 240_000, NOW + 180_001);
    const progress = await pulls().begin(NOW + 300_000, UNTIL + 300_000);
    expect(progress).toEqual({ wholeAt: NOW + 180_001 });
  });

  test("of two that begin at once, one is alone", async () => {
    const both = await Promise.allSettled([
      pulls().begin(NOW, UNTIL),
      pulls().begin(NOW + 1, UNTIL + 1),
    ]);
    const [refused, ...more] = both.filter(({ status }) => status === "rejected");
    expect(more).toEqual([]);
    expect(refused).toMatchObject({ reason: expect.any(ConflictError) });
  });

  test("one whose time is over clears no mark of the next", async () => {
    await pulls().begin(NOW, UNTIL);
    await pulls().begin(UNTIL, UNTIL + 60_000);
    await expect(pulls().finish(UNTIL, NOW)).rejects.toThrow(ConflictError);
    await pulls().giveUp(UNTIL);
    await expect(pulls().begin(UNTIL + 1, UNTIL + 60_001)).rejects.toThrow(ConflictError);
  });

  test("what was reported, until it ends or is forgotten", async () => {
    const one = reported("203.0.113.9", { until: END + 7 });
    const other = reported("2001:db8::/64");
    const ended = reported("203.0.113.10", { expiresAt: NOW / 1000 });
    await pulls().remember([one, other, ended]);
    expect([...(await pulls().reported(NOW)).values()]).toEqual([other, one]);
    await pulls().forget([one.cidr]);
    expect([...(await pulls().reported(NOW)).keys()]).toEqual(["2001:db8::/64"]);
  });

  test("each source's and each list's own", async () => {
    await pulls().remember([reported("203.0.113.9")]);
    await pulls().begin(NOW, UNTIL);
    for (const other of [pulls("another"), pulls("crowdsec", "another")]) {
      expect(await other.reported(NOW)).toEqual(new Map());
      expect(await other.begin(NOW, UNTIL)).toEqual({ wholeAt: 0 });
    }
  });

  test("more than fit into one batch", async () => {
    const many = Array.from({ length: 130 }, (_, n) => reported(`203.0.113.${n}`));
    await pulls().remember(many);
    expect((await pulls().reported(NOW)).size).toBe(130);
    await pulls().forget(many.slice(1).map(({ cidr }) => cidr));
    expect([...(await pulls().reported(NOW)).values()]).toEqual(many.slice(0, 1));
  });

  test("more than fit into one page", async () => {
    for (const n of [1, 2, 3, 4]) {
      const { cidr, ...one } = reported(`203.0.113.${n}`);
      const key = { list: `${table.list}#pulls`, sk: `reported#crowdsec#${cidr.text}` };
      await table.put({ ...key, ...one, cidr: cidr.text, padding: "-".repeat(390_000) });
    }
    expect((await pulls().reported(NOW)).size).toBe(4);
  });
});
