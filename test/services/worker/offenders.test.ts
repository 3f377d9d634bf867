import { beforeEach, describe, expect, test } from "@jest/globals";
import { NOW } from "../../support/reports.ts";
import { blockMessage, POLICY, startWorker, unblockMessage } from "../../support/worker.ts";

// An address that offends again is blocked for longer.

const A = "203.0.113.1/32";

let worker: ReturnType<typeof startWorker>;
let now: number;
beforeEach(() => {
  worker = startWorker({ policy: { ...POLICY, escalation: { factor: 2, max: 500 } } });
  now = NOW;
});
const reported = (change: Parameters<typeof blockMessage>[1] = {}) =>
  worker.process([blockMessage(A, { reportedAt: now, ...change })], now);
const current = () => worker.table.blockItems.get(A);
/** How long the block lasts from now on, in seconds. */
const left = () => (current()?.expiresAt ?? Number.NaN) - now / 1000;
/** Goes on to the end of the block; DynamoDB deletes it, or not yet, and the enforcer remembers it. */
const end = ({ isDeleted = true } = {}) => {
  const block = current();
  if (!block) throw new Error("There is no block.");
  now = block.expiresAt * 1000;
  if (!isDeleted) return;
  worker.table.blockItems.delete(A);
  worker.table.remember(block);
};

describe.each([
  ["is deleted, its strikes being remembered", true],
  ["is still there, as DynamoDB deletes late", false],
])("a new block, where the old one %s", (_what, isDeleted) => {
  test("lasts longer by the factor each time, up to the cap", async () => {
    const lasting: number[] = [];
    for (let round = 0; round < 6; round++) {
      await reported({ seconds: 60 });
      lasting.push(left());
      end({ isDeleted });
    }
    expect(lasting).toEqual([60, 120, 240, 480, 500, 500]);
  });

  test("lasts at least as long as asked, even above the cap", async () => {
    await reported({ seconds: 60 });
    end({ isDeleted });
    await reported({ seconds: 9_000 });
    expect(left()).toBe(9_000);
  });

  test("counts its strike, and goes on from the old one's score", async () => {
    await reported();
    end({ isDeleted });
    await reported();
    expect(current()?.strikes).toBe(2);
    expect(current()?.score).toBeCloseTo(now + POLICY.halfLife * Math.log2(1.5));
  });

  test("counts it though an unblock comes first", async () => {
    await reported();
    end({ isDeleted });
    const messages = [unblockMessage(A, now), blockMessage(A, { reportedAt: now + 1 })];
    await worker.process(messages, now + 1);
    expect(current()?.strikes).toBe(2);
  });
});

describe("a report while the address is blocked", () => {
  beforeEach(async () => {
    await reported({ seconds: 60 });
    end();
    await reported({ seconds: 60 });
    now += 10_000;
  });

  test("is no strike", async () => {
    await reported();
    expect(current()?.strikes).toBe(2);
  });

  test("extends the block only where it would end later", async () => {
    const { expiresAt } = current() ?? {};
    await reported({ seconds: 30 });
    expect(current()?.expiresAt).toBe(expiresAt);
    await reported({ seconds: 100 });
    expect(left()).toBe(200);
  });
});

test("a block that an operator ended was no strike", async () => {
  await reported({ seconds: 60 });
  now += 1_000;
  await worker.process([unblockMessage(A, now)], now);
  now += 1_000;
  await reported({ seconds: 60 });
  expect(current()?.strikes).toBe(1);
  expect(left()).toBe(60);
});

test("a factor of 1 forgives everything but keeps count", async () => {
  worker.policy = { ...POLICY, escalation: { factor: 1, max: 500 } };
  await reported({ seconds: 60 });
  end();
  await reported({ seconds: 60 });
  expect(left()).toBe(60);
  expect(current()?.strikes).toBe(2);
});
