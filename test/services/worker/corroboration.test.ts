import { beforeEach, describe, expect, test } from "@jest/globals";
import { NOW } from "../../support/reports.ts";
import { blockMessage, POLICY, startWorker, unblockMessage } from "../../support/worker.ts";

const [A, B] = ["203.0.113.1/32", "203.0.113.2/32"] as const;
const WINDOW = 300;
const policyOf = (threshold: number) => ({
  ...POLICY,
  corroboration: { threshold, window: WINDOW },
});

let worker: ReturnType<typeof startWorker>;
beforeEach(() => {
  worker = startWorker({ policy: policyOf(2) });
});
type Change = Parameters<typeof blockMessage>[1];
/** A detector's report at `at` milliseconds from the beginning, processed at once. */
const reports = (detector: string, change: Change & { cidr?: string; at?: number } = {}) => {
  const { cidr = A, at = 0, ...rest } = change;
  const message = blockMessage(cidr, { detector, reportedAt: NOW + at, seconds: 3_600, ...rest });
  return worker.process([message], NOW + at);
};

const reporters = () => Object.keys(worker.table.blockItems.get(A)?.reports ?? {}).toSorted();

describe("without a threshold", () => {
  test("any one detector's report is enough, whatever it weighs", async () => {
    worker = startWorker();
    await reports("suricata", { weight: 0 });
    expect(worker.blocked()).toEqual([A]);
    expect(worker.table.suspects.size).toBe(0);
  });
});

describe("an address", () => {
  test("is blocked once the weights of distinct detectors reach the threshold", async () => {
    await reports("suricata");
    expect(worker.blocked()).toEqual([]);
    await reports("elastalert", { at: 1_000 });
    expect(worker.blocked()).toEqual([A]);
    expect(worker.table.blockItems.get(A)).toMatchObject({
      reports: { suricata: expect.anything(), elastalert: expect.anything() },
      hits: 2,
      firstSeenAt: NOW,
      lastSeenAt: NOW + 1_000,
    });
  });

  test("has the end and the severity that reports of enough weight ask for", async () => {
    await reports("suricata", { severity: 9, seconds: 7_200, reason: "brute force" });
    await reports("elastalert", { severity: 3, seconds: 60, reason: "noise" });
    expect(worker.table.blockItems.get(A)).toMatchObject({
      severity: 3,
      expiresAt: NOW / 1000 + 60,
      reason: "brute force",
    });
  });

  test("is not blocked by one detector, however often it reports", async () => {
    for (const at of [0, 1_000, 2_000, 3_000]) await reports("suricata", { at });
    expect(worker.blocked()).toEqual([]);
  });

  test("is a suspect by itself: another address's reports do not count", async () => {
    await reports("suricata");
    await reports("elastalert", { cidr: B });
    expect(worker.blocked()).toEqual([]);
  });

  test("is blocked by one batch in which enough detectors report", async () => {
    const batch = ["suricata", "elastalert"].map((detector) => blockMessage(A, { detector }));
    expect(await worker.process(batch)).toEqual([]);
    expect(worker.table.writes).toEqual([{ kind: "write", cidr: A }]);
    expect(worker.table.suspects.size).toBe(0);
  });

  test("that is blocked is no suspect any more", async () => {
    await reports("suricata");
    await reports("elastalert");
    expect(worker.table.suspects.size).toBe(0);
    await worker.process([unblockMessage(A)]);
    await reports("suricata");
    expect(worker.blocked()).toEqual([]);
  });
});

describe("weights", () => {
  test.each([
    ["a heavy detector's report suffices", [2], true],
    ["a report above the threshold too", [100], true],
    ["two light ones do not", [0.9, 1], false],
    ["three light ones do", [0.5, 0.5, 1], true],
    ["who weighs nothing adds nothing", [1, 0, 0, 0], false],
  ])("%s", async (_what, weights, isBlocked) => {
    for (const [index, weight] of weights.entries()) await reports(`detector-${index}`, { weight });
    expect(worker.blocked()).toEqual(isBlocked ? [A] : []);
  });

  test("of a detector count as they were when it last reported", async () => {
    await reports("suricata", { weight: 1.5 });
    await reports("suricata", { weight: 0.5 });
    await reports("elastalert", { weight: 1 });
    expect(worker.blocked()).toEqual([]);
  });
});

