import { beforeEach, describe, expect, test } from "@jest/globals";
import { createSweeper } from "../../../services/enforcer/sweep.ts";
import { rankOf } from "../../../shared/domain/rank.ts";
import { blockOf } from "../../support/blocks.ts";
import { createMemoryTable } from "../../support/memoryTable.ts";
import { NOW } from "../../support/reports.ts";

// Removing expired blocks beside a converge.

let table: ReturnType<typeof createMemoryTable>;
let now: number;
/** So long does one page take. */
let pageMs: number;
let logged: string[];
beforeEach(() => {
  table = createMemoryTable();
  table.sweptPage = 10;
  now = NOW;
  pageMs = 100;
  logged = [];
});

const sweeper = () => {
  const line = (message: unknown) => void logged.push(String(message));
  const removeExpired: typeof table.blocks.removeExpired = async (from, at) => {
    const page = await table.blocks.removeExpired(from, at);
    await new Promise(setImmediate);
    now += pageMs;
    return page;
  };
  return createSweeper(
    { removeExpired },
    { log: { info: line, warn: line } as never, clock: () => now },
  );
};
/** Blocks that ended a second ago, and others that go on. */
const give = (ended: number, live = 0) => {
  for (let i = 0; i < ended + live; i++) {
    const block = blockOf(`203.0.113.${i}/32`, {
      reportedAt: NOW - 61_000,
      seconds: i < ended ? 60 : 600,
    });
    table.blockItems.set(block.cidr.text, block);
  }
};
const top = "4#20#99999999999999#255.255.255.255/32";

test("removes what has expired, and nothing else, page by page", async () => {
  give(35, 5);
  const one = sweeper();
  one.begin([top]);
  expect(await one.end()).toEqual({ removed: 35, isMore: false });
  expect(table.blockItems.size).toBe(5);
});

test("begins before it is asked to end", async () => {
  give(5);
  const one = sweeper();
  one.begin([top]);
  expect(table.blockItems.size).toBe(0);
  await one.end();
});

test("leaves the rest for another time once it goes on alone, and says so", async () => {
  give(200);
  const one = sweeper();
  one.begin([top]);
  expect(await one.end()).toEqual({ removed: 100, isMore: true });
  expect(table.blockItems.size).toBe(100);
  one.begin([top]);
  expect(await one.end()).toMatchObject({ removed: 100 });
  one.begin([top]);
  expect(await one.end()).toEqual({ removed: 0, isMore: false });
});

test("takes no time of its own where what it went on beside took long", async () => {
  give(250);
  const one = sweeper();
  one.begin([top]);
  while (now < NOW + 1_500) await new Promise(setImmediate);
  const { removed, isMore } = await one.end();
  expect(isMore).toBe(true);
  expect(removed).toBeGreaterThanOrEqual(150);
  expect(now).toBeLessThanOrEqual(NOW + 1_500 + 2 * pageMs);
});

test("goes through what several targets met once", async () => {
  give(20);
  let pages = 0;
  const { removeExpired } = table.blocks;
  table.blocks.removeExpired = async (from, at) => {
    pages++;
    return removeExpired(from, at);
  };
  const one = sweeper();
  one.begin([top]);
  one.begin([top]);
  await one.end();
  expect(pages).toBe(3); // the third holds none
});

test("begins again from a rank that is named later, also once it was idle", async () => {
  give(5);
  const one = sweeper();
  one.begin([top]);
  while (now < NOW + 200) await new Promise(setImmediate);
  await new Promise(setImmediate);
  const later = blockOf("203.0.113.99/32", { reportedAt: NOW - 61_000, seconds: 60 });
  table.blockItems.set(later.cidr.text, later);
  one.begin([rankOf(later)]);
  expect(await one.end()).toEqual({ removed: 6, isMore: false });
});

describe("a table that fails", () => {
  test("is no error of the converge, and is not asked again at once", async () => {
    give(30);
    table.failures.set("203.0.113.20/32", new Error("The table is down."));
    const one = sweeper();
    one.begin([top]);
    expect(await one.end()).toMatchObject({ isMore: false });
    expect(logged).toContain("Expired blocks could not be removed");
  });
});

test("nothing named is nothing done", async () => {
  const one = sweeper();
  one.begin([]);
  expect(await one.end()).toEqual({ removed: 0, isMore: false });
  expect(logged).toEqual([]);
});
