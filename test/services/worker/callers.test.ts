import { beforeEach, describe, expect, test } from "@jest/globals";
import { processBatch } from "../../../services/worker/batch.ts";
import { DEFAULT_LIMITS } from "../../../shared/domain/caller.ts";
import { NOW } from "../../support/reports.ts";
import {
  blockMessage,
  callerOf,
  recordsOf,
  startWorker,
  unblockMessage,
} from "../../support/worker.ts";

const [A, B] = ["203.0.113.1/32", "203.0.113.2/32"] as const;
const DAY = 86_400;

let worker: ReturnType<typeof startWorker>;
beforeEach(() => {
  worker = startWorker();
  worker.known.set("suricata", callerOf("suricata"));
  worker.known.set("night-shift", callerOf("night-shift", { role: "operator" }));
});
/** As `worker.process`, for callers that nobody makes known. */
const work = (messages: readonly (object | string)[], now = NOW) =>
  processBatch(recordsOf(messages as object[]), worker, now);
const blockOf = (cidr: string) => worker.table.blockItems.get(cidr);

describe("the worker does not believe what a message claims", () => {
  test("a report from the future counts from now, and can be unblocked", async () => {
    const year2286 = 9_999_000_000_000;
    await work([blockMessage(A, { reportedAt: year2286, seconds: 600 })]);
    expect(blockOf(A)).toMatchObject({
      lastSeenAt: NOW + 60_000,
      expiresAt: NOW / 1000 + 60 + 7 * DAY,
    });
    await work([unblockMessage(A, NOW + 60_001)], NOW + 60_001);
    expect(worker.blocked()).toEqual([]);
  });

  test("nor an unblock from the future: what is reported later blocks again", async () => {
    await work([unblockMessage(A, 9_999_999_999_000)]);
    await work([blockMessage(A, { reportedAt: NOW + 60_001 })], NOW + 60_001);
    expect(worker.blocked()).toEqual([A]);
  });

  test("nobody's block lasts longer, or is more severe, than its caller may make it", async () => {
    const limits = { ...DEFAULT_LIMITS.detector, longest: 3_600, mostSeverity: 6 };
    worker.known.set("suricata", callerOf("suricata", { limits }));
    await work([blockMessage(A, { seconds: 30 * DAY, severity: 10 })]);
    expect(blockOf(A)).toMatchObject({ severity: 6, expiresAt: NOW / 1000 + 3_600 });
  });

  test("a detector that says it is an operator is a detector", async () => {
    await work([unblockMessage(A, NOW, 600)]);
    await work([blockMessage(A, { reportedAt: NOW + 1, byOperator: true })], NOW + 1);
    expect(worker.blocked()).toEqual([]);
  });

  test("and its weight is what the list of callers says", async () => {
    worker.policy = { ...worker.policy, corroboration: { threshold: 2, window: 600 } };
    await work([blockMessage(A, { weight: 100 })]);
    expect(worker.blocked()).toEqual([]);
  });
});

describe("what a caller may not say is dropped, and counted", () => {
  test.each<[string, object]>([
    ["a report of a caller that is on no list: its token was revoked", { detector: "stolen" }],
    [
      "the same from the future, which nobody accepted just now",
      { detector: "stolen", reportedAt: 9_999_000_000_000, expiresAt: 9_999_999_999 },
    ],
    ["a range wider than its caller may report", { cidr: "203.0.112.0/23" }],
  ])("%s", async (_what, change) => {
    const { cidr, ...report } = blockMessage(A);
    const forged = { ...report, cidr: cidr.text, ...change };
    const later = NOW + 15_000;
    expect(await work([forged, blockMessage(B)], later)).toEqual({ batchItemFailures: [] });
    expect(worker.blocked()).toEqual([B]);
    expect(worker.deadLettered).toEqual([]);
    expect(worker.counts).toContainEqual({ name: "Revoked", count: 1 });
  });

  test("a detector's unblock, and its undo", async () => {
    await work([blockMessage(A)]);
    const at = NOW + 1;
    const unblock = { ...unblockMessage(A, at), operator: "suricata" };
    const undo = { kind: "undo", detector: "suricata", since: 0, requestedAt: at };
    await work([unblock, { ...undo, operator: "suricata", requestId: "undo-1" }], at);
    expect(worker.blocked()).toEqual([A]);
    expect(worker.table.undos).toEqual([]);
  });

  test("a reader's report", async () => {
    worker.known.set("dashboard", callerOf("dashboard", { role: "reader" }));
    await work([blockMessage(A, { detector: "dashboard" })]);
    expect(worker.blocked()).toEqual([]);
  });
});