describe("the window", () => {
  test.each([
    [WINDOW * 1000 - 1, true],
    [WINDOW * 1000, false],
  ])("a second report after %d ms counts with the first: %s", async (at, isBlocked) => {
    await reports("suricata");
    await reports("elastalert", { at });
    expect(worker.blocked()).toEqual(isBlocked ? [A] : []);
  });

  test("moves along: the oldest report is forgotten, the younger ones count on", async () => {
    worker.policy = policyOf(3);
    await reports("suricata");
    await reports("elastalert", { at: 200_000 });
    await reports("falco", { at: 400_000 });
    expect(worker.blocked()).toEqual([]);
    await reports("suricata", { at: 450_000 });
    expect(reporters()).toEqual(["elastalert", "falco", "suricata"]);
  });

  test("is held open by a detector that reports again", async () => {
    await reports("suricata");
    await reports("suricata", { at: 200_000 });
    await reports("elastalert", { at: 400_000 });
    expect(worker.blocked()).toEqual([A]);
  });
});

describe("evidence of a detector whose reports were undone", () => {
  const undo = () =>
    worker.table.undos.push({ detector: "stolen", since: NOW, requestedAt: NOW + 1_000 });

  test("counts no more", async () => {
    await reports("stolen");
    undo();
    await reports("suricata", { at: 2_000 });
    expect(worker.blocked()).toEqual([]);
    await reports("elastalert", { at: 3_000 });
    expect(reporters()).toEqual(["elastalert", "suricata"]);
  });

  test("counts where it was reported after the undo", async () => {
    await reports("stolen");
    undo();
    await reports("stolen", { at: 1_500 });
    await reports("suricata", { at: 2_000 });
    expect(reporters()).toEqual(["stolen", "suricata"]);
  });
});

describe("no corroboration is asked", () => {
  test("of an operator", async () => {
    await reports("night-shift", { byOperator: true, weight: 0 });
    expect(worker.blocked()).toEqual([A]);
  });

  test("for a block that lasts, but for what it is more severe or longer than", async () => {
    await reports("night-shift", { byOperator: true, seconds: 60 });
    await reports("suricata", { at: 1_000, severity: 9, seconds: 7_200 });
    await reports("a-stolen-token", { at: 1_000, weight: 0, severity: 10, seconds: 7_200 });
    const own = { severity: 5, expiresAt: NOW / 1000 + 60 };
    expect(worker.table.blockItems.get(A)).toMatchObject({ ...own, hits: 3 });
    await reports("elastalert", { at: 2_000, severity: 8, seconds: 3_600 });
    const both = { severity: 8, expiresAt: NOW / 1000 + 2 + 3_600 };
    expect(worker.table.blockItems.get(A)).toMatchObject({ ...both, hits: 4 });
    expect(worker.table.suspects.size).toBe(0);
  });

  test("but for one that has ended it is asked anew, though DynamoDB still holds it", async () => {
    await reports("night-shift", { byOperator: true, seconds: 60 });
    worker.table.writes.length = 0;
    await reports("suricata", { at: 60_000 });
    expect(worker.table.writes).toEqual([]);
    await reports("elastalert", { at: 60_000 });
    expect(worker.table.blockItems.get(A)).toMatchObject({ firstSeenAt: NOW + 60_000, strikes: 2 });
  });
});

describe("what was reported is forgotten", () => {
  test("by an unblock", async () => {
    await reports("suricata");
    await worker.process([unblockMessage(A)]);
    await reports("elastalert", { at: 1 });
    expect(worker.blocked()).toEqual([]);
  });

  test("not by a report whose own time is over", async () => {
    await reports("suricata");
    await worker.process([blockMessage(A, { detector: "falco", seconds: 10 })], NOW + 10_000);
    expect(worker.blocked()).toEqual([]);
    await reports("elastalert", { at: 20_000 });
    expect(reporters()).toEqual(["elastalert", "suricata"]);
  });

  test("not by a batch that is delivered again", async () => {
    const batch = [blockMessage(A)];
    await worker.process(batch);
    const { ...once } = worker.table.suspects.get(A);
    await worker.process(batch);
    expect(worker.table.suspects.get(A)).toEqual(once);
    expect(worker.blocked()).toEqual([]);
  });
});

test("of very many detectors the latest are remembered", async () => {
  worker.policy = policyOf(40);
  for (let i = 0; i < 50; i++) await reports(`detector-${i}`, { at: i });
  const names = Object.keys(worker.table.suspects.get(A)?.reports ?? {});
  expect(names).toEqual(Array.from({ length: 32 }, (_, i) => `detector-${i + 18}`));
});
