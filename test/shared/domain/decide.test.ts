import { describe, expect, test } from "@jest/globals";
import fc, { type Stream } from "fast-check";
import { wantingOf } from "../../../shared/domain/block.ts";
import {
  decide,
  type Known,
  type Message,
  NOTHING_KNOWN,
  obey,
  type Policy,
} from "../../../shared/domain/decide.ts";
import { protect } from "../../../shared/domain/neverBlock.ts";
import { NO_ORDERS } from "../../../shared/domain/orders.ts";
import { type EpochMillis, isExpired } from "../../../shared/domain/time.ts";
import { NOW } from "../../support/reports.ts";
import { blockMessage, callerIn, unblockMessage, withdrawMessage } from "../../support/worker.ts";

const CIDR = "203.0.113.9/32";
const MINUTE = 60_000;
const HOUR = 3_600;
const NOBODY: Policy = {
  escalation: { factor: 1, max: 1 },
  halfLife: MINUTE,
  withdrawalGrace: 60,
  corroboration: { threshold: 0, window: 300 },
  neverBlock: [],
  orders: NO_ORDERS,
};
const TWO: Policy = { ...NOBODY, corroboration: { threshold: 2, window: 300 } };
const PROTECTED: Policy = { ...NOBODY, neverBlock: protect([[CIDR, "office"]]) };
const UNREADABLE: Policy = { ...NOBODY, neverBlock: undefined };

type Change = Parameters<typeof blockMessage>[1];
const report = (at: number, change: Change = {}) =>
  blockMessage(CIDR, { reportedAt: NOW + at, seconds: HOUR, ...change });
const unblock = (at: number, hold = 0) => unblockMessage(CIDR, NOW + at, hold);
const withdraw = (at: number, detector?: string) => withdrawMessage(CIDR, NOW + at, detector);

/** What is known after these messages, each processed at its own moment. */
const after = (messages: readonly Message[], policy: Policy = NOBODY): Known =>
  oneByOne(messages, policy, momentOf).known;

/** Processes the messages one by one; the holds that they make and lift are standing orders then. */
function oneByOne(
  messages: readonly Message[],
  policy: Policy,
  now: (message: Message) => EpochMillis,
) {
  let known = NOTHING_KNOWN;
  let { holds } = policy.orders;
  for (const message of messages) {
    const orders = { ...policy.orders, holds };
    const decided = decide(known, [message], { ...policy, orders }, now(message));
    known = decided.next;
    holds = [...holds.filter((hold) => !decided.lifted.includes(hold)), ...decided.held];
  }
  return { known, holds };
}

/** The policy while detectors' reports of the address are ignored for a minute from `NOW` on. */
const HELD: Policy = {
  ...NOBODY,
  orders: { holds: oneByOne([unblockMessage(CIDR, NOW, 60)], NOBODY, () => NOW).holds, undos: [] },
};
const UNDONE: Policy = {
  ...NOBODY,
  orders: { holds: [], undos: [{ detector: "suricata", since: NOW, requestedAt: NOW + 10 }] },
};
const MOMENTS = { block: "reportedAt", unblock: "requestedAt", withdraw: "withdrawnAt" } as const;
const momentOf = (message: Message): EpochMillis =>
  (message as unknown as Record<string, EpochMillis>)[MOMENTS[message.kind]] as EpochMillis;

const operators = { byOperator: true, detector: "night-shift" };
const ENDED = report(0, { seconds: 60 });