describe("a caller that is on no list, of a message that was accepted just now", () => {
  const report = blockMessage(A, { detector: "new" });
  const known = new Map([["new", callerOf("new")]]);

  test("is looked for again: an operator may have added it meanwhile", async () => {
    worker.callers = async (notBefore) => (notBefore === undefined ? new Map() : known);
    expect(await work([report], NOW + 1_000)).toEqual({ batchItemFailures: [] });
    expect(worker.blocked()).toEqual([A]);
  });

  test("is awaited: the message is handed back, and nothing is lost", async () => {
    worker.callers = async () => new Map();
    const handedBack = { batchItemFailures: [{ itemIdentifier: "0" }] };
    expect(await work([report], NOW + 14_999)).toEqual(handedBack);
    expect(worker.counts).not.toContainEqual({ name: "Revoked", count: 1 });
    worker.callers = async () => known;
    expect(await work([report], NOW + 30_000)).toEqual({ batchItemFailures: [] });
    expect(worker.blocked()).toEqual([A]);
  });
});

test("while the list of callers cannot be read, everything is handed back", async () => {
  worker.callers = async () => {
    throw new Error("The parameter store is down.");
  };
  expect(await work([blockMessage(A)])).toEqual({ batchItemFailures: [{ itemIdentifier: "0" }] });
});

describe("blocks in force are counted", () => {
  const outstanding = async (caller: string, at = 0) =>
    (await worker.table.outstanding.read(caller, NOW + at)).own;

  test("for the caller that began them, once each, until they end", async () => {
    await work([blockMessage(A, { seconds: 600 }), blockMessage(B, { seconds: 6_000 })]);
    await work([blockMessage(A, { seconds: 600, reportedAt: NOW + 1_000 })], NOW + 1_000);
    expect(await outstanding("suricata")).toBe(2);
    expect(worker.counts.at(-1)).toEqual({ name: "Outstanding", count: 2 });
    expect(await outstanding("suricata", 700_000)).toBe(1);
    expect(await outstanding("night-shift")).toBe(0);
  });

  test("once it has ended no more, whatever is said of it before it is removed", async () => {
    const seconds = 3 * 3_600;
    await work([blockMessage(A, { seconds })]);
    const later = NOW + seconds * 1_000 + 1;
    const knock = { reportedAt: later, count: 0, seconds: 60 };
    await work([blockMessage(A, knock)], later);
    await work([blockMessage(A, { ...knock, requestId: "another" })], later);
    const counts = worker.table.outstandingBy.get("suricata") ?? {};
    expect(Object.values(counts).reduce((sum, count) => sum + count, 0)).toBe(1);
  });

  test("no longer where an operator unblocks", async () => {
    await work([blockMessage(A, { seconds: 600 })]);
    await work([unblockMessage(A, NOW + 1)], NOW + 1);
    expect(await outstanding("suricata")).toBe(0);
  });

  test("a count that fails keeps nothing from being blocked", async () => {
    worker.table.outstanding.count = async () => {
      throw new Error("The table is down.");
    };
    expect(await work([blockMessage(A)])).toEqual({ batchItemFailures: [] });
    expect(worker.blocked()).toEqual([A]);
  });
});
