import { DynamoDBServiceException, InternalServerError } from "@aws-sdk/client-dynamodb";
import { beforeEach, describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { ConflictError } from "../../../shared/aws/table/items.ts";
import { protect } from "../../../shared/domain/neverBlock.ts";
import { NOW } from "../../support/reports.ts";
import {
  blockMessage as block,
  POLICY,
  recordsOf,
  startWorker,
  unblockMessage as unblock,
  wireOf,
} from "../../support/worker.ts";

const [A, B, C] = ["203.0.113.1/32", "203.0.113.2/32", "203.0.113.3/32"] as const;

let worker: ReturnType<typeof startWorker>;
beforeEach(() => {
  worker = startWorker();
});
const work = (messages: readonly (object | string)[], now?: number) =>
  worker.process(messages, now);

describe("a batch", () => {
  test("becomes one write per address, whatever the number of its messages", async () => {
    const batch = [
      block(A),
      block(B),
      block(A, { severity: 9 }),
      block(A, { seconds: 600, detector: "elastalert" }),
      block(B),
    ];
    expect(await work(batch)).toEqual([]);
    expect(worker.table.writes).toEqual([
      { kind: "write", cidr: A },
      { kind: "write", cidr: B },
    ]);
    expect(worker.table.blockItems.get(A)).toMatchObject({
      expiresAt: NOW / 1000 + 600,
      severity: 9,
      hits: 3,
      reports: { suricata: expect.anything(), elastalert: expect.anything() },
    });
    expect(worker.table.blockItems.get(B)).toMatchObject({ hits: 2, severity: 5 });
  });

  test("extends what is there, and never shortens it", async () => {
    await work([block(A, { seconds: 600 })]);
    await work([block(A, { seconds: 60 })]);
    expect(worker.table.blockItems.get(A)?.expiresAt).toBe(NOW / 1000 + 600);
    await work([block(A, { seconds: 900 })]);
    expect(worker.table.blockItems.get(A)?.expiresAt).toBe(NOW / 1000 + 900);
  });

  test("that nobody sent is nothing to do", async () => {
    expect(await work([])).toEqual([]);
    expect(worker.table.writes).toEqual([]);
  });

  test("of reports whose time is over writes nothing, whether the address is blocked or not", async () => {
    await work([block(A, { seconds: 600 })]);
    worker.table.writes.length = 0;
    expect(await work([block(A), block(B)], NOW + 60_000)).toEqual([]);
    expect(worker.table.writes).toEqual([]);
  });

  test("counts the strikes that the table remembers, and escalates by them", async () => {
    worker.policy = { ...worker.policy, escalation: { factor: 2, max: 1_000 } };
    worker.table.strikes.set(A, 2);
    await work([block(A, { seconds: 60 })]);
    expect(worker.table.blockItems.get(A)).toMatchObject({
      strikes: 3,
      expiresAt: NOW / 1000 + 240,
    });
  });

  test("adds one strike for a new block, however many reports it begins with", async () => {
    await work([block(A)]);
    const later = { reportedAt: NOW + 60_000 };
    await work([block(A, later), block(A, later), block(A, later)], NOW + 60_000);
    expect(worker.table.blockItems.get(A)).toMatchObject({ strikes: 2, hits: 3 });
  });

  test("carries the mark that wakes the enforcer for this one write only", async () => {
    await work([block(A)]);
    await work([block(A, { severity: 9 }), block(A)]);
    expect(worker.table.blockItems.get(A)?.wake).toBe(true);
    const weightless = block(A, { reportedAt: NOW - 100 * POLICY.halfLife, seconds: 10_000 });
    await work([weightless]);
    expect(worker.table.blockItems.get(A)?.wake).toBe(false);
  });

  test("delivered again changes neither expiry, severity nor strikes", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyReport, { minLength: 1, maxLength: 10 }), async (batch) => {
        worker = startWorker();
        const outcome = () =>
          [...worker.table.blockItems.values()].map(({ cidr, expiresAt, severity, strikes }) => {
            return { cidr, expiresAt, severity, strikes };
          });
        await work(batch);
        const once = outcome();
        await work(batch);
        expect(outcome()).toEqual(once);
      }),
    );
  });
});

