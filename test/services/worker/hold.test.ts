import { beforeEach, describe, expect, test } from "@jest/globals";
import { NOW } from "../../support/reports.ts";
import { blockMessage, startWorker, unblockMessage } from "../../support/worker.ts";

const [A, B] = ["203.0.113.1/32", "203.0.113.2/32"] as const;
const HOLD = 600;

let worker: ReturnType<typeof startWorker>;
beforeEach(() => {
  worker = startWorker();
});
const report = (at = 0, change: Parameters<typeof blockMessage>[1] = {}) =>
  blockMessage(A, { reportedAt: NOW + at, seconds: 3_600, ...change });
const reported = (at = 0, change: Parameters<typeof blockMessage>[1] = {}) =>
  worker.process([report(at, change)], NOW + at);
const unblocked = (at = 0, holdSeconds = HOLD) =>
  worker.process([unblockMessage(A, NOW + at, holdSeconds)], NOW + at);

describe("after an unblock with a hold", () => {
  test("detectors are ignored until its end", async () => {
    await reported();
    await unblocked();
    for (const at of [1, 1_000, HOLD * 1000 - 1]) {
      expect(await reported(at, { severity: 10 })).toEqual([]);
    }
    expect(worker.blocked()).toEqual([]);
    await reported(HOLD * 1000);
    expect(worker.blocked()).toEqual([A]);
  });

  test("other addresses are blocked as ever", async () => {
    await unblocked();
    await worker.process([blockMessage(B)]);
    expect(worker.blocked()).toEqual([B]);
  });

  test("no wider report covers the address either, but an operator's", async () => {
    await unblocked();
    const wider = (change: Parameters<typeof blockMessage>[1] = {}) =>
      blockMessage("203.0.113.0/31", { reportedAt: NOW + 1, ...change });
    await worker.process([wider()], NOW + 1);
    expect(worker.blocked()).toEqual([]);
    await worker.process([wider({ byOperator: true, detector: "night-shift" })], NOW + 1);
    expect(worker.blocked()).toEqual(["203.0.113.0/31"]);
  });

  test("it holds within the batch as well", async () => {
    await worker.process([report(), unblockMessage(A, NOW, HOLD), report(1)], NOW + 1);
    expect(worker.blocked()).toEqual([]);
    await reported(2);
    expect(worker.blocked()).toEqual([]);
  });

  test("what detectors report meanwhile does not count as corroboration later", async () => {
    worker.policy = { ...worker.policy, corroboration: { threshold: 2, window: 3_600 } };
    await unblocked();
    await reported(1_000, { detector: "suricata" });
    await reported(HOLD * 1000, { detector: "elastalert" });
    expect(worker.blocked()).toEqual([]);
  });

  test("delivered again it changes nothing", async () => {
    await reported();
    for (let delivery = 0; delivery < 2; delivery++) await unblocked();
    expect(worker.table.unblocks).toEqual(new Map([[A, { requestedAt: NOW }]]));
    expect([...worker.table.holds.values()]).toMatchObject([{ until: NOW / 1000 + HOLD }]);
  });
});

describe("a hold is lifted", () => {
  test("by an operator's own block, and for the detectors after it", async () => {
    await unblocked();
    await reported(1_000, { byOperator: true, detector: "night-shift", seconds: 60 });
    expect(worker.blocked()).toEqual([A]);
    await reported(2_000, { severity: 9 });
    expect(worker.table.blockItems.get(A)?.severity).toBe(9);
  });

  test("by an operator in the very batch that set it", async () => {
    await worker.process(
      [
        unblockMessage(A, NOW, HOLD),
        report(1, { byOperator: true, detector: "night-shift" }),
        report(2),
      ],
      NOW + 2,
    );
    expect(worker.table.blockItems.get(A)?.hits).toBe(2);
  });

  test("by an unblock without one", async () => {
    await unblocked();
    await unblocked(1_000, 0);
    await reported(2_000);
    expect(worker.blocked()).toEqual([A]);
  });

  test("or replaced by an unblock with another", async () => {
    await unblocked();
    await unblocked(1_000, 60);
    await reported(61_000);
    expect(worker.blocked()).toEqual([A]);
  });
});

test("an operator's report whose own time is over lifts none", async () => {
  await unblocked();
  const stale = report(0, { byOperator: true, seconds: 10 });
  await worker.process([stale], NOW + 10_000);
  await reported(11_000);
  expect(worker.blocked()).toEqual([]);
});

test("an unblock without a hold lets detectors block at once", async () => {
  await reported();
  await unblocked(1_000, 0);
  await reported(2_000);
  expect(worker.blocked()).toEqual([A]);
});

test("a hold whose time was over before its message came holds nothing", async () => {
  await worker.process([unblockMessage(A, NOW, HOLD)], NOW + HOLD * 1000);
  await reported(HOLD * 1000);
  expect(worker.blocked()).toEqual([A]);
});
