import { GetCommand, PutCommand } from "@aws-sdk/lib-dynamodb";
import { expect, test } from "@jest/globals";
import { ConflictError } from "../../../shared/aws/table/items.ts";
import { parseCidr } from "../../../shared/domain/cidr.ts";
import type { Hold } from "../../../shared/domain/orders.ts";
import { A, describeWithTable, NOW, TABLE, useTable } from "./table.ts";

describeWithTable("the standing orders of a list", () => {
  const table = useTable();
  const read = (now = NOW) => table.orders.read(now);
  const hold = (change: Partial<Hold> = {}): Hold => ({
    cidr: parseCidr(A),
    requestedAt: NOW,
    until: NOW / 1000 + 60,
    ...change,
  });

  test("are none at the beginning", async () => {
    expect(await read()).toEqual({
      ...{ unblocks: 0, holds: [], undos: [], withdrawers: [], mode: undefined },
    });
  });

  test("remember who withdraws reports, until the last mark ends", async () => {
    const until = NOW / 1000 + 60;
    await table.orders.markWithdrawer({ detector: "fail2ban", until: until - 30 });
    await table.orders.markWithdrawer({ detector: "fail2ban", until });
    expect((await read(NOW + 59_999)).withdrawers).toEqual([{ detector: "fail2ban", until }]);
    expect((await read(NOW + 60_000)).withdrawers).toEqual([]);
  });

  test("count unblocks one by one, for each list, however many count at once", async () => {
    await Promise.all(Array.from({ length: 5 }, () => table.orders.countUnblock()));
    expect((await read()).unblocks).toBe(5);
    expect(await table.orders.readCount()).toBe(5);
    expect((await table.another().orders.read(NOW)).unblocks).toBe(0);
  });

  test("lie in a partition of their own: the endpoint may write no block", async () => {
    await table.orders.countUnblock();
    const Key = { list: `${table.list}#orders`, sk: "unblocks" };
    const { Item } = await table.dynamo.send(new GetCommand({ TableName: TABLE, Key }));
    expect(Item).toEqual({ ...Key, unblocks: 1 });
  });

  test("keep a hold until a minute after its end: reports fold no longer than that", async () => {
    await table.orders.hold(hold());
    expect((await read()).holds).toEqual([hold()]);
    expect((await read(NOW + 119_999)).holds).toEqual([hold()]);
    expect((await read(NOW + 120_000)).holds).toEqual([]);
  });

  test("let the latest hold of a range stand", async () => {
    const later = hold({ requestedAt: NOW + 1, until: NOW / 1000 + 30 });
    await table.orders.hold(hold());
    await table.orders.hold(later);
    await expect(table.orders.hold(hold())).rejects.toThrow(ConflictError);
    expect((await read()).holds).toEqual([later]);
  });

  test("lift a hold, but none that came later", async () => {
    const later = hold({ requestedAt: NOW + 1 });
    await table.orders.hold(later);
    await table.orders.lift(hold());
    expect((await read()).holds).toEqual([later]);
    await table.orders.lift(later);
    await table.orders.lift(later);
    expect((await read()).holds).toEqual([]);
  });

  test("keep each undo by itself, for as long as a message may come back", async () => {
    const [first, second] = [0, 5].map((at) => ({
      ...{ detector: "suricata", since: NOW + at, requestedAt: NOW + at + 1 },
    }));
    for (const undo of [first, second]) if (undo) await table.orders.undo(undo);
    expect((await read()).undos).toMatchObject([first ?? {}, second ?? {}]);
    const Key = { list: `${table.list}#orders`, sk: `undo#suricata#${NOW + 1}` };
    const { Item } = await table.dynamo.send(new GetCommand({ TableName: TABLE, Key }));
    expect(Item?.expiresAt).toBe(NOW / 1000 + 18 * 86_400);
  });

  test("know the mode that was ordered, until it is the deployment's own again", async () => {
    await table.orders.setMode("off");
    expect((await read()).mode).toBe("off");
    await table.orders.setMode(undefined);
    expect((await read()).mode).toBeUndefined();
  });

  test("are read although one of them cannot be, and the log says so", async () => {
    const Item = { list: `${table.list}#orders`, sk: "hold#nonsense", cidr: "nonsense" };
    await table.dynamo.send(new PutCommand({ TableName: TABLE, Item }));
    await table.orders.hold(hold());
    expect((await read()).holds).toEqual([hold()]);
    expect(table.errors).toHaveLength(1);
  });

  test("are not waited for longer than the caller will", async () => {
    await expect(table.orders.read(NOW, AbortSignal.abort())).rejects.toThrow();
  });
});

describeWithTable("the blocks in force", () => {
  const table = useTable();
  const spans = (caller: string, ...shifts: [span: string, by: number][]) =>
    shifts.map(([span, by]) => ({ caller, span, by }));
  const MINUTE = Math.floor(NOW / 60_000);
  const HOUR = Math.floor(NOW / 3_600_000);

  test("are counted for each caller and in all, until their span is over", async () => {
    const { outstanding } = table;
    expect(await outstanding.count(spans("a", [`m${MINUTE}`, 2], [`h${HOUR + 5}`, 1]), NOW)).toBe(
      3,
    );
    expect(await outstanding.count(spans("b", [`d${Math.floor(HOUR / 24) + 9}`, 1]), NOW)).toBe(4);
    expect(await outstanding.read("a", NOW)).toEqual({ own: 3, all: 4 });
    expect(await outstanding.read("a", NOW + 60_000)).toEqual({ own: 1, all: 2 });
    expect(await outstanding.read("nobody", NOW)).toEqual({ own: 0, all: 4 });
  });

  test("are counted down, and never below nothing", async () => {
    const { outstanding } = table;
    await outstanding.count(spans("a", [`m${MINUTE}`, 1]), NOW);
    await outstanding.count(spans("a", [`m${MINUTE}`, -1], [`m${MINUTE + 1}`, -3]), NOW);
    expect(await outstanding.read("a", NOW)).toEqual({ own: 0, all: 0 });
  });

  test("leave no more than some hundred spans behind", async () => {
    const { outstanding } = table;
    for (let minute = 0; minute < 120; minute += 10) {
      const shifts = Array.from({ length: 10 }, (_, n) => [`m${MINUTE + minute + n}`, 1] as const);
      await outstanding.count(
        spans("a", ...shifts.map(([s, n]): [string, number] => [s, n])),
        NOW + minute * 60_000,
      );
    }
    const Key = { list: `${table.list}#outstanding`, sk: "caller#a" };
    const { Item } = await table.dynamo.send(new GetCommand({ TableName: TABLE, Key }));
    expect(Object.keys(Item ?? {}).filter((name) => /^m/.test(name)).length).toBeLessThan(70);
  });
});
