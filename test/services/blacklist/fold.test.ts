import { beforeEach, describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { Refusal } from "../../../services/blacklist/errors.ts";
import { createFold, deduplicationId, foldWindowMs } from "../../../services/blacklist/fold.ts";
import { LEASE_MS, type StandingOrders } from "../../../services/blacklist/orders.ts";
import {
  type BlockMessage,
  type Lane,
  MAX_COUNT,
  type Queue,
  type QueueMessage,
  QueueUnavailableError,
} from "../../../shared/aws/queue.ts";
import { parseCidr } from "../../../shared/domain/cidr.ts";
import { type Hold, NO_ORDERS } from "../../../shared/domain/orders.ts";
import { fakeQueue, ordersOver, queueDown } from "../../support/endpoint.ts";
import { createMemoryTable } from "../../support/memoryTable.ts";
import { NOW, type ReportChange, reportOf } from "../../support/reports.ts";

const CIDR = "203.0.113.9/32";
/** A report that lasts ten minutes, and so folds for a minute. */
const blockOf = ({
  cidr = CIDR,
  ...change
}: ReportChange & { cidr?: string } = {}): BlockMessage => {
  const report = reportOf(cidr, { seconds: 600, ...change });
  const { weight, byOperator, leastPrefix, ...claim } = report;
  return { kind: "block", ...claim };
};
const unblockOf = (requestId: string, cidr = CIDR) => ({
  kind: "unblock" as const,
  cidr: parseCidr(cidr),
  requestedAt: NOW,
  operator: "night-shift",
  holdUntil: 0,
  requestId,
});

let queue: ReturnType<typeof fakeQueue>;
let table: ReturnType<typeof createMemoryTable>;
let unblocks: ReturnType<typeof ordersOver>;
/** A warm function, as its reports and orders go through it. */
function foldOver(orders: StandingOrders, over: Queue = queue) {
  const { earlier, send, sendAll, sendOrder } = createFold(over, orders);
  return {
    async send(message: BlockMessage): Promise<BlockMessage> {
      const current = await orders.current();
      return earlier(message, current) ?? send(message, current, "detectors");
    },
    async sendAll(messages: readonly BlockMessage[]) {
      const current = await orders.current();
      const folded = messages.map((message) => earlier(message, current));
      const fresh = messages.filter((_, index) => !folded[index]);
      const sent = await sendAll(fresh, current, "detectors");
      return folded.map((one) => one ?? sent.shift());
    },
    sendOrder,
  };
}
let fold: ReturnType<typeof foldOver>;
/** Another warm function, that knows nothing of what the others have sent. */
const newFold = () => foldOver(unblocks.instance());
beforeEach(() => {
  queue = fakeQueue();
  table = createMemoryTable();
  unblocks = ordersOver(table.orders);
  fold = newFold();
});
const ids = () => queue.sent.map(({ deduplicationId }) => deduplicationId);

describe("what folds before the send", () => {
  test("repeats within the window are one send, and answer the first", async () => {
    const message = blockOf({ requestId: "first" });
    const first = await fold.send(message);
    expect(first).toEqual(message);
    for (const after of [0, 1, 30_000, 59_999]) {
      const repeat = blockOf({ requestId: "again", reportedAt: NOW + after });
      expect(await fold.send(repeat)).toBe(first);
    }
    expect(queue.sent).toHaveLength(1);
  });

  test("weaker and shorter reports fold into a stronger one", async () => {
    await fold.send(blockOf({ severity: 8 }));
    await fold.send(blockOf({ severity: 3, seconds: 300 }));
    expect(queue.sent).toHaveLength(1);
  });

  test.each([
    ["a longer expiry", { seconds: 601 }],
    ["a higher severity", { severity: 6 }],
    ["another detector", { detector: "elastalert" }],
    ["another address", { cidr: "203.0.113.10/32" }],
    ["a range around it", { cidr: "203.0.113.8/31" }],
    ["the end of the window", { reportedAt: NOW + 60_000 }],
  ])("%s is a report of its own", async (_what, change) => {
    await fold.send(blockOf());
    const other = blockOf(change);
    expect(await fold.send(other)).toEqual(other);
    expect(new Set(ids()).size).toBe(2);
  });

  test("detectors fold each by themselves, however they take turns", async () => {
    for (const detector of ["suricata", "elastalert", "suricata", "elastalert"]) {
      await fold.send(blockOf({ detector }));
    }
    expect(queue.sent.map(({ message }) => "detector" in message && message.detector)).toEqual([
      "suricata",
      "elastalert",
    ]);
  });

  test("a block of 6 s reported again after 10 s is sent again", async () => {
    await fold.send(blockOf({ seconds: 6 }));
    await fold.send(blockOf({ seconds: 6, reportedAt: NOW + 10_000 }));
    expect(new Set(ids()).size).toBe(2);
  });

  test("the window begins with the first report, and is not drawn out by repeats", async () => {
    for (const after of [0, 40_000, 80_000]) await fold.send(blockOf({ reportedAt: NOW + after }));
    expect(queue.sent).toHaveLength(2);
  });

  test("a send that failed is not remembered", async () => {
    queue.failure = queueDown();
    await expect(fold.send(blockOf())).rejects.toThrow(queueDown().message);
    queue.failure = undefined;
    await fold.send(blockOf());
    expect(queue.sent).toHaveLength(1);
  });

  test("a stronger report whose send failed does not hide the weaker one that was sent", async () => {
    const sent = await fold.send(blockOf());
    queue.failure = queueDown();
    await expect(fold.send(blockOf({ severity: 9 }))).rejects.toThrow();
    queue.failure = undefined;
    expect(await fold.send(blockOf())).toBe(sent);
    await fold.send(blockOf({ severity: 9 }));
    expect(queue.sent).toHaveLength(2);
  });
});

describe("the count of the reports that a message stands for", () => {
  /** Reports again within the window, each folded into the last one sent. */
  const repeat = async (times: number, change: Parameters<typeof blockOf>[0] = {}) => {
    for (let time = 0; time < times; time++) await fold.send(blockOf(change));
  };
  const counts = () => queue.sent.map(({ message }) => message.kind === "block" && message.count);
  /** Neither folds into a report from `NOW`. */
  const LATER = { reportedAt: NOW + 60_000 };
  const STRONGER = { severity: 9 };

  test.each([0, 1, 7])("is one, and those folded since the last was sent: %d", async (folded) => {
    await repeat(1 + folded);
    expect((await fold.send(blockOf(LATER))).count).toBe(1 + folded);
    expect(counts()).toEqual([1, 1 + folded]);
  });

  test("goes with whatever is sent next, a stronger report as well", async () => {
    await repeat(4);
    await fold.send(blockOf(STRONGER));
    expect(counts()).toEqual([1, 4]);
  });

  test("counts a folded report once", async () => {
    await repeat(3);
    await fold.send(blockOf(LATER));
    await fold.send(blockOf({ reportedAt: NOW + 120_000 }));
    expect(counts()).toEqual([1, 3, 1]);
  });

  test("is each detector's and each address's own", async () => {
    const others = [{ detector: "elastalert" }, { cidr: "203.0.113.10/32" }];
    await repeat(3);
    for (const other of others) await repeat(1, other);
    for (const other of [{}, ...others]) await fold.send(blockOf({ ...other, ...LATER }));
    expect(counts()).toEqual([1, 1, 1, 3, 1, 1]);
  });

  test("is kept over a send that failed", async () => {
    await repeat(3);
    queue.failure = queueDown();
    await expect(fold.send(blockOf(LATER))).rejects.toThrow();
    await fold.sendAll([blockOf(LATER)]);
    queue.failure = undefined;
    await fold.send(blockOf(LATER));
    expect(counts()).toEqual([1, 3]);
  });

  test("begins anew after an unblock: it says nothing of what was before", async () => {
    await repeat(5);
    await fold.sendOrder(unblockOf("unblock-1"));
    await fold.send(blockOf(LATER));
    expect(counts()).toEqual([1, false, 1]);
  });

  test("is one while nobody can tell whether there was an unblock", async () => {
    await repeat(5);
    table.isUnreadable = true;
    await unblocks.wait(LEASE_MS);
    await fold.send(blockOf(LATER));
    expect(counts()).toEqual([1, 1]);
  });

  test("is never more than a message may carry", async () => {
    await repeat(MAX_COUNT + 5);
    await fold.send(blockOf(LATER));
    expect(counts()).toEqual([1, MAX_COUNT]);
  });

  test("is counted for each of many in one request", async () => {
    const B = { cidr: "203.0.113.10/32" };
    await fold.sendAll([blockOf(), blockOf(B)]);
    await fold.sendAll([blockOf(), blockOf(B)]);
    await fold.sendAll([blockOf()]);
    const answers = await fold.sendAll([blockOf(LATER), blockOf({ ...B, ...LATER })]);
    expect(answers.map((answer) => answer?.count)).toEqual([3, 2]);
    expect(counts()).toEqual([1, 1, 3, 2]);
  });

  test("makes no other message: SQS folds by what is reported, not by how often", async () => {
    await repeat(3);
    await fold.send(blockOf(LATER));
    await newFold().send(blockOf(LATER));
    const [, counted, single] = ids();
    expect(single).toBe(counted);
  });

  test("adds up to all that was reported, once each has been followed by one that is sent", async () => {
    const step = fc.record({ afterMs: fc.nat(40_000), severity: fc.integer({ min: 1, max: 3 }) });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
        queue.sent.length = 0;
        fold = newFold();
        let reportedAt = NOW;
        for (const { afterMs, severity } of steps) {
          reportedAt += afterMs;
          await fold.send(blockOf({ reportedAt, severity }));
        }
        await fold.send(blockOf({ reportedAt: reportedAt + 60_000 }));
        const sum = counts().reduce((total: number, count) => total + Number(count), 0);
        expect(sum).toBe(steps.length + 1);
      }),
    );
  });
});

