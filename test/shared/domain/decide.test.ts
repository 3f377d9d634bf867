import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import {
  decide,
  type Known,
  type Message,
  NOTHING_KNOWN,
  type Policy,
} from "../../../shared/domain/decide.ts";
import { protect } from "../../../shared/domain/neverBlock.ts";
import type { EpochMillis } from "../../../shared/domain/time.ts";
import { NOW } from "../../support/reports.ts";
import { blockMessage, unblockMessage } from "../../support/worker.ts";

const CIDR = "203.0.113.9/32";
const MINUTE = 60_000;
const HOUR = 3_600;
const NOBODY: Policy = {
  escalation: { factor: 1, max: 1 },
  halfLife: MINUTE,
  corroboration: { threshold: 0, window: 300 },
  neverBlock: [],
};
const TWO: Policy = { ...NOBODY, corroboration: { threshold: 2, window: 300 } };
const PROTECTED: Policy = { ...NOBODY, neverBlock: protect([[CIDR, "office"]]) };
const UNREADABLE: Policy = { ...NOBODY, neverBlock: undefined };

type Change = Parameters<typeof blockMessage>[1];
const report = (at: number, change: Change = {}) =>
  blockMessage(CIDR, { reportedAt: NOW + at, seconds: HOUR, ...change });
const unblock = (at: number, hold = 0) => unblockMessage(CIDR, NOW + at, hold);

/** What is known after these messages, each processed at its own moment, or the first given one. */
function after(messages: readonly Message[], policy: Policy = NOBODY): Known {
  return messages.reduce<Known>(
    (known, message) => decide(known, [message], policy, momentOf(message)).next,
    NOTHING_KNOWN,
  );
}
const momentOf = (message: Message): EpochMillis =>
  message.kind === "block" ? message.reportedAt : message.requestedAt;

const operators = { byOperator: true, detector: "night-shift" };
const ENDED = report(0, { seconds: 60 });

describe("what becomes of a message", () => {
  test.each<[string, Known, Message, Policy, EpochMillis, string]>([
    ["a report of a protected address", NOTHING_KNOWN, report(0), PROTECTED, NOW, "refused"],
    ["and an operator's", NOTHING_KNOWN, report(0, operators), PROTECTED, NOW, "refused"],
    ["and where a block is there", after([report(0)]), report(1), PROTECTED, NOW + 1, "refused"],
    ["one while the list is unknown", NOTHING_KNOWN, report(0), UNREADABLE, NOW, "blocked"],

    ["a report at its end", NOTHING_KNOWN, ENDED, NOBODY, NOW + MINUTE, "stale"],
    ["and just before", NOTHING_KNOWN, ENDED, NOBODY, NOW + MINUTE - 1, "blocked"],
    ["one unblocked since", after([unblock(MINUTE + 1)]), report(0), NOBODY, NOW, "stale"],
    ["and an operator's", after([unblock(MINUTE + 1)]), report(0, operators), NOBODY, NOW, "stale"],
    ["one unblocked within a minute", after([unblock(MINUTE)]), report(0), NOBODY, NOW, "blocked"],

    ["a report during a hold", after([unblock(0, 60)]), report(1), NOBODY, NOW + 1, "held"],
    ["an operator's", after([unblock(0, 60)]), report(1, operators), NOBODY, NOW + 1, "blocked"],
    ["one at its end", after([unblock(0, 60)]), report(0), NOBODY, NOW + MINUTE, "blocked"],

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

    ["an unblock reported since", after([report(MINUTE + 1)]), unblock(0), NOBODY, NOW, "stale"],
    ["one within a minute", after([report(MINUTE)]), unblock(0), NOBODY, NOW, "unblocked"],
    ["one unblocked since", after([unblock(MINUTE + 1)]), unblock(0), NOBODY, NOW, "stale"],
    ["one of a protected address", after([report(0)]), unblock(1), PROTECTED, NOW, "unblocked"],
    ["one of an unknown address", NOTHING_KNOWN, unblock(0), NOBODY, NOW, "unblocked"],
  ])("%s", (_what, known, message, policy, now, expected) => {
    const { next, events } = decide(known, [message], policy, now);
    const { cidr, requestId } = message;
    expect(events).toMatchObject([{ kind: expected, cidr, requestId }]);
    if (["refused", "stale", "held"].includes(expected)) expect(next).toEqual(known);
  });
});