describe("a report that counts nothing", () => {
  const extension = report(10_000, {
    count: 0,
    severity: 1,
    detector: "flow-logs",
    seconds: 2 * HOUR,
  });

  test("extends a block, and changes neither its rank nor its hits", () => {
    const before = after([report(0, { severity: 4 })]);
    const { next, events } = decide(before, [extension], NOBODY, NOW + 10_000);
    expect(events).toMatchObject([{ kind: "extended" }]);
    const { score, severity, hits, strikes, expiresAt = 0 } = before.block ?? {};
    expect(next.block).toMatchObject({ score, severity, hits, strikes });
    expect(next.block?.expiresAt).toBeGreaterThan(expiresAt);
  });

  test.each([
    ["no block", NOTHING_KNOWN, NOBODY],
    ["one that has ended", after([report(0, { seconds: 5 })]), NOBODY],
    ["too few detectors", after([report(0)], TWO), TWO],
  ])("begins none where there is %s, and supports no suspicion", (_what, known, policy) => {
    const { next, events } = decide(known, [extension], policy, NOW + 10_000);
    expect(events).toMatchObject([{ kind: "stale" }]);
    expect(next.suspect).toEqual(known.suspect);
    expect(next.block?.reports ?? {}).not.toHaveProperty("flow-logs");
  });
});

describe("what becomes of a message", () => {
  test.each<[string, Known, Message, Policy, EpochMillis, string]>([
    ["a report of a protected address", NOTHING_KNOWN, report(0), PROTECTED, NOW, "refused"],
    ["and an operator's", NOTHING_KNOWN, report(0, operators), PROTECTED, NOW, "refused"],
    ["and where a block is there", after([report(0)]), report(1), PROTECTED, NOW + 1, "refused"],
    ["one while the list is unknown", NOTHING_KNOWN, report(0), UNREADABLE, NOW, "blocked"],

    ["a report at its end", NOTHING_KNOWN, ENDED, NOBODY, NOW + MINUTE, "stale"],
    ["and just before", NOTHING_KNOWN, ENDED, NOBODY, NOW + MINUTE - 1, "blocked"],
    ["one unblocked since", after([unblock(1)]), report(0), NOBODY, NOW + 1, "stale"],
    ["and an operator's", after([unblock(1)]), report(0, operators), NOBODY, NOW + 1, "stale"],
    ["one of the same moment", after([unblock(0)]), report(0), NOBODY, NOW, "stale"],
    ["one after the unblock", after([unblock(0)]), report(1), NOBODY, NOW + 1, "blocked"],

    ["a report during a hold", NOTHING_KNOWN, report(1), HELD, NOW + 1, "held"],
    ["processed after its end", NOTHING_KNOWN, report(1), HELD, NOW + 2 * MINUTE, "held"],
    ["an operator's", NOTHING_KNOWN, report(1, operators), HELD, NOW + 1, "blocked"],
    ["one at its end", NOTHING_KNOWN, report(MINUTE), HELD, NOW + MINUTE, "blocked"],

    ["a report taken back", NOTHING_KNOWN, report(10), UNDONE, NOW + 10, "undone"],
    ["one made since", NOTHING_KNOWN, report(11), UNDONE, NOW + 11, "blocked"],
    ["another's", NOTHING_KNOWN, report(5, { detector: "falco" }), UNDONE, NOW + 5, "blocked"],

    ["a report of a blocked address", after([report(0)]), report(1), NOBODY, NOW + 1, "extended"],
    ["and without corroboration", after([report(0)]), report(1), TWO, NOW + 1, "extended"],
    ["one once it has ended", after([ENDED]), report(MINUTE), NOBODY, NOW + MINUTE, "blocked"],
    ["and without corroboration", after([ENDED]), report(MINUTE), TWO, NOW + MINUTE, "suspected"],

    ["a report that is not enough", NOTHING_KNOWN, report(0), TWO, NOW, "suspected"],
    ["the same detector's next", after([report(0)], TWO), report(1), TWO, NOW + 1, "suspected"],
    [
      "another detector's",
      after([report(0)], TWO),
      report(1, { detector: "falco" }),
      TWO,
      NOW + 1,
      "blocked",
    ],
    ["an operator's", NOTHING_KNOWN, report(0, operators), TWO, NOW, "blocked"],
    ["a report of an unknown address", NOTHING_KNOWN, report(0), NOBODY, NOW, "blocked"],

    ["an unblock reported since", after([report(1)]), unblock(0), NOBODY, NOW + 1, "stale"],
    ["one of the same moment", after([report(0)]), unblock(0), NOBODY, NOW, "unblocked"],
    ["one unblocked since", after([unblock(1)]), unblock(0), NOBODY, NOW + 1, "stale"],
    ["one of a protected address", after([report(0)]), unblock(1), PROTECTED, NOW, "unblocked"],
    ["one of an unknown address", NOTHING_KNOWN, unblock(0), NOBODY, NOW, "unblocked"],

    ["a withdrawal", after([report(0)]), withdraw(1), NOBODY, NOW + 1, "withdrawn"],
    ["one of the same moment", after([report(0)]), withdraw(0), NOBODY, NOW, "withdrawn"],
    ["one reported since", after([report(1)]), withdraw(0), NOBODY, NOW + 1, "stale"],
    ["another detector's", after([report(0)]), withdraw(1, "falco"), NOBODY, NOW + 1, "stale"],
    ["one of a suspect", after([report(0)], TWO), withdraw(1), TWO, NOW + 1, "withdrawn"],
    ["one of an unknown address", NOTHING_KNOWN, withdraw(0), NOBODY, NOW, "stale"],
    [
      "one once the block has ended",
      after([ENDED]),
      withdraw(MINUTE),
      NOBODY,
      NOW + MINUTE,
      "stale",
    ],
    ["a report withdrawn since", after([withdraw(1)]), report(0), NOBODY, NOW + 1, "stale"],
    ["one after the withdrawal", after([withdraw(0)]), report(1), NOBODY, NOW + 1, "blocked"],
    [
      "and while the block is there",
      after([report(0), withdraw(1)]),
      report(2),
      NOBODY,
      NOW + 2,
      "extended",
    ],
  ])("%s", (_what, known, message, policy, now, expected) => {
    const { next, events } = decide(known, [message], policy, now);
    const { cidr, requestId } = message;
    expect(events).toMatchObject([{ kind: expected, cidr, requestId }]);
    const isIgnored =
      ["refused", "held", "undone"].includes(expected) ||
      (expected === "stale" && message.kind === "block");
    if (isIgnored) expect(next).toEqual(known);
  });
});