describe("an unblock", () => {
  test("removes the block", async () => {
    await work([block(A), block(B)]);
    expect(await work([unblock(A)])).toEqual([]);
    expect(worker.blocked()).toEqual([B]);
  });

  test("of an address that is not blocked is nothing to do", async () => {
    expect(await work([unblock(A)])).toEqual([]);
    expect(worker.table.writes).toEqual([]);
  });

  test("after the block, in one batch, leaves nothing to write", async () => {
    await work([block(A), unblock(A)]);
    expect(worker.table.writes).toEqual([]);
  });

  test("before a new block, in one batch, leaves the new block alone", async () => {
    await work([block(A, { seconds: 600, severity: 9 })]);
    await work([unblock(A), block(A, { reportedAt: NOW + 1, seconds: 60 })], NOW + 1);
    expect(worker.table.blockItems.get(A)).toMatchObject({
      expiresAt: NOW / 1000 + 60,
      severity: 5,
      firstSeenAt: NOW + 1,
      hits: 1,
    });
  });

  test("is no strike", async () => {
    await work([block(A)]);
    await work([unblock(A), block(A, { reportedAt: NOW + 1 })], NOW + 1);
    expect(worker.table.blockItems.get(A)?.strikes).toBe(1);
  });

  test("delivered again, with the block that follows it, ends as it did", async () => {
    await work([block(A, { seconds: 600 })]);
    const batch = [unblock(A), block(A, { reportedAt: NOW + 1 })];
    await work(batch, NOW + 1);
    const once = worker.table.blockItems.get(A);
    await work(batch, NOW + 1);
    expect(worker.table.blockItems.get(A)).toEqual(once);
  });
});

describe("a message that can never succeed", () => {
  const valid = wireOf(block(C));
  const without = (name: string) =>
    Object.fromEntries(Object.entries(valid).filter(([key]) => key !== name));

  test.each<[string, string | object, string]>([
    ["no JSON", "{", "invalid_json"],
    ["empty", "", "invalid_json"],
    ["null", "null", "invalid_message"],
    ["an array", "[]", "invalid_message"],
    ["of no kind", without("kind"), "invalid_message"],
    ["of an unknown kind", { ...valid, kind: "ban" }, "invalid_message"],
    ["without an address", without("cidr"), "invalid_message"],
    ["with an address that is none", { ...valid, cidr: "nonsense" }, "invalid_message"],
    ["with a bare address", { ...valid, cidr: "203.0.113.9" }, "invalid_message"],
    ["with host bits", { ...valid, cidr: "203.0.113.9/24" }, "invalid_message"],
    ["with an address in capitals", { ...valid, cidr: "2001:DB8::/64" }, "invalid_message"],
    ["with an over-long address", { ...valid, cidr: "2".repeat(1_000) }, "invalid_message"],
    ["with too wide a range", { ...valid, cidr: "203.0.0.0/15" }, "invalid_message"],
    ["with too wide a range of IPv6", block("2001:db8::/31"), "invalid_message"],
    ["that stands for fewer reports than none", { ...valid, count: -1 }, "invalid_message"],
    ["that stands for half a report", { ...valid, count: 1.5 }, "invalid_message"],
    ["that stands for too many reports", { ...valid, count: 1_001 }, "invalid_message"],
    ["without an expiry", without("expiresAt"), "invalid_message"],
    ["with a fractional expiry", { ...valid, expiresAt: 1.5 }, "invalid_message"],
    ["with an expiry in milliseconds", { ...valid, expiresAt: NOW }, "invalid_message"],
    ["with a negative moment", { ...valid, reportedAt: -1 }, "invalid_message"],
    ["with an expiry as text", { ...valid, expiresAt: "1800000060" }, "invalid_message"],
    ["with a severity of 0", { ...valid, severity: 0 }, "invalid_message"],
    ["with a severity of 11", { ...valid, severity: 11 }, "invalid_message"],
    ["with an over-long reason", { ...valid, reason: "x".repeat(257) }, "invalid_message"],
    ["with an over-long detector", { ...valid, detector: "x".repeat(129) }, "invalid_message"],
    ["without a detector", { ...valid, detector: "" }, "invalid_message"],
    ["an unblock of nothing", { ...wireOf(unblock(C)), cidr: undefined }, "invalid_message"],
    [
      "an unblock with a hold in milliseconds",
      { ...wireOf(unblock(C)), holdUntil: NOW },
      "invalid_message",
    ],
    ["an unblock by nobody", { ...wireOf(unblock(C)), operator: undefined }, "invalid_message"],
  ])(
    "%s, goes to the dead-letter queue at once, and the rest goes on",
    async (_what, poison, reason) => {
      expect(await work([block(A), poison, block(B)])).toEqual([]);
      expect(worker.deadLettered).toEqual([
        {
          messageId: "1",
          group: "the-list",
          body: recordsOf([poison])[0]?.body,
          reason,
          detail: expect.stringMatching(/./),
        },
      ]);
      expect(worker.blocked()).toEqual([A, B]);
    },
  );

  test("does not touch the table where a batch has no other", async () => {
    worker.table.isUnreadable = true;
    expect(await work(["{", "}"])).toEqual([]);
    expect(worker.deadLettered.map(({ messageId }) => messageId)).toEqual(["0", "1"]);
  });

  test("is handed back, with everything after it, while the dead-letter queue is down", async () => {
    worker.deadLetters = {
      async put() {
        throw new Error("The dead-letter queue is down.");
      },
    };
    expect(await work([block(A), "{", block(B)])).toEqual(["1", "2"]);
    expect(worker.table.blockItems.has(A)).toBe(true);
  });
});

