import { beforeEach, describe, expect, test } from "@jest/globals";
import type { UndoMessage } from "../../../shared/aws/queue.ts";
import { NOW } from "../../support/reports.ts";
import { blockMessage, startWorker, wireOf } from "../../support/worker.ts";

const MINUTE = 60_000;
const address = (n: number) => `203.0.${Math.floor(n / 250)}.${n % 250}/32`;
const [A, B, C] = [address(1), address(2), address(3)];

let worker: ReturnType<typeof startWorker>;
beforeEach(() => {
  worker = startWorker();
});

const undo = (since = NOW, requestedAt = NOW + MINUTE): UndoMessage => ({
  kind: "undo",
  detector: "stolen",
  since,
  requestedAt,
  operator: "night-shift",
  requestId: "undo-1",
});
const report = (cidr: string, at = 0, detector = "stolen") =>
  blockMessage(cidr, { detector, reportedAt: NOW + at, seconds: 3_600 });

/** Processes the undo, and whatever it sends to itself, as often as the queue delivers. */
async function undone(message = undo(), now = message.requestedAt): Promise<number> {
  let deliveries = 0;
  let next: object | undefined = message;
  while (next) {
    deliveries++;
    expect(await worker.process([next], now)).toEqual([]);
    next = worker.sent.shift();
  }
  return deliveries;
}

describe("taking back what a detector reported", () => {
  test("ends the blocks that nobody else wants, and leaves the others' alone", async () => {
    await worker.process([report(A), report(B), report(B, 0, "falco"), report(C, 0, "falco")]);
    await undone();
    expect(worker.blocked()).toEqual([B, C]);
    expect(Object.keys(worker.table.blockItems.get(B)?.reports ?? {})).toEqual(["falco"]);
    expect(worker.table.blockItems.get(B)?.wake).toBe(true);
  });

  test("leaves what it reported before, and counts what it reports later", async () => {
    await worker.process([report(A)]);
    await undone(undo(NOW + 1));
    expect(worker.blocked()).toEqual([A]);
    await worker.process([report(B, MINUTE + 1)], NOW + MINUTE + 1);
    expect(worker.blocked()).toEqual([A, B]);
  });

  test("drops what is still in the queue", async () => {
    await undone();
    await worker.process([report(A, MINUTE - 1)], NOW + 2 * MINUTE);
    expect(worker.blocked()).toEqual([]);
  });

  test("goes through the whole list, a page at a time", async () => {
    const all = Array.from({ length: 450 }, (_, n) => address(n));
    for (let start = 0; start < all.length; start += 10)
      await worker.process(all.slice(start, start + 10).map((cidr) => report(cidr)));
    expect(worker.blocked()).toHaveLength(450);
    expect(await undone()).toBe(3);
    expect(worker.blocked()).toEqual([]);
    expect((await worker.table.outstanding.read("stolen", NOW)).own).toBe(0);
  });

  test("may be delivered again, and goes on where it was", async () => {
    await worker.process([report(A), report(B)]);
    await undone();
    await undone();
    expect(worker.blocked()).toEqual([]);
  });

  test("is handed back while the table is down, and then does its work", async () => {
    await worker.process([report(A)]);
    worker.table.isUnreadable = true;
    expect(await worker.process([undo()], NOW + MINUTE)).toEqual(["0"]);
    worker.table.isUnreadable = false;
    await undone();
    expect(worker.blocked()).toEqual([]);
  });

  test("keeps no other message of its batch from its own work", async () => {
    await worker.process([report(A)]);
    const batch = [undo(), wireOf(report(C, MINUTE, "falco"))];
    expect(await worker.process(batch, NOW + MINUTE)).toEqual([]);
    expect(worker.blocked()).toEqual([C]);
  });
});