describe("what is known then", () => {
  test("of a blocked address is its block, and no suspect any more", () => {
    const reports = [report(0), report(1_000, { detector: "falco" })];
    expect(after(reports, TWO)).toEqual({
      ...NOTHING_KNOWN,
      block: expect.objectContaining({
        reports: { suricata: expect.anything(), falco: expect.anything() },
        hits: 2,
        strikes: 1,
      }),
    });
  });

  test("of an unblocked one is the unblock alone", () => {
    const unblocked = { requestedAt: NOW + 1 };
    for (const policy of [NOBODY, TWO]) {
      expect(after([report(0), unblock(1, 60)], policy)).toEqual({
        ...NOTHING_KNOWN,
        unblock: unblocked,
      });
    }
  });

  test.each<[string, Message[]]>([
    ["another unblock", [unblock(2_000)]],
    ["a report and another unblock", [report(2_000), unblock(0)]],
  ])("of one that %s of the same minute follows is the latest unblock", (_what, messages) => {
    const known = after([unblock(MINUTE + 1_000), ...messages]);
    expect(known.unblock?.requestedAt).toBe(NOW + MINUTE + 1_000);
    expect(decide(known, [report(500)], NOBODY, NOW).next).toEqual(known);
  });

  test("of one that an operator blocks during a hold is that the hold is over", () => {
    const { holds } = oneByOne([unblock(0, 60), report(1, operators)], NOBODY, momentOf);
    expect(holds).toEqual([]);
  });

  test("of one that was unblocked while later reports were there already is what those want", () => {
    const { block } = after([
      report(0, { seconds: 30 * HOUR, severity: 9 }),
      report(2, { detector: "falco", seconds: HOUR, severity: 3 }),
      unblock(1),
    ]);
    expect(block).toMatchObject({
      expiresAt: NOW / 1000 + HOUR,
      severity: 3,
      reports: { falco: {} },
      begunBy: "falco",
      wake: true,
    });
    expect(Object.keys(block?.reports ?? {})).toEqual(["falco"]);
  });

  test("of one that its only detector has withdrawn is a block that ends soon, wanted by nobody", () => {
    const { block } = after([report(0), withdraw(1_000)]);
    expect(block).toMatchObject({ expiresAt: NOW / 1000 + 61, wake: true, begunBy: "suricata" });
    expect(wantingOf(block?.reports ?? {})).toEqual([]);
  });

  test("and one that would have ended before then ends as it would have", () => {
    const { block } = after([report(0, { seconds: 30 }), withdraw(1_000)]);
    expect(block?.expiresAt).toBe(NOW / 1000 + 30);
  });

  test("of one that another detector wants still is what that one wants", () => {
    const { block } = after([
      report(0, { seconds: 30 * HOUR, severity: 9, reason: "worm" }),
      report(2, { detector: "falco", seconds: HOUR, severity: 3, reason: "shell" }),
      withdraw(3),
    ]);
    expect(block).toMatchObject({
      expiresAt: NOW / 1000 + HOUR,
      ...{ severity: 3, reason: "shell", begunBy: "falco", wake: true },
    });
    expect(wantingOf(block?.reports ?? {})).toEqual(["falco"]);
  });

  test("of one that is reported again after the withdrawal never ended: no strike, no gap", () => {
    const { block } = after([report(0), withdraw(1_000), report(9_000, { seconds: 30 })]);
    expect(block).toMatchObject({ expiresAt: NOW / 1000 + 61, strikes: 1 });
    expect(wantingOf(block?.reports ?? {})).toEqual(["suricata"]);
  });

  test("of one that too few want still is a block that ends soon", () => {
    const { block } = after([report(0), report(1, { detector: "falco" }), withdraw(1_000)], TWO);
    expect(block?.expiresAt).toBe(NOW / 1000 + 61);
  });

  test("of a suspect that is withdrawn is nothing", () => {
    const { suspect, block } = after([report(0), withdraw(1)], TWO);
    expect([suspect, block]).toEqual([undefined, undefined]);
  });

  test("of one whose block has ended is the strike, though an unblock comes first", () => {
    const messages = [unblock(MINUTE), report(MINUTE + 1)];
    expect(decide(after([ENDED]), messages, NOBODY, NOW + MINUTE + 1).next.block?.strikes).toBe(2);
  });

  test("wakes the enforcer only for what this very batch did", () => {
    const woken = after([report(0), report(1, { severity: 9 })]);
    expect(woken.block?.wake).toBe(true);
    expect(decide(woken, [report(0, { seconds: 0 })], NOBODY, NOW + 1).next.block?.wake).toBe(
      false,
    );
  });

  test("is as it was where there is no message", () => {
    const known = after([report(0), unblock(1, 60)]);
    expect(decide(known, [], NOBODY, NOW + 2)).toMatchObject({ next: known, events: [] });
  });
});