describe("a stale message", () => {
  test("a block is worth nothing once its time is over, and what is left of it before", async () => {
    const replayed = block(A, { seconds: 600 });
    expect(await work([replayed], NOW + 599_000)).toEqual([]);
    expect(worker.table.blockItems.get(A)?.expiresAt).toBe(replayed.expiresAt);
    worker = startWorker();
    expect(await work([replayed], NOW + 600_000)).toEqual([]);
    expect(worker.blocked()).toEqual([]);
  });

  test("an unblock does not lift a block that was reported after it", async () => {
    await work([block(A, { reportedAt: NOW + 1 })], NOW + 1);
    await work([unblock(A, NOW)], NOW + 1);
    expect(worker.blocked()).toEqual([A]);
  });

  test("an unblock does not lift the hold of one from after it", async () => {
    await work([unblock(A, NOW + 1, 600)], NOW + 1);
    await work([unblock(A, NOW), block(A, { reportedAt: NOW + 2 })], NOW + 2);
    expect(worker.blocked()).toEqual([]);
  });

  test.each([false, true])(
    "a block does not bring back what was unblocked after it (an operator's: %s)",
    async (byOperator) => {
      const detector = byOperator ? "night-shift" : "suricata";
      const earlier = [A, B].map((cidr) => block(cidr, { byOperator, detector, seconds: 600 }));
      await work([unblock(A, NOW + 1)], NOW + 1);
      await work(earlier, NOW + 2);
      expect(worker.blocked()).toEqual([B]);
    },
  );

  test("within a batch too, whatever the order: lanes overtake each other", async () => {
    await work([unblock(A, NOW + 1), block(A, { seconds: 600 })], NOW + 1);
    expect(worker.blocked()).toEqual([]);
  });

  test("a block does not even count as corroboration", async () => {
    worker.policy = { ...worker.policy, corroboration: { threshold: 2, window: 3_600 } };
    await work([unblock(A, NOW + 60_001)], NOW + 60_001);
    const later = block(A, { detector: "other", reportedAt: NOW + 60_002 });
    await work([block(A, { seconds: 600 }), later], NOW + 60_002);
    expect(worker.blocked()).toEqual([]);
  });
});