describe("what is known then", () => {
  test("of a blocked address is its block, and no suspect any more", () => {
    const reports = [report(0), report(1_000, { detector: "falco" })];
    expect(after(reports, TWO)).toEqual({
      ...NOTHING_KNOWN,
      block: expect.objectContaining({ detectors: ["suricata", "falco"], hits: 2, strikes: 1 }),
    });
  });

  test("of an unblocked one is the unblock alone", () => {
    const unblocked = { requestedAt: NOW + 1, holdUntil: NOW / 1000 + 60 };
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
    const known = after([unblock(0, 60), report(1, operators)]);
    expect(known.unblock).toEqual({ requestedAt: NOW, holdUntil: 0 });
  });

  test("of one whose block has ended is the strike, though an unblock comes first", () => {
    const messages = [unblock(MINUTE), report(MINUTE)];
    expect(decide(after([ENDED]), messages, NOBODY, NOW + MINUTE).next.block?.strikes).toBe(2);
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
    expect(decide(known, [], NOBODY, NOW + 2)).toEqual({ next: known, events: [] });
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
        expect(next.block?.hits ?? 0).toBe(expected.hits);
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
        const oneByOne = messages.reduce(
          (known, message) => decide(known, [message], policy, now).next,
          NOTHING_KNOWN,
        );
        expect(withoutWake(batch.next)).toEqual(withoutWake(oneByOne));
      }),
    );
  });

  test("redelivered messages change nothing but the counts and the score", () => {
    fc.assert(
      fc.property(closeHistory, fc.nat(MINUTE), (messages, later) => {
        const now = NOW + MINUTE + later;
        const once = decide(NOTHING_KNOWN, messages, NOBODY, now).next;
        const twice = decide(once, messages, NOBODY, now).next;
        expect(withoutCounts(twice)).toEqual(withoutCounts(once));
      }),
      { numRuns: 2_000 },
    );
  });

  test("redelivered messages block and unblock nothing, where corroboration left some out as well", () => {
    fc.assert(
      fc.property(closeHistory, fc.nat(MINUTE), (messages, later) => {
        const now = NOW + MINUTE + later;
        const once = decide(NOTHING_KNOWN, messages, TWO, now).next;
        const twice = decide(once, messages, TWO, now).next;
        expect(twice.unblock).toEqual(once.unblock);
        expect(twice.block?.strikes).toBe(once.block?.strikes);
        expect(twice.block?.expiresAt ?? 0).toBeGreaterThanOrEqual(once.block?.expiresAt ?? 0);
      }),
      { numRuns: 2_000 },
    );
  });

  test("reports from more than a minute before an unblock never block again", () => {
    fc.assert(
      fc.property(
        history,
        fc.array(staleReport, { maxLength: 5 }),
        policies,
        (past, stale, policy) => {
          const latest = unblock(5 * MINUTE);
          const known = decide(NOTHING_KNOWN, [...past, latest], policy, NOW + 5 * MINUTE).next;
          const { next, events } = decide(known, stale, policy, NOW + 5 * MINUTE);
          expect(next.block).toBeUndefined();
          expect(next).toEqual(known);
          for (const { kind } of events) expect(kind).toBe("stale");
        },
      ),
    );
  });

  test("nor with replayed unblocks between them, in whatever order", () => {
    fc.assert(
      fc.property(
        history,
        fc.array(anyMessage(4 * MINUTE - 1), { maxLength: 8 }),
        (past, replayed) => {
          const latest = unblock(5 * MINUTE);
          const now = NOW + 5 * MINUTE;
          const known = decide(NOTHING_KNOWN, [...past, latest], NOBODY, now).next;
          expect(decide(known, replayed, NOBODY, now).next).toEqual(known);
        },
      ),
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
  let until: number | undefined;
  let hits = 0;
  let seenAt = Number.NEGATIVE_INFINITY;
  let unblockedAt = Number.NEGATIVE_INFINITY;
  let holdUntil = 0;
  const kinds = messages.map((message) => {
    if (message.kind === "unblock") {
      const { requestedAt } = message;
      if (requestedAt + MINUTE < (until === undefined ? unblockedAt : seenAt)) return "stale";
      [until, hits, seenAt] = [undefined, 0, Number.NEGATIVE_INFINITY];
      unblockedAt = Math.max(unblockedAt, requestedAt);
      holdUntil = message.holdUntil;
      return "unblocked";
    }
    const { reportedAt, expiresAt, count, byOperator } = message;
    if (expiresAt * 1000 <= now || reportedAt + MINUTE < unblockedAt) return "stale";
    if (holdUntil * 1000 > now && !byOperator) return "held";
    holdUntil = 0;
    const kind = until === undefined ? "blocked" : "extended";
    until = Math.max(until ?? 0, expiresAt);
    hits += count;
    seenAt = Math.max(seenAt, reportedAt);
    return kind;
  });
  return { until, hits, kinds };
}

const reportWithin = (span: number): fc.Arbitrary<Message> =>
  fc
    .record({
      at: fc.nat(span),
      seconds: fc.integer({ min: 1, max: 1_800 }),
      severity: fc.integer({ min: 1, max: 10 }),
      detector: fc.constantFrom("suricata", "falco"),
      byOperator: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, fc.constant(true)),
      count: fc.integer({ min: 1, max: 5 }),
    })
    .map(({ at, ...change }) => report(at, { ...change, requestId: `report-${at}` }));

const anyMessage = (span: number): fc.Arbitrary<Message> =>
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
const closeHistory = fc
  .array(anyMessage(MINUTE), { maxLength: 12 })
  .map((messages) => messages.toSorted((a, b) => momentOf(a) - momentOf(b)));
const staleReport = reportWithin(4 * MINUTE - 1);
const policies = fc.constantFrom(NOBODY, TWO, UNREADABLE);

const withoutWake = ({ block, ...known }: Known) => ({
  ...known,
  block: block && { ...block, wake: false },
});
function withoutCounts({ block, ...known }: Known) {
  const { score, hits, wake, ...rest } = block ?? {};
  return { ...known, block: rest };
}