describe("laws, over random histories", () => {
  test("an address is blocked until the longest of the reports that count since its last unblock", () => {
    fc.assert(
      fc.property(history, fc.nat(5 * MINUTE), (messages, later) => {
        const now = NOW + 10 * MINUTE + later;
        const { next, events } = decide(NOTHING_KNOWN, messages, NOBODY, now);
        const expected = reference(messages, now);
        expect(next.block?.expiresAt).toBe(expected.until);
        expect(events.map(({ kind }) => kind)).toEqual(expected.kinds);
      }),
      { numRuns: 2_000 },
    );
  });

  test("a batch is worth as much as its messages one by one", () => {
    fc.assert(
      fc.property(history, policies, fc.nat(5 * MINUTE), (messages, policy, later) => {
        const now = NOW + later;
        const batch = decide(NOTHING_KNOWN, messages, policy, now);
        const { known } = oneByOne(messages, policy, () => now);
        expect(withoutWake(batch.next)).toEqual(withoutWake(known));
      }),
    );
  });

  test("messages that are delivered again change nothing", () => {
    fc.assert(
      fc.property(closeHistory, fc.nat(MINUTE), (messages, later) => {
        const now = NOW + MINUTE + later;
        const once = oneByOne(messages, NOBODY, () => now);
        const orders = { ...NOBODY.orders, holds: once.holds };
        const twice = decide(once.known, messages, { ...NOBODY, orders }, now).next;
        expect(withoutCounts(twice)).toEqual(withoutCounts(once.known));
      }),
      { numRuns: 2_000 },
    );
  });

  test("and what is withdrawn stays withdrawn", () => {
    fc.assert(
      fc.property(withdrawingHistory, fc.nat(MINUTE), (messages, later) => {
        const now = NOW + MINUTE + later;
        const once = oneByOne(messages, NOBODY, () => now);
        const orders = { ...NOBODY.orders, holds: once.holds };
        const twice = decide(once.known, messages, { ...NOBODY, orders }, now).next;
        expect(wantedBy(twice, now)).toEqual(wantedBy(once.known, now));
      }),
      { numRuns: 2_000 },
    );
  });

  test("nor do they block or unblock anything where corroboration left some out", () => {
    fc.assert(
      fc.property(closeHistory, fc.nat(MINUTE), (messages, later) => {
        const now = NOW + MINUTE + later;
        const once = oneByOne(messages, TWO, () => now);
        const orders = { ...TWO.orders, holds: once.holds };
        const twice = decide(once.known, messages, { ...TWO, orders }, now).next;
        expect(twice.unblock).toEqual(once.known.unblock);
        expect(twice.block?.strikes).toBe(once.known.block?.strikes);
        const endsAt = once.known.block?.expiresAt ?? 0;
        expect(twice.block?.expiresAt ?? 0).toBeGreaterThanOrEqual(endsAt);
      }),
      { numRuns: 2_000 },
    );
  });

  test("reports from before an unblock never block again, with replayed unblocks between them", () => {
    fc.assert(
      fc.property(
        history,
        fc.array(anyMessage(5 * MINUTE - 1), { maxLength: 8 }),
        policies,
        (past, replayed, policy) => {
          const latest = unblock(5 * MINUTE);
          const now = NOW + 5 * MINUTE;
          const known = decide(NOTHING_KNOWN, [...past, latest], policy, now).next;
          const { next, events } = decide(known, replayed, policy, now);
          expect({ ...next, withdrawals: known.withdrawals }).toEqual(known);
          for (const { kind } of events) expect(kind).toBe("stale");
        },
      ),
    );
  });

  test("whichever lane is faster, the same callers want the block in the end", () => {
    fc.assert(
      fc.property(laneHistory, fc.infiniteStream(fc.nat(2)), (messages, choices) => {
        const now = NOW + 5 * MINUTE;
        const inTime = oneByOne(messages, NOBODY, () => now).known;
        const shuffled = oneByOne(interleaved(messages, choices), NOBODY, () => now).known;
        expect(wantedBy(shuffled)).toEqual(wantedBy(inTime));
        expect(shuffled.unblock).toEqual(inTime.unblock);
      }),
      { numRuns: 10_000 },
    );
  });

  test("and each obeys what the other ordered, once it looks", () => {
    fc.assert(
      fc.property(laneHistory, (messages) => {
        const now = NOW + 5 * MINUTE;
        const inTime = oneByOne(messages, NOBODY, () => now);
        // The detectors' lane knows nothing of the operators', as if both had read at once.
        const reports = messages.filter(({ kind }) => kind !== "unblock");
        const unaware = oneByOne(reports, NOBODY, () => now).known;
        const orders = { ...NOBODY.orders, holds: inTime.holds };
        const known = { ...unaware, unblock: inTime.known.unblock };
        const obeyed = obey(known, { ...NOBODY, orders });
        expect(wantedBy(obeyed)).toEqual(wantedBy(inTime.known));
        expect(obey(obeyed, { ...NOBODY, orders })).toBe(obeyed);
      }),
      { numRuns: 2_000 },
    );
  });

  test("a protected address is never blocked", () => {
    fc.assert(
      fc.property(history, (messages) => {
        expect(decide(NOTHING_KNOWN, messages, PROTECTED, NOW).next.block).toBeUndefined();
      }),
    );
  });
});