describe("a write that fails", () => {
  const down = () => new InternalServerError({ message: "The table is down.", $metadata: {} });

  test("hands back the address's first message and everything after it", async () => {
    worker.table.failures.set(B, down());
    expect(await work([block(A), block(B), block(C), block(B)])).toEqual(["1", "2", "3"]);
    expect(worker.blocked()).toEqual([A, C]);
  });

  test("hands back from the first failure on, where several fail", async () => {
    worker.table.failures.set(B, down());
    worker.table.failures.set(C, down());
    expect(await work([block(A), block(C), block(A), block(B)])).toEqual(["1", "2", "3"]);
  });

  test("keeps nothing from being written in the end, by delivery again", async () => {
    const batch = [block(A), block(B), unblock(A), block(C)];
    worker.table.failures.set(B, down());
    expect(await work(batch)).toEqual(["1", "2", "3"]);
    worker.table.failures.clear();
    expect(await work(batch.slice(1))).toEqual([]);
    expect(worker.blocked()).toEqual([B, C]);
  });

  const conflict = () => new ConflictError("Another writer changed the item meanwhile.");

  test("because another writer was faster is tried again at once on what that one wrote", async () => {
    const { write } = worker.addresses;
    worker.addresses.write = async (cidr, before, next) => {
      worker.addresses.write = write;
      await work([block(A, { detector: "falco", requestId: "falco's", severity: 9 })]);
      await write(cidr, before, next);
    };
    expect(await work([block(A, { seconds: 600 })])).toEqual([]);
    expect(worker.table.blockItems.get(A)).toMatchObject({
      requestId: "falco's",
      severity: 9,
      hits: 2,
      expiresAt: NOW / 1000 + 600,
    });
  });

  test("because many lanes report the same addresses at once loses no lane's time", async () => {
    const lanes = Array.from({ length: 12 }, (_, lane) => `detector-${lane}`);
    const handedBack = await Promise.all(
      lanes.map((detector) => work([A, B, C].map((cidr) => block(cidr, { detector })))),
    );
    expect(handedBack.flat()).toEqual([]);
    expect(Object.keys(worker.table.blockItems.get(C)?.reports ?? {})).toHaveLength(12);
  });

  test("is handed back where that happens again and again", async () => {
    worker.table.failures.set(A, conflict());
    expect(await work([block(A), block(B)])).toEqual(["0", "1"]);
  });

  test.each([
    [
      "DynamoDB calls it invalid",
      new DynamoDBServiceException({
        name: "ValidationException",
        message: "One or more parameter values were invalid",
        $fault: "client",
        $metadata: {},
      }),
    ],
    [
      "the partition is full",
      new DynamoDBServiceException({
        name: "ItemCollectionSizeLimitExceededException",
        message: "Item collection size limit exceeded",
        $fault: "client",
        $metadata: {},
      }),
    ],
    ["our own code fails on it", new TypeError("undefined is not a function")],
  ])("for good, as %s, is dead-lettered at once, and the rest goes on", async (_why, error) => {
    worker.table.failures.set(B, error);
    expect(await work([block(A), block(B), block(C), block(B)])).toEqual([]);
    expect(worker.blocked()).toEqual([A, C]);
    expect(worker.deadLettered).toMatchObject([
      { messageId: "1", reason: "refused", detail: error.message },
      { messageId: "3", reason: "refused", detail: error.message },
    ]);
  });

  test("of a removal is handed back too", async () => {
    await work([block(A)]);
    worker.table.failures.set(A, down());
    expect(await work([block(B), unblock(A)])).toEqual(["1"]);
  });

  test("for all, while the table cannot be read, hands back every message", async () => {
    worker.table.isUnreadable = true;
    expect(await work([block(A), block(B)])).toEqual(["0", "1"]);
    expect(worker.table.writes).toEqual([]);
  });
});

describe("the never-block list", () => {
  test("is asked again: what it holds is not written", async () => {
    worker.neverBlock = async () => protect([[A, "office"]]);
    expect(await work([block(A), block("203.0.113.0/24"), block(B)])).toEqual([]);
    expect(worker.blocked()).toEqual([B]);
  });

  test("holds nobody's unblock up", async () => {
    await work([block(A)]);
    worker.neverBlock = async () => protect([[A, "office"]]);
    await work([unblock(A)]);
    expect(worker.blocked()).toEqual([]);
  });

  test("that cannot be read loses no block: it is written, and the plan asks again", async () => {
    worker.neverBlock = async () => {
      throw new Error("The parameter store is down.");
    };
    expect(await work([block(A)])).toEqual([]);
    expect(worker.blocked()).toEqual([A]);
  });
});

const anyReport = fc
  .record({
    cidr: fc.constantFrom(A, B, C),
    at: fc.nat(1_000),
    seconds: fc.integer({ min: 2, max: 600 }),
    severity: fc.integer({ min: 1, max: 10 }),
  })
  .map(({ cidr, at, ...change }) => block(cidr, { ...change, reportedAt: NOW - at }));
