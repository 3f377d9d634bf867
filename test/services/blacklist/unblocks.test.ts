import { beforeEach, describe, expect, test } from "@jest/globals";
import { createUnblocks, LEASE_MS, type Unblocks } from "../../../services/blacklist/unblocks.ts";
import { unblocksOver } from "../../support/endpoint.ts";
import { createMemoryTable } from "../../support/memoryTable.ts";

let table: ReturnType<typeof createMemoryTable>;
let warnings: unknown[];
let clock: ReturnType<typeof unblocksOver>;
let one: Unblocks;
let other: Unblocks;
let reads: number;
beforeEach(() => {
  table = createMemoryTable();
  reads = 0;
  const { read } = table.unblockCount;
  table.unblockCount.read = async (signal) => {
    reads++;
    return read(signal);
  };
  warnings = [];
  const log = { warn: (what: unknown) => warnings.push(what) } as never;
  clock = unblocksOver(table.unblockCount, log);
  one = clock.instance();
  other = clock.instance();
});

describe("the count", () => {
  test("is read once for all who ask under one lease, and again after it", async () => {
    await Promise.all([one.count(), one.count()]);
    await clock.wait(LEASE_MS - 1);
    await one.count();
    expect(reads).toBe(1);
    await clock.wait(1);
    await one.count();
    expect(reads).toBe(2);
  });

  test("that was announced is known to every instance, however fresh its lease", async () => {
    expect(await other.count()).toBe(0);
    await one.announce();
    expect(await other.count()).toBe(1);
    expect(await one.count()).toBe(1);
  });

  test("that was only added may not be known yet", async () => {
    expect(await other.count()).toBe(0);
    await one.add();
    expect(await other.count()).toBe(0);
  });

  test("is unknown where it cannot be read, which is logged once a lease", async () => {
    table.isUnreadable = true;
    expect([await one.count(), await one.count()]).toEqual([undefined, undefined]);
    expect(warnings).toHaveLength(1);
    table.isUnreadable = false;
    await clock.wait(LEASE_MS);
    expect(await one.count()).toBe(0);
  });

  test("is read again when the clock was set back", async () => {
    await one.count();
    await clock.wait(-1);
    await one.count();
    expect(reads).toBe(2);
  });

  test("is not waited for without end", async () => {
    const hanging = createUnblocks(
      {
        ...table.unblockCount,
        read: (signal) =>
          new Promise((_, reject) => {
            signal.addEventListener("abort", () => reject(signal.reason));
          }),
      },
      { warn: (what: unknown) => warnings.push(what) } as never,
      Date.now,
    );
    expect(await hanging.count()).toBeUndefined();
    expect(warnings).toHaveLength(1);
  });
});

test("an unblock that cannot be counted fails", async () => {
  table.isUnreadable = true;
  await expect(one.add()).rejects.toThrow();
  await expect(one.announce()).rejects.toThrow();
});