describe("after an unblock", () => {
  test("an equal report is sent again, and SQS does not fold it into the one before", async () => {
    await fold.send(blockOf());
    await fold.sendOrder(unblockOf("unblock-1"));
    await fold.send(blockOf());
    await fold.sendOrder(unblockOf("unblock-2"));
    await fold.send(blockOf());
    expect(queue.sent.map(({ message }) => message.kind)).toEqual([
      "block",
      "unblock",
      "block",
      "unblock",
      "block",
    ]);
    expect(new Set(ids()).size).toBe(5);
  });

  test("the reports of all detectors about the address are new", async () => {
    const reports = [blockOf(), blockOf({ detector: "elastalert" })];
    for (const report of reports) await fold.send(report);
    await fold.sendOrder(unblockOf("unblock-1"));
    queue.sent.length = 0;
    for (const report of reports) await fold.send(report);
    expect(queue.sent.map(({ message }) => message)).toEqual(reports);
  });

  test("repeats of the new report fold again", async () => {
    await fold.sendOrder(unblockOf("unblock-1"));
    await fold.send(blockOf());
    await fold.send(blockOf());
    expect(queue.sent).toHaveLength(2);
  });

  test("an unblock that failed leaves the reports as they were", async () => {
    await fold.send(blockOf());
    queue.failure = queueDown();
    await expect(fold.sendOrder(unblockOf("unblock-1"))).rejects.toThrow();
    queue.failure = undefined;
    await fold.send(blockOf());
    expect(queue.sent).toHaveLength(1);
  });

  test("one that cannot be counted is not sent, and is refused as the queue's refusal is", async () => {
    table.isUnreadable = true;
    await expect(fold.sendOrder(unblockOf("unblock-1"))).rejects.toThrow(QueueUnavailableError);
    expect(queue.sent).toEqual([]);
  });

  test("one that can no longer be counted once it is sent is refused: it must be repeated", async () => {
    const queueThatOutlives = {
      ...queue,
      send: async (message: QueueMessage, id: string, lane: Lane) => {
        await queue.send(message, id, lane);
        table.isUnreadable = true;
      },
    };
    const last = foldOver(unblocks.instance(), queueThatOutlives);
    await expect(last.sendOrder(unblockOf("unblock-1"))).rejects.toThrow(Refusal);
    expect(queue.sent).toHaveLength(1);
  });

  test("unblocks never fold: each is an order of its own", async () => {
    await fold.sendOrder(unblockOf("unblock-1"));
    await fold.sendOrder(unblockOf("unblock-2"));
    expect(new Set(ids()).size).toBe(2);
  });
});

