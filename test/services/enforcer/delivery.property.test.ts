import { expect, test } from "@jest/globals";
import fc from "fast-check";
import type { Message } from "../../../shared/domain/decide.ts";
import { RANGES } from "../../support/ranges.ts";
import { blockMessage, POLICY, startWorker, unblockMessage } from "../../support/worker.ts";
import { lagMs, World } from "./world.ts";

// From the queue to the ACL: what queue, worker, DynamoDB and enforcer may do to messages on their way
// makes no difference in the end.

const RUNS = Number(process.env.HISTORIES ?? 1_000);

/** So few that each is reported again and again. */
const few = fc.constantFrom(...RANGES.slice(0, 6), ...RANGES.slice(-2));

/** What was sent between two steps of the clock, in the order in which it was. */
const round = fc.record({
  messages: fc.array(
    fc.record({
      cidr: few,
      isUnblock: fc.nat(4).map((number) => number === 0),
      severity: fc.integer({ min: 1, max: 3 }),
      seconds: fc.integer({ min: 1, max: 40 }),
    }),
    { maxLength: 8 },
  ),
  /** How long until the next. */
  ms: fc.integer({ min: 1, max: 15_000 }),
});
type Round = typeof round extends fc.Arbitrary<infer R> ? R : never;

/** What happens to a round on its way through queue, worker and enforcer. */
const mishap = fc.record({
  order: fc.array(fc.nat(), { minLength: 8, maxLength: 8 }),
  batchSize: fc.integer({ min: 1, max: 4 }),
  deliveries: fc.integer({ min: 1, max: 2 }),
  failing: fc.option(few, { nil: undefined }),
  crashAfter: fc.option(fc.nat(6), { nil: undefined }),
  isTtlEarly: fc.boolean(),
});
type Mishap = typeof mishap extends fc.Arbitrary<infer M> ? M : never;

const CALM: Mishap = {
  order: [0, 1, 2, 3, 4, 5, 6, 7],
  batchSize: 8,
  deliveries: 1,
  failing: undefined,
  crashAfter: undefined,
  isTtlEarly: false,
};

/** The messages in another order, but those of one address in theirs. */
function reorder(messages: readonly Message[], order: readonly number[]): Message[] {
  const places = messages
    .map((message, index) => ({ cidr: message.cidr, key: order[index] ?? 0 }))
    .toSorted((a, b) => a.key - b.key);
  const rest = [...messages];
  return places.map(({ cidr }) => {
    const index = rest.findIndex((message) => message.cidr.text === cidr.text);
    return rest.splice(index, 1)[0] as Message;
  });
}

/** Sends the rounds through worker and enforcer; what befalls each is `mishaps`, in turn. */
async function send(world: World, rounds: readonly Round[], mishaps: readonly Mishap[]) {
  const worker = startWorker({
    table: world.table,
    policy: { ...POLICY, escalation: { factor: 2, max: 60 } },
  });
  for (const [number, { messages, ms }] of rounds.entries()) {
    const { order, batchSize, deliveries, ...rest } = mishaps[number % mishaps.length] ?? CALM;
    const sent = messages.map(({ cidr, isUnblock, severity, seconds }, index) => {
      const reportedAt = world.now + index;
      return isUnblock
        ? unblockMessage(cidr, reportedAt)
        : blockMessage(cidr, { reportedAt, severity, seconds });
    });
    world.now += messages.length;
    const queued = reorder(sent, order);
    while (queued.length > 0) {
      const batch = queued.splice(0, batchSize);
      for (let delivery = 1; delivery < deliveries; delivery++)
        await worker.process(batch, world.now);
      if (rest.failing) world.table.failures.set(rest.failing, new Error("The table is down."));
      const failed = await worker.process(batch, world.now);
      world.table.failures.clear();
      await worker.process(batch.slice(batch.length - failed.length), world.now);
      if (rest.isTtlEarly) world.deleteExpired();
      if (rest.crashAfter !== undefined) await world.converge(rest.crashAfter);
    }
    await world.converge(rest.crashAfter);
    world.now += ms;
  }
}

test("whatever is duplicated, reordered across addresses, handed back or killed, the end is the same", async () => {
  const rounds = fc.array(round, { minLength: 1, maxLength: 5 });
  const mishaps = fc.array(mishap, { minLength: 1, maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(rounds, mishaps, lagMs, async (rounds, mishaps, lagMs) => {
      const [calm, rough] = [new World(), new World()];
      calm.limit = 2;
      rough.limit = 2;
      rough.lagMs = lagMs;
      await send(calm, rounds, [CALM]);
      await send(rough, rounds, mishaps);
      await calm.settle();
      await rough.settle();
      expect(rough.now).toBe(calm.now);
      expect(rough.broken).toEqual([]);
      expect(rough.denied()).toEqual(calm.denied());
      expect(calm.denied()).toEqual(calm.expected());
    }),
    { numRuns: RUNS },
  );
}, 120_000);
