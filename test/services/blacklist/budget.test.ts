import { Logger } from "@aws-lambda-powertools/logger";
import { beforeEach, describe, expect, jest, test } from "@jest/globals";
import fc from "fast-check";
import { createBudget } from "../../../services/blacklist/budget.ts";
import type { Caller } from "../../../shared/domain/caller.ts";
import { memoryBudgets } from "../../support/endpoint.ts";
import { NOW } from "../../support/reports.ts";
import { callerOf } from "../../support/worker.ts";

/** The beginning of a minute. */
const START = Math.ceil(NOW / 60_000) * 60_000;
const LIMIT = 100;
const BLOCK_LIMIT = 1_000;

const detector = (change: Partial<Caller["limits"]> = {}): Caller => {
  const caller = callerOf("suricata");
  return { ...caller, limits: { ...caller.limits, addressesPerMinute: LIMIT, ...change } };
};

let budgets: ReturnType<typeof memoryBudgets>;
let blocks: { own: number; all: number } | Error;
let reads: number;
const outstanding = {
  async read() {
    reads++;
    if (blocks instanceof Error) throw blocks;
    return blocks;
  },
};
const log = new Logger({ logLevel: "SILENT" });
const told = jest.spyOn(log, "error");
const instance = () => createBudget(budgets, outstanding, BLOCK_LIMIT, log);
beforeEach(() => {
  budgets = memoryBudgets();
  blocks = { own: 0, all: 0 };
  reads = 0;
  told.mockClear();
});

/** Spends one by one, and counts what was granted. */
async function spendAll(budget: ReturnType<typeof instance>, times: number, now = START) {
  let granted = 0;
  for (let time = 0; time < times; time++) {
    granted += (await budget.spend(detector(), 1, now)).granted;
  }
  return granted;
}

describe("a budget", () => {
  test("is what the caller may report in a minute, and begins anew with the next", async () => {
    const budget = instance();
    expect(await spendAll(budget, LIMIT + 50)).toBe(LIMIT);
    expect(await spendAll(budget, LIMIT + 50, START + 59_999)).toBe(0);
    expect(await spendAll(budget, 1, START + 60_000)).toBe(1);
  });

  test("that is spent is refused until the next minute", async () => {
    const budget = instance();
    await budget.spend(detector(), LIMIT, START + 18_500);
    const { granted, refusal } = await budget.spend(detector(), 1, START + 18_500);
    expect(granted).toBe(0);
    expect(refusal).toMatchObject({
      status: 429,
      code: "over_budget",
      headers: { "retry-after": "42" },
    });
  });

  test("costs a call for each twentieth of it, and none once it is spent", async () => {
    const budget = instance();
    await spendAll(budget, LIMIT);
    const { calls } = budgets;
    expect(calls).toBe(20);
    await spendAll(budget, 1_000);
    expect([budgets.calls - calls, reads]).toEqual([1, 21]);
  });

  test("is each caller's own", async () => {
    const budget = instance();
    await spendAll(budget, LIMIT);
    const other = { ...detector(), name: "elastalert" };
    expect(await budget.spend(other, 1, START)).toEqual({ granted: 1 });
  });

  test("of many at once grants what is left", async () => {
    const budget = instance();
    expect((await budget.spend(detector(), 60, START)).granted).toBe(60);
    expect((await budget.spend(detector(), 60, START)).granted).toBe(40);
    expect((await budget.spend(detector(), 60, START)).granted).toBe(0);
  });

  test("gets back what could not be queued", async () => {
    const budget = instance();
    await budget.spend(detector(), LIMIT, START);
    budget.giveBack(detector(), 10, START);
    expect((await budget.spend(detector(), 20, START)).granted).toBe(10);
  });

  test("of nothing costs nothing", async () => {
    expect(await instance().spend(detector(), 0, START)).toEqual({ granted: 0 });
    expect(budgets.calls).toBe(0);
  });
});

describe("over several instances", () => {
  test("never more than the budget, and less by a twentieth for each of them at most", async () => {
    const spending = fc.record({
      by: fc.nat(4),
      count: fc.integer({ min: 1, max: 30 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 300 }),
        fc.array(spending, { minLength: 1, maxLength: 60 }),
        async (limit, spendings) => {
          budgets = memoryBudgets();
          const instances = [instance(), instance(), instance(), instance(), instance()];
          const caller = detector({ addressesPerMinute: limit });
          let asked = 0;
          let granted = 0;
          const used = new Set<number>();
          for (const { by, count } of spendings) {
            used.add(by);
            asked += count;
            granted += (await instances[by]?.spend(caller, count, START))?.granted ?? 0;
          }
          expect(granted).toBeLessThanOrEqual(limit);
          const kept = (used.size - 1) * Math.ceil(limit / 20);
          expect(granted).toBeGreaterThanOrEqual(Math.min(asked, limit - kept));
        },
      ),
    );
  });
});

describe("while the table fails", () => {
  test("each instance grants by itself, no more than the budget, and logs it once", async () => {
    budgets.failure = new Error("The table is down.");
    blocks = budgets.failure;
    expect(await spendAll(instance(), LIMIT + 50)).toBe(LIMIT);
    expect(told).toHaveBeenCalledTimes(1);
    // It is not asked again for a while: not every report must wait for it to fail.
    expect(budgets.calls).toBe(1);
  });

  test("a table that hangs is not waited for", async () => {
    jest.useFakeTimers();
    try {
      const hanging = createBudget(
        { take: () => new Promise(() => {}) },
        { read: () => new Promise(() => {}) },
        BLOCK_LIMIT,
        log,
      );
      const spent = hanging.spend(detector(), 1, START);
      await jest.advanceTimersByTimeAsync(300);
      expect(await spent).toEqual({ granted: 1 });
    } finally {
      jest.useRealTimers();
    }
  });

  test("it counts again when it answers", async () => {
    const budget = instance();
    budgets.failure = new Error("The table is down.");
    await budget.spend(detector(), 1, START);
    budgets.failure = undefined;
    await spendAll(budget, 10, START + 2_000);
    expect(budgets.taken.size).toBe(1);
  });
});

describe("the blocks in force", () => {
  test("are a caller's own up to its limit", async () => {
    const budget = instance();
    const caller = detector({ outstanding: 7 });
    blocks = { own: 6, all: 6 };
    expect(await budget.spend(caller, 1, START)).toEqual({ granted: 1 });
    blocks = { own: 7, all: 7 };
    const { refusal } = await budget.spend(caller, 10, START);
    expect(refusal).toMatchObject({
      status: 429,
      code: "too_many_blocks",
      headers: { "retry-after": "60" },
    });
  });

  test("are everyone's up to the list's", async () => {
    blocks = { own: 0, all: BLOCK_LIMIT };
    const { granted, refusal } = await instance().spend(detector(), 1, START);
    expect(granted).toBe(0);
    expect(refusal).toMatchObject({
      status: 503,
      code: "list_full",
      headers: { "retry-after": "60" },
    });
  });

  test("that are too many are counted again after five seconds, and not for each report", async () => {
    const budget = instance();
    blocks = { own: 0, all: BLOCK_LIMIT };
    for (const after of [0, 1, 4_999]) await budget.spend(detector(), 1, START + after);
    expect(reads).toBe(1);
    blocks = { own: 0, all: 0 };
    expect(await budget.spend(detector(), 1, START + 5_000)).toEqual({ granted: 1 });
    expect(reads).toBe(2);
  });
});