/** The table in few lines, for an address with nobody's corroboration nor never-block list. */
function reference(messages: readonly Message[], now: EpochMillis) {
  type Own = { until: number; seenAt: number; byOperator: boolean; isWithdrawn?: boolean };
  const wanted = new Map<string, Own>();
  const withdrawnAts = new Map<string, number>();
  const isLive = () => [...wanted.values()].some(({ until }) => until * 1000 > now);
  let unblockedAt = Number.NEGATIVE_INFINITY;
  let hold = { requestedAt: 0, until: 0 };
  const kinds = messages.map((message) => {
    if (message.kind === "unblock") {
      const { requestedAt, holdUntil } = message;
      if (requestedAt < unblockedAt) return "stale";
      unblockedAt = requestedAt;
      if (requestedAt > hold.requestedAt) hold = { requestedAt, until: 0 };
      hold = { requestedAt, until: Math.max(hold.until, holdUntil) };
      const before = isLive() ? wanted.size : 0;
      for (const [name, { seenAt, byOperator }] of wanted) {
        const isHeld = !byOperator && seenAt < hold.until * 1000;
        if (seenAt <= unblockedAt || isHeld) wanted.delete(name);
      }
      return before > 0 && wanted.size === before ? "stale" : "unblocked";
    }
    if (message.kind === "withdraw") {
      const { detector, withdrawnAt } = message;
      withdrawnAts.set(detector, Math.max(withdrawnAt, withdrawnAts.get(detector) ?? 0));
      const own = wanted.get(detector);
      if (!isLive() || !own || own.isWithdrawn || own.seenAt > withdrawnAt) return "stale";
      own.until = Math.min(own.until, Math.floor(withdrawnAt / 1000) + 60);
      own.isWithdrawn = true;
      return "withdrawn";
    }
    const { reportedAt, expiresAt, byOperator, detector } = message;
    if (byOperator && expiresAt * 1000 > now && reportedAt > hold.requestedAt) {
      hold = { requestedAt: 0, until: 0 };
    }
    const takenBackAt = Math.max(unblockedAt, withdrawnAts.get(detector) ?? 0);
    if (expiresAt * 1000 <= now || reportedAt <= takenBackAt) return "stale";
    if (reportedAt < hold.until * 1000 && !byOperator) return "held";
    const kind = isLive() ? "extended" : "blocked";
    if (kind === "blocked") wanted.clear();
    const own = wanted.get(detector) ?? { until: 0, seenAt: 0 };
    const until = Math.max(own.until, expiresAt);
    const isLater = reportedAt >= own.seenAt;
    const latest = isLater || !("byOperator" in own) ? byOperator : own.byOperator;
    const seenAt = Math.max(own.seenAt, reportedAt);
    wanted.set(detector, { until, seenAt, byOperator: latest as boolean });
    return kind;
  });
  const ends = [...wanted.values()].map(({ until }) => until);
  return { until: ends.length > 0 ? Math.max(...ends) : undefined, kinds };
}