describe("after an undo of the detector's reports", () => {
  const undoOf = (detector: string) => ({
    kind: "undo" as const,
    detector,
    since: NOW - 1_000,
    requestedAt: NOW,
    operator: "night-shift",
    requestId: `undo-${detector}`,
  });

  test("none folds into one from before, neither here nor in SQS", async () => {
    await fold.send(blockOf());
    await fold.sendOrder(undoOf("suricata"));
    await fold.send(blockOf());
    expect(queue.sent.map(({ message }) => message.kind)).toEqual(["block", "undo", "block"]);
    expect(new Set(ids()).size).toBe(3);
  });

  test("the order itself, once it stands, is enough", () => {
    const undone = (detector: string) => ({ ...NO_ORDERS, undos: [undoOf(detector)] });
    const before = deduplicationId(blockOf(), NO_ORDERS);
    expect(deduplicationId(blockOf(), undone("suricata"))).not.toBe(before);
    expect(deduplicationId(blockOf(), undone("elastalert"))).toBe(before);
  });
});

describe("a hold", () => {
  const END = NOW + 20_000;
  const holdOn = (cidr: string, change: Partial<Hold> = {}) =>
    table.holds.set(cidr, {
      cidr: parseCidr(cidr),
      requestedAt: NOW - 60_000,
      until: END / 1000,
      ...change,
    });
  const report = (reportedAt: number) => fold.send(blockOf({ reportedAt }));

  test.each([CIDR, "203.0.113.8/31"])(
    "of %s that ends between two reports keeps them apart, here and in SQS",
    async (held) => {
      holdOn(held);
      await report(END - 1);
      const second = await report(END);
      expect(second.reportedAt).toBe(END);
      expect(new Set(ids()).size).toBe(2);
    },
  );

  test("keeps apart what two functions report", async () => {
    holdOn(CIDR);
    await report(END - 1);
    await newFold().send(blockOf({ reportedAt: END }));
    expect(new Set(ids()).size).toBe(2);
  });

  test("does not keep apart what is reported before its end, nor after it", async () => {
    holdOn(CIDR);
    for (const reportedAt of [END - 2, END - 1, END, END + 1]) await report(reportedAt);
    expect(queue.sent).toHaveLength(2);
  });

  test("of another address does not matter", async () => {
    holdOn("203.0.113.10/32");
    await report(END - 1);
    await report(END);
    expect(queue.sent).toHaveLength(1);
  });

  test("that has ended is part of the id, as long as the book knows it", () => {
    const ended = { cidr: parseCidr(CIDR), requestedAt: NOW - 60_000, until: NOW / 1000 };
    const other = { ...ended, cidr: parseCidr("203.0.113.10") };
    const idAfter = (hold: Hold) => deduplicationId(blockOf(), { ...NO_ORDERS, holds: [hold] });
    const before = deduplicationId(blockOf(), NO_ORDERS);
    expect(idAfter(ended)).not.toBe(before);
    expect(idAfter(other)).toBe(before);
  });

  test("that an operator has lifted keeps apart what is reported before and after", async () => {
    holdOn(CIDR);
    await report(NOW);
    table.holds.clear();
    await unblocks.wait(LEASE_MS);
    await report(NOW + 1_000);
    expect(new Set(ids()).size).toBe(2);
  });

  test("swallows no later report, however holds and reports lie", async () => {
    const step = fc.record({
      afterMs: fc.integer({ min: 1, max: 15_000 }),
      hold: fc.option(fc.integer({ min: 1, max: 40 }), { freq: 4 }),
      by: fc.nat(1),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        queue.sent.length = 0;
        table.holds.clear();
        // A clock of its own: the book forgets holds a minute after their end.
        unblocks = ordersOver(table.orders);
        const folds = [newFold(), newFold()];
        let now = NOW;
        let heldUntil = 0;
        for (const { afterMs, hold, by } of steps) {
          now += afterMs;
          if (hold !== null) {
            heldUntil = Math.max(heldUntil, Math.floor(now / 1000) + hold);
            holdOn(CIDR, { requestedAt: now, until: heldUntil });
            table.unblocksCounted++;
            await unblocks.wait(LEASE_MS);
          }
          const answered = await folds[by]?.send(blockOf({ reportedAt: now }));
          const first = queue.sent.find(
            ({ deduplicationId: id }) => id === queue.sent.at(-1)?.deduplicationId,
          );
          if (now >= heldUntil * 1000) {
            // Neither what it was folded into here, nor what SQS folds it into, fell under a hold.
            expect(answered?.reportedAt).toBeGreaterThanOrEqual(heldUntil * 1000);
            const stored = first?.message;
            const isOwn = queue.sent.at(-1)?.message.requestId === answered?.requestId;
            if (isOwn && stored?.kind === "block") {
              expect(stored.reportedAt).toBeGreaterThanOrEqual(heldUntil * 1000);
            }
          }
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("several functions and one queue that folds by deduplication id", () => {
  /** The kinds of message that SQS would deliver, in order. */
  const delivered = () => {
    const seen = new Set<string>();
    return queue.sent
      .filter(({ deduplicationId: id }) => !seen.has(id) && seen.add(id))
      .map(({ message }) => message);
  };

  test("what was reported last holds, by whichever function, in every order of functions", async () => {
    const step = fc.record({
      by: fc.nat(2),
      what: fc.constantFrom("block" as const, "unblock" as const),
      cidr: fc.constantFrom(CIDR, "203.0.113.10/32"),
      afterMs: fc.integer({ min: 0, max: 20_000 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        queue.sent.length = 0;
        const folds = [newFold(), newFold(), newFold()];
        const wanted = new Map<string, boolean>();
        let now = NOW;
        for (const [index, { by, what, cidr, afterMs }] of steps.entries()) {
          now += afterMs;
          const one = folds[by];
          if (what === "unblock") await one?.sendOrder(unblockOf(`unblock-${index}`, cidr));
          else await one?.send(blockOf({ cidr, reportedAt: now }));
          wanted.set(cidr, what === "block");
        }
        const found = new Map(
          delivered().flatMap((message) =>
            "cidr" in message ? [[message.cidr.text, message.kind === "block"]] : [],
          ),
        );
        expect(found).toEqual(wanted);
        await unblocks.wait(LEASE_MS);
      }),
      { numRuns: 500 },
    );
  });

  test("a block that is queued just before the unblock does not hide the next one", async () => {
    const other = newFold();
    const slowQueue = {
      ...queue,
      send: async (message: QueueMessage, id: string, lane: Lane) => {
        await other.send(blockOf());
        await queue.send(message, id, lane);
      },
    };
    await foldOver(unblocks.instance(), slowQueue).sendOrder(unblockOf("unblock-1"));
    await other.send(blockOf());
    await newFold().send(blockOf());
    expect(delivered().map(({ kind }) => kind)).toEqual(["block", "unblock", "block"]);
  });

  test("a function that cannot read the unblocks folds nothing, and begins anew when it can", async () => {
    const sends = () => queue.sent.length;
    await fold.send(blockOf());
    table.isUnreadable = true;
    await unblocks.wait(LEASE_MS);
    for (const requestId of ["a", "b"]) await fold.send(blockOf({ requestId }));
    await fold.sendAll([blockOf({ requestId: "c" })]);
    expect(sends()).toBe(4);
    expect(new Set(ids()).size).toBe(4);
    table.isUnreadable = false;
    await unblocks.wait(LEASE_MS);
    await fold.send(blockOf());
    expect(sends()).toBe(4);
  });
});

describe("the deduplication id, by which SQS folds across functions", () => {
  /** The beginning of a window of a minute. */
  const START = Math.ceil(NOW / 60_000) * 60_000;
  const id = (change: Parameters<typeof blockOf>[0] = {}) =>
    deduplicationId(blockOf({ reportedAt: START, ...change }), NO_ORDERS);

  test("is equal for equal reports in one window, whatever else differs", () => {
    expect(id({ reportedAt: START + 59_999 })).toBe(id());
    expect(id({ requestId: "other", reason: "other" })).toBe(id());
  });

  test.each([
    ["address", { cidr: "203.0.113.10/32" }],
    ["detector", { detector: "elastalert" }],
    ["severity", { severity: 6 }],
    ["lower severity", { severity: 4 }],
    ["duration", { seconds: 601 }],
    ["window", { reportedAt: START + 60_000 }],
    ["window before", { reportedAt: START - 1 }],
  ])("differs for another %s", (_what, change) => {
    expect(id(change)).not.toBe(id());
  });

  test("differs after an unblock", () => {
    const after = { ...NO_ORDERS, unblocks: 1 };
    expect(deduplicationId(blockOf(), after)).not.toBe(deduplicationId(blockOf(), NO_ORDERS));
  });

  test("is the message's own where the unblocks are not known", () => {
    const ids = ["first", "second"].map((requestId) =>
      deduplicationId(blockOf({ requestId }), undefined),
    );
    expect(ids).toEqual(["first", "second"]);
  });

  test("is one that SQS takes, however long the names", () => {
    expect(id({ detector: "d".repeat(64), reason: "r".repeat(256) })).toMatch(/^[\w-]{1,128}$/);
  });
});

describe("the window", () => {
  test.each([
    [1, 100],
    [6, 600],
    [60, 6_000],
    [600, 60_000],
    [3_600, 60_000],
    [2_592_000, 60_000],
  ])("of a block of %d s is %d ms", (seconds, windowMs) => {
    expect(foldWindowMs(seconds)).toBe(windowMs);
  });

  test("a report that folds always leaves its block nine tenths of its time, or a minute less", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 5_000 }),
        fc.nat(200_000),
        async (seconds, after) => {
          const fresh = newFold();
          const first = await fresh.send(blockOf({ seconds }));
          const answered = await fresh.send(blockOf({ seconds, reportedAt: NOW + after }));
          if (answered === first) {
            const left = first.expiresAt * 1000 - (NOW + after);
            expect(left).toBeGreaterThanOrEqual(Math.max(seconds * 900, seconds * 1000 - 60_000));
          } else {
            expect(after).toBeGreaterThanOrEqual(Math.min(seconds * 100, 60_000));
          }
        },
      ),
    );
  });
});
