import { beforeEach, describe, expect, test } from "@jest/globals";
import {
  createStandingOrders,
  LEASE_MS,
  type StandingOrders,
} from "../../../services/blacklist/orders.ts";
import { ordersOver } from "../../support/endpoint.ts";
import { createMemoryTable } from "../../support/memoryTable.ts";

let table: ReturnType<typeof createMemoryTable>;
let warnings: unknown[];
let clock: ReturnType<typeof ordersOver>;
let one: StandingOrders;
let other: StandingOrders;
let reads: number;
beforeEach(() => {
  table = createMemoryTable();
  reads = 0;
  const { read } = table.orders;
  table.orders.read = async (now) => {
    reads++;
    return read(now);
  };
  warnings = [];
  const log = { warn: (what: unknown) => warnings.push(what) } as never;
  clock = ordersOver(table.orders, log);
  one = clock.instance();
  other = clock.instance();
});

describe("the orders", () => {
  test("are read once for all who ask under one lease, and again after it", async () => {
    await Promise.all([one.current(), one.current()]);
    await clock.wait(LEASE_MS - 1);
    await one.current();
    expect(reads).toBe(1);
    await clock.wait(1);
    await one.current();
    expect(reads).toBe(2);
  });

  test("with an unblock that was announced are known to every instance, however fresh its lease", async () => {
    expect((await other.current())?.unblocks).toBe(0);
    await one.announce();
    expect((await other.current())?.unblocks).toBe(1);
    expect((await one.current())?.unblocks).toBe(1);
  });

  test("with one that was only added may not be known yet", async () => {
    expect((await other.current())?.unblocks).toBe(0);
    await one.add();
    expect((await other.current())?.unblocks).toBe(0);
  });

  test("are unknown where they cannot be read, which is logged once a lease", async () => {
    table.isUnreadable = true;
    expect([await one.current(), await one.current()]).toEqual([undefined, undefined]);
    expect(warnings).toHaveLength(1);
    table.isUnreadable = false;
    await clock.wait(LEASE_MS);
    expect((await one.current())?.unblocks).toBe(0);
  });

  test("are read again when the clock was set back", async () => {
    await one.current();
    await clock.wait(-1);
    await one.current();
    expect(reads).toBe(2);
  });

  test("are not waited for without end", async () => {
    const hanging = createStandingOrders(
      {
        ...table.orders,
        read: (_now, signal) =>
          new Promise((_, reject) => {
            signal?.addEventListener("abort", () => reject(signal.reason));
          }),
      },
      { warn: (what: unknown) => warnings.push(what) } as never,
      Date.now,
    );
    expect(await hanging.current()).toBeUndefined();
    expect(warnings).toHaveLength(1);
  });
});

test("an unblock that cannot be counted fails", async () => {
  table.isUnreadable = true;
  await expect(one.add()).rejects.toThrow();
  await expect(one.announce()).rejects.toThrow();
});
