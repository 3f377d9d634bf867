import { expect, test } from "@jest/globals";
import fc from "fast-check";
import { pull } from "../../../services/crowdsec/pull.ts";
import type { Outgoing } from "../../../shared/aws/queue.ts";
import type { Streamed } from "../../../shared/detectors/crowdsec.ts";
import { createSurroundings, type Surroundings } from "./crowdsec.ts";

// Whatever is decided, deleted, unheard or cut off in between: once a pull has asked for everything, what
// stands of CrowdSec's is what CrowdSec wants.

const START = 1_795_000_000;
const ADDRESSES = ["203.0.113.1", "203.0.113.2", "203.0.113.3"];
const HOUR = 3_600;

type Decision = { id: number; ip: string; until: number; createdAt: number; origin: string };

/** CrowdSec's LAPI, as 1.4.6 does it: of each address it tells the decision that lasts longest. */
function createModel() {
  let decisions: Decision[] = [];
  let lastPull = 0;
  let ids = 0;
  const isLongest = (one: Decision) =>
    !decisions.some((other) => other.ip === one.ip && other.until > one.until);
  return {
    add(ip: string, seconds: number, origin: string, now: number) {
      decisions.push({ id: ++ids, ip, until: now + seconds, createdAt: now, origin });
    },
    /** Deletes one decision of the address, or all of them: they end now. */
    delete(ip: string, isAll: boolean, now: number) {
      const live = decisions.filter((one) => one.ip === ip && one.until > now);
      const some = new Set(isAll ? live : live.slice(-1));
      decisions = decisions.map((one) => (some.has(one) ? { ...one, until: now } : one));
    },
    wants: (ip: string, now: number) =>
      Math.max(0, ...decisions.filter((one) => one.ip === ip).map(({ until }) => until - now)),
    told(isWhole: boolean, now: number): Streamed {
      const since = isWhole ? 0 : lastPull - 2; // it looks back two seconds
      lastPull = now;
      const told = decisions.filter(isLongest);
      return {
        bans: told
          .filter(({ until, createdAt }) => until > now && createdAt >= since)
          .map(({ ip, until, origin }) => ({ ip, seconds: until - now, origin, reason: "" })),
        ended: told.filter(({ until }) => until <= now && until >= since).map(({ ip }) => ip),
        notUnderstood: [],
      };
    },
  };
}

/** What the worker makes of the messages, by their moments. */
function standing(sent: readonly Outgoing[], ip: string, now: number): number {
  let until = 0;
  for (const { message } of sent) {
    if (!("cidr" in message) || message.cidr.text !== `${ip}/32`) continue;
    if (message.kind === "withdraw") until = 0;
    if (message.kind === "block") until = Math.max(until, message.expiresAt);
  }
  return Math.max(0, until - now);
}

const address = fc.constantFrom(...ADDRESSES);
const step = fc.oneof(
  fc.record({
    kind: fc.constant("add" as const),
    ip: address,
    seconds: fc.integer({ min: 30, max: 9 * HOUR }),
  }),
  fc.record({ kind: fc.constant("delete" as const), ip: address, isAll: fc.boolean() }),
  fc.record({ kind: fc.constant("pull" as const) }),
  fc.record({
    kind: fc.constant("dies" as const),
    at: fc.constantFrom("lapi", "remember", "forget", "queue", "taken", "finish"),
  }),
  fc.record({ kind: fc.constant("wait" as const), seconds: fc.integer({ min: 1, max: HOUR }) }),
);

class Death extends Error {}

/** A part that dies where the pull comes to it. */
function dying(around: Surroundings, at: string): Surroundings {
  const die = async (): Promise<never> => {
    throw new Death();
  };
  const { pulls, lapi, queue } = around;
  return {
    ...around,
    lapi:
      at === "lapi" ? { decisions: async (isWhole) => lapi.decisions(isWhole).then(die) } : lapi,
    pulls: {
      ...pulls,
      giveUp: async () => {}, // who is dead gives nothing up
      ...(at === "remember" && { remember: die }),
      ...(at === "forget" && { forget: die }),
      ...(at === "finish" && { finish: die }),
    },
    queue:
      at === "queue"
        ? { sendAll: die }
        : at === "taken"
          ? { sendAll: async (entries) => queue.sendAll(entries).then(die) }
          : queue,
  };
}

test("what stands is what CrowdSec wants", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async (steps) => {
      let now = START;
      const model = createModel();
      const around = createSurroundings({
        lapi: { decisions: async (isWhole) => model.told(isWhole, now) },
        clock: () => now * 1000,
      });
      for (const one of steps) {
        now += 15;
        if (one.kind === "add") model.add(one.ip, one.seconds, "crowdsec", now);
        if (one.kind === "delete") model.delete(one.ip, one.isAll, now);
        if (one.kind === "wait") now += one.seconds;
        if (one.kind === "pull" || one.kind === "dies") {
          now += 60;
          const own = one.kind === "dies" ? dying(around, one.at) : around;
          await pull(own, (now + 45) * 1000).catch((error) => {
            if (!(error instanceof Death)) throw error;
          });
        }
        // Between two pulls of everything it may want less than it has told, never more.
        if (one.kind === "pull") {
          for (const ip of ADDRESSES)
            expect(standing(around.sent, ip, now)).toBeGreaterThanOrEqual(
              model.wants(ip, now) - 11,
            );
        }
      }
      now += HOUR + 60;
      await pull(around, (now + 45) * 1000);
      for (const ip of ADDRESSES) {
        const difference = Math.abs(standing(around.sent, ip, now) - model.wants(ip, now));
        expect(difference).toBeLessThanOrEqual(11);
      }
    }),
    { numRuns: 500 },
  );
});