const reportWithin = (span: number): fc.Arbitrary<Message> =>
  fc
    .record({
      at: fc.nat(span),
      seconds: fc.integer({ min: 1, max: 1_800 }),
      severity: fc.integer({ min: 1, max: 10 }),
      ...{ detector: fc.constantFrom("suricata", "falco", "night-shift") },
      count: fc.integer({ min: 1, max: 5 }),
    })
    .map(({ at, ...change }) => {
      const byOperator = change.detector === "night-shift";
      return report(at, { ...change, byOperator, requestId: `report-${at}` });
    });

const anyMessage = (span: number): fc.Arbitrary<Message> =>
  fc.oneof(
    { weight: 4, arbitrary: reportOrUnblock(span) },
    fc
      .record({ at: fc.nat(span), detector: fc.constantFrom("suricata", "falco") })
      .map(({ at, detector }) => withdraw(at, detector)),
  );

const reportOrUnblock = (span: number): fc.Arbitrary<Message> =>
  fc.oneof(
    { weight: 3, arbitrary: reportWithin(span) },
    fc
      .record({
        at: fc.nat(span),
        hold: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 900 })),
      })
      .map(({ at, hold }) => unblock(at, hold)),
  );

/** Messages in any order, as clocks differ and replays happen; and messages of one minute, in order. */
const history = fc.array(anyMessage(4 * MINUTE), { maxLength: 12 });
const inOrder = (messages: readonly Message[]) =>
  messages.toSorted((a, b) => momentOf(a) - momentOf(b));
