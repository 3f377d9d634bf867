import { beforeEach, expect, test } from "@jest/globals";
import { createAdded, LOOK_EVERY } from "../../../shared/aws/added.ts";
import type { Addition } from "../../../shared/aws/table/additions.ts";

const HOUR = 3_600_000;

let now: number;
let version: number | Error;
let items: Addition[];
let reads: { version: number; items: number };
let logged: number;
beforeEach(() => {
  now = 1_800_000_000_000;
  version = 1;
  items = [{ sk: "caller#a" }];
  reads = { version: 0, items: 0 };
  logged = 0;
});

const additions = {
  async version() {
    reads.version++;
    if (version instanceof Error) throw version;
    return version;
  },
  async items() {
    reads.items++;
    return [...items];
  },
};
const log = { error: () => void logged++ };
const start = (maxAge?: number) => createAdded(additions, log as never, () => now, maxAge);

test("while nothing changes, it is the same array, at one small read every five seconds", async () => {
  const added = start();
  const first = await added();
  expect(first).toEqual(items);
  for (let second = 0; second < 60; second++) {
    now += 1_000;
    expect(await added()).toBe(first);
  }
  expect(reads).toEqual({ version: 1 + 60_000 / LOOK_EVERY, items: 1 });
});

test("a change is known five seconds later at the latest", async () => {
  const added = start();
  await added();
  items = [];
  version = 2;
  now += LOOK_EVERY - 1;
  expect(await added()).toHaveLength(1);
  now += 1;
  expect(await added()).toEqual([]);
});

test("a change is known at once to whoever needs a look that is not older than this moment", async () => {
  const added = start();
  await added();
  items = [];
  version = 2;
  now += 1;
  expect(await added(now - 1)).toHaveLength(1);
  expect(await added(now)).toEqual([]);
});

test("many at once look once", async () => {
  const added = start();
  await Promise.all(Array.from({ length: 20 }, added));
  expect(reads).toEqual({ version: 1, items: 1 });
});

test("whoever looks always sees each change", async () => {
  const added = start(0);
  await added();
  items = [];
  version = 2;
  expect(await added()).toEqual([]);
});

test("while the table cannot be read, what was read last holds for an hour", async () => {
  const added = start();
  await added();
  const readAt = now;
  version = new Error("The table is down.");
  now = readAt + HOUR;
  expect(await added()).toEqual(items);
  now = readAt + HOUR + 1;
  await expect(added()).rejects.toThrow("The table is down.");
  version = 1;
  now += 2_000;
  expect(await added()).toEqual(items);
});

test("a table that failed is asked again two seconds later, and not by each request", async () => {
  const added = start();
  version = new Error("The table is down.");
  for (let n = 0; n < 10; n++) await expect(added()).rejects.toThrow("The table is down.");
  expect([reads.version, logged]).toEqual([1, 1]);
  now += 2_000;
  version = 1;
  expect(await added()).toEqual(items);
});
