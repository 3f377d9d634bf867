import { beforeEach, describe, expect, test } from "@jest/globals";
import { NOW } from "../../support/reports.ts";
import { blockMessage, startWorker, unblockMessage } from "../../support/worker.ts";

const [A, B] = ["203.0.113.1/32", "203.0.113.2/32"] as const;
const WINDOW = 300;

let worker: ReturnType<typeof startWorker>;
beforeEach(() => {
  worker = startWorker({ corroboration: { threshold: 2, windowSeconds: WINDOW } });
});
type Change = Parameters<typeof blockMessage>[1];
/** A detector's word at `at` milliseconds from the beginning, worked off at once. */
const say = (detector: string, change: Change & { cidr?: string; at?: number } = {}) => {
  const { cidr = A, at = 0, ...rest } = change;
  const message = blockMessage(cidr, { detector, reportedAt: NOW + at, seconds: 3_600, ...rest });
  return worker.work([message], NOW + at);
};

describe("without a threshold", () => {
  test("any one detector's word is enough, whatever it weighs", async () => {
    worker = startWorker();
    await say("suricata", { weight: 0 });
    expect(worker.blocked()).toEqual([A]);
    expect(worker.table.suspects.size).toBe(0);
  });
});

describe("an address", () => {
  test("is blocked once the weights of distinct detectors reach the threshold", async () => {
    await say("suricata");
    expect(worker.blocked()).toEqual([]);
    await say("elastalert", { at: 1_000 });
    expect(worker.blocked()).toEqual([A]);
    expect(worker.table.blocks.get(A)).toMatchObject({
      detectors: ["suricata", "elastalert"],
      hits: 2,
      firstSeenAt: NOW,
      lastSeenAt: NOW + 1_000,
    });
  });

  test("has the longest expiry and the greatest severity of all who spoke", async () => {
    await say("suricata", { severity: 9, seconds: 7_200, reason: "brute force" });
    await say("elastalert", { severity: 3, seconds: 60, reason: "noise" });
    expect(worker.table.blocks.get(A)).toMatchObject({
      severity: 9,
      expiresAt: NOW / 1000 + 7_200,
      reason: "brute force",
    });
  });

  test("is not blocked by one detector, however often it speaks", async () => {
    for (const at of [0, 1_000, 2_000, 3_000]) await say("suricata", { at });
    expect(worker.blocked()).toEqual([]);
  });

  test("is a suspect by itself: another address's reports do not count", async () => {
    await say("suricata");
    await say("elastalert", { cidr: B });
    expect(worker.blocked()).toEqual([]);
  });

  test("is blocked by one batch in which enough detectors speak", async () => {
    const batch = ["suricata", "elastalert"].map((detector) => blockMessage(A, { detector }));
    expect(await worker.work(batch)).toEqual([]);
    expect(worker.table.writes).toEqual([{ kind: "write", cidr: A }]);
    expect(worker.table.suspects.size).toBe(0);
  });

  test("that is blocked is no suspect any more", async () => {
    await say("suricata");
    await say("elastalert");
    expect(worker.table.suspects.size).toBe(0);
    await worker.work([unblockMessage(A)]);
    await say("suricata");
    expect(worker.blocked()).toEqual([]);
  });
});

describe("weights", () => {
  test.each([
    ["a heavy detector's word suffices", [2], true],
    ["a word above the threshold too", [100], true],
    ["two light ones do not", [0.9, 1], false],
    ["three light ones do", [0.5, 0.5, 1], true],
    ["who weighs nothing adds nothing", [1, 0, 0, 0], false],
  ])("%s", async (_what, weights, isBlocked) => {
    for (const [index, weight] of weights.entries()) await say(`detector-${index}`, { weight });
    expect(worker.blocked()).toEqual(isBlocked ? [A] : []);
  });

  test("of a detector count as they were when it last spoke", async () => {
    await say("suricata", { weight: 1.5 });
    await say("suricata", { weight: 0.5 });
    await say("elastalert", { weight: 1 });
    expect(worker.blocked()).toEqual([]);
  });
});

describe("the window", () => {
  test.each([
    [WINDOW * 1000 - 1, true],
    [WINDOW * 1000, false],
  ])("a second word after %d ms counts with the first: %s", async (at, isBlocked) => {
    await say("suricata");
    await say("elastalert", { at });
    expect(worker.blocked()).toEqual(isBlocked ? [A] : []);
  });

  test("moves along: the oldest word is forgotten, the younger ones count on", async () => {
    worker.corroboration = { threshold: 3, windowSeconds: WINDOW };
    await say("suricata");
    await say("elastalert", { at: 200_000 });
    await say("falco", { at: 400_000 });
    expect(worker.blocked()).toEqual([]);
    await say("suricata", { at: 450_000 });
    expect(worker.table.blocks.get(A)?.detectors).toEqual(["elastalert", "falco", "suricata"]);
  });

  test("is held open by a detector that speaks again", async () => {
    await say("suricata");
    await say("suricata", { at: 200_000 });
    await say("elastalert", { at: 400_000 });
    expect(worker.blocked()).toEqual([A]);
  });
});

describe("no corroboration is asked", () => {
  test("of an operator", async () => {
    await say("night-shift", { byOperator: true, weight: 0 });
    expect(worker.blocked()).toEqual([A]);
  });

  test("for a block that lasts: one detector extends it", async () => {
    await say("night-shift", { byOperator: true });
    await say("suricata", { at: 1_000, severity: 9, seconds: 7_200 });
    expect(worker.table.blocks.get(A)).toMatchObject({
      severity: 9,
      expiresAt: NOW / 1000 + 1 + 7_200,
    });
    expect(worker.table.suspects.size).toBe(0);
  });

  test("but for one that has ended it is asked anew, though DynamoDB still holds it", async () => {
    await say("night-shift", { byOperator: true, seconds: 60 });
    worker.table.writes.length = 0;
    await say("suricata", { at: 60_000 });
    expect(worker.table.writes).toEqual([]);
    await say("elastalert", { at: 60_000 });
    expect(worker.table.blocks.get(A)).toMatchObject({ firstSeenAt: NOW + 60_000, strikes: 2 });
  });
});

describe("what was said is forgotten", () => {
  test("by an unblock", async () => {
    await say("suricata");
    await worker.work([unblockMessage(A)]);
    await say("elastalert");
    expect(worker.blocked()).toEqual([]);
  });

  test("not by a report that comes when its own time is over", async () => {
    await say("suricata");
    await worker.work([blockMessage(A, { detector: "falco", seconds: 10 })], NOW + 10_000);
    expect(worker.blocked()).toEqual([]);
    await say("elastalert", { at: 20_000 });
    expect(worker.table.blocks.get(A)?.detectors).toEqual(["suricata", "elastalert"]);
  });

  test("not by a batch that is delivered again", async () => {
    const batch = [blockMessage(A)];
    await worker.work(batch);
    const { ...once } = worker.table.suspects.get(A);
    await worker.work(batch);
    expect(worker.table.suspects.get(A)).toEqual(once);
    expect(worker.blocked()).toEqual([]);
  });
});

test("of very many detectors the latest are remembered", async () => {
  worker.corroboration = { threshold: 40, windowSeconds: WINDOW };
  for (let i = 0; i < 50; i++) await say(`detector-${i}`, { at: i });
  const names = Object.keys(worker.table.suspects.get(A)?.reports ?? {});
  expect(names).toEqual(Array.from({ length: 32 }, (_, i) => `detector-${i + 18}`));
});