const closeHistory = fc.array(reportOrUnblock(MINUTE), { maxLength: 12 }).map(inOrder);
const withdrawingHistory = fc.array(anyMessage(MINUTE), { maxLength: 12 }).map(inOrder);
const policies = fc.constantFrom(NOBODY, TWO, UNREADABLE);

/** Messages of lanes, in the order of their distinct moments. None ends before all are processed. */
const laneHistory = fc
  .uniqueArray(
    fc.record({
      at: fc.nat(4 * MINUTE),
      lane: fc.constantFrom("suricata", "falco", "night-shift"),
      hold: fc.option(fc.integer({ min: 1, max: 900 }), { nil: 0 }),
      isWithdrawn: fc.boolean(),
    }),
    { selector: ({ at }) => at, maxLength: 10 },
  )
  .map((steps) => {
    let heldUntil = 0;
    return steps
      .toSorted((a, b) => a.at - b.at)
      .map(({ at, lane, hold, isWithdrawn }) => {
        if (lane !== "night-shift" && isWithdrawn) return withdraw(at, lane);
        if (lane !== "night-shift") {
          return report(at, { detector: lane, requestId: `report-${at}` });
        }
        // No hold ends sooner than an earlier one: a report that was ignored stays ignored.
        const order = unblock(at, Math.max(hold, heldUntil - Math.floor(at / 1000)));
        heldUntil = Math.max(heldUntil, order.holdUntil - NOW / 1000);
        return order;
      });
  });

/** The lanes' messages in another order, each lane's in its own. */
function interleaved(messages: readonly Message[], choices: Stream<number>): Message[] {
  const lanes = Map.groupBy(messages, callerIn);
  const queues = [...lanes.values()].map((lane) => [...lane]);
  const shuffled: Message[] = [];
  while (shuffled.length < messages.length) {
    const left = queues.filter((queue) => queue.length > 0);
    const [choice = 0] = choices.take(1);
    shuffled.push((left[choice % left.length] as Message[]).shift() as Message);
  }
  return shuffled;
}

/** Who wants the block while it lasts, and until when each does. */
const wantedBy = ({ block }: Known, now = NOW + 5 * MINUTE) =>
  block && !isExpired(block, now)
    ? wantingOf(block.reports)
        .toSorted()
        .map((name) => [name, block.reports[name]?.expiresAt])
    : [];

const withoutWake = ({ block, ...known }: Known) => ({
  ...known,
  block: block && { ...block, wake: false },
});

/** A report of the same moment as the one before may count once more. */
function withoutCounts({ block, ...known }: Known) {
  const { score, hits, wake, ...rest } = block ?? {};
  return { ...known, block: rest };
}
