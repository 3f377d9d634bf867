import { expect, test } from "@jest/globals";
import fc, { type Scheduler } from "fast-check";
import { type Block, wantingOf } from "../../../shared/domain/block.ts";
import { decide, type Message, NOTHING_KNOWN, type Policy } from "../../../shared/domain/decide.ts";
import { NO_ORDERS } from "../../../shared/domain/orders.ts";
import { isExpired } from "../../../shared/domain/time.ts";
import { createMemoryTable } from "../../support/memoryTable.ts";
import { NOW } from "../../support/reports.ts";
import {
  blockMessage,
  callerIn,
  POLICY,
  startWorker,
  unblockMessage,
  withdrawMessage,
} from "../../support/worker.ts";

// Each detector and the operators have a lane of their own, and the worker processes the lanes side by
// side. Whatever a function of one lane does between two calls of another, in the end the address is as
// if all messages had come one after the other, in the order of their acceptance.

const A = "203.0.113.1/32";
const MINUTE = 60_000;
const END = NOW + 10 * MINUTE;

const LANES = ["suricata", "falco", "night-shift"] as const;

/** Messages of distinct moments, in their order. No hold ends before an earlier one does. */
const history = fc
  .uniqueArray(
    fc.record({
      at: fc.nat(4 * MINUTE),
      lane: fc.constantFrom(...LANES),
      isBlock: fc.boolean(),
      isHeld: fc.boolean(),
      isWithdrawn: fc.boolean(),
    }),
    { selector: ({ at }) => at, minLength: 2, maxLength: 8 },
  )
  .map((steps) => {
    const holds = steps.some(({ isHeld }) => isHeld);
    return steps
      .toSorted((a, b) => a.at - b.at)
      .map(({ at, lane, isBlock, isWithdrawn }): Message => {
        const reportedAt = NOW + at;
        const byOperator = lane === "night-shift";
        if (byOperator && !(isBlock && !holds)) {
          return unblockMessage(A, reportedAt, holds ? 3_600 : 0);
        }
        if (!byOperator && isWithdrawn) return withdrawMessage(A, reportedAt, lane);
        return blockMessage(A, { reportedAt, detector: lane, byOperator, seconds: 3_600 });
      });
  });

/** Who wants the address blocked, were the messages processed one by one in their order. */
function inTime(messages: readonly Message[]): string[] {
  let { holds } = NO_ORDERS;
  let known = NOTHING_KNOWN;
  for (const message of messages) {
    const policy: Policy = { ...POLICY, neverBlock: [], orders: { holds, undos: [] } };
    const decided = decide(known, [message], policy, END);
    known = decided.next;
    holds = [...holds.filter((hold) => !decided.lifted.includes(hold)), ...decided.held];
  }
  return wantedBy(known.block);
}

/** Who wants the block, as long as it lasts. */
const wantedBy = (block: Block | undefined) =>
  block && !isExpired(block, END) ? wantingOf(block.reports).toSorted() : [];

/** A table whose calls take effect when the scheduler lets them. */
function scheduledTable(scheduler: Scheduler) {
  const table = createMemoryTable();
  const { addresses, orders } = table;
  const turn = scheduler.scheduleFunction(async () => {});
  const inTurn =
    <Args extends unknown[], T>(call: (...args: Args) => Promise<T>) =>
    async (...args: Args): Promise<T> => {
      await turn();
      return call(...args);
    };
  addresses.read = inTurn(addresses.read);
  addresses.write = inTurn(addresses.write);
  orders.read = inTurn(orders.read);
  orders.readCount = inTurn(orders.readCount);
  orders.countUnblock = inTurn(orders.countUnblock);
  orders.hold = inTurn(orders.hold);
  orders.lift = inTurn(orders.lift);
  // DynamoDB takes the items of an address one by one.
  table.betweenWrites = inTurn(table.betweenWrites);
  return table;
}

/** The queue delivers again what is handed back, as where an address keeps changing. */
async function untilTaken(deliver: () => Promise<string[]>): Promise<void> {
  for (let delivery = 1; (await deliver()).length > 0; delivery++) expect(delivery).toBeLessThan(5);
}

test("whatever comes in between, the callers who want the block are those of the messages' own order", async () => {
  await fc.assert(
    fc.asyncProperty(history, fc.scheduler(), async (messages, scheduler) => {
      const table = scheduledTable(scheduler);
      const worker = startWorker({ table });
      const lanes = [...Map.groupBy(messages, callerIn).values()].map(async (lane) => {
        for (const message of lane) await untilTaken(() => worker.process([message], END));
      });
      await scheduler.waitFor(Promise.all(lanes));
      expect(wantedBy(table.blockItems.get(A))).toEqual(inTime(messages));
    }),
    { numRuns: 2_000 },
  );
}, 120_000);

test("and detectors that report at once corroborate each other", async () => {
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), async (scheduler) => {
      const table = scheduledTable(scheduler);
      const worker = startWorker({
        table,
        policy: { ...POLICY, corroboration: { threshold: 3, window: 600 } },
      });
      const lanes = ["suricata", "falco", "elastalert"].map(async (detector) => {
        const report = blockMessage(A, { detector, seconds: 3_600 });
        await untilTaken(() => worker.process([report]));
      });
      await scheduler.waitFor(Promise.all(lanes));
      expect(Object.keys(table.blockItems.get(A)?.reports ?? {})).toHaveLength(3);
    }),
    { numRuns: 500 },
  );
}, 60_000);
