import { readFileSync } from "node:fs";
import { beforeEach, describe, expect, test } from "@jest/globals";
import { processBatch } from "../../../services/worker/batch.ts";
import { DEFAULT_LIMITS } from "../../../shared/domain/caller.ts";
import { NOW } from "../../support/reports.ts";
import { blockMessage, callerOf, recordsOf, startWorker, wireOf } from "../../support/worker.ts";

const HOURS = 3_600;
/** As the adapter says it: until a finding that goes on is told again. */
const UNTIL_NEXT = 7 * HOURS;
const SSH = "203.0.113.9";
const REASON = "GuardDuty UnauthorizedAccess:EC2/SSHBruteForce";

type Json = Record<string, unknown>;
type Case = { what: string; document: Json };

const casesOf = (name: string): Case[] =>
  JSON.parse(
    readFileSync(new URL(`../blacklist/detectors/fixtures/${name}.json`, import.meta.url), "utf8"),
  );

/** An event of the fixtures as the queue holds it, at this moment. */
function eventOf(kind: "guardduty" | "securityhub", what: string, time = NOW) {
  const found = casesOf(kind).find((one) => one.what === what);
  if (!found) throw new Error(`No fixture: ${what}`);
  return { kind, event: { ...found.document, time: new Date(time).toISOString() } };
}

const sshBruteForce = (time?: number) => eventOf("guardduty", "an inbound connection", time);

/** A port probe by these. */
function probe(...ips: unknown[]) {
  const whole = structuredClone(sshBruteForce()) as Json;
  const { service } = (whole.event as Json).detail as { service: Json };
  const portProbeDetails = ips.map((ip) => ({ remoteIpDetails: { ipAddressV4: ip } }));
  service.action = { actionType: "PORT_PROBE", portProbeAction: { portProbeDetails } };
  return whole;
}

let worker: ReturnType<typeof startWorker>;
beforeEach(() => {
  worker = startWorker();
  worker.known.set("guardduty", callerOf("guardduty"));
  worker.known.set("securityhub", callerOf("securityhub"));
});

/** Processes the messages, and gives those back that are handed back. */
async function work(messages: readonly object[], now = NOW): Promise<string[]> {
  const { batchItemFailures } = await processBatch(recordsOf(messages), worker, now);
  return batchItemFailures.map(({ itemIdentifier }) => itemIdentifier);
}

/** What has been sent back into the queue, by address. */
const sentTo = () => worker.sent.map((one) => ("cidr" in one ? one.cidr.text : one.kind));

describe("an event is taken apart", () => {
  test("into a block, in the detector's own lane, that counts from the event's moment", async () => {
    const time = NOW - 90_000;
    expect(await work([sshBruteForce(time)])).toEqual([]);
    expect(worker.blocked()).toEqual([]);
    expect(worker.sent).toEqual([
      expect.objectContaining({
        kind: "block",
        detector: "guardduty",
        reportedAt: time,
        expiresAt: time / 1000 + UNTIL_NEXT,
        severity: 5,
        reason: REASON,
      }),
    ]);
    expect(worker.outgoing).toMatchObject([
      {
        lane: "detectors",
        deduplicationId: "c8c4daa7-a20c-2f03-0070-b7393dd542ad/203.0.113.9/32",
      },
    ]);
  });

  test("which then goes the way of any report", async () => {
    await work([sshBruteForce()]);
    await work(worker.sent.splice(0));
    expect(worker.table.blockItems.get(`${SSH}/32`)).toMatchObject({
      severity: 5,
      reason: REASON,
      expiresAt: NOW / 1000 + UNTIL_NEXT,
      reports: { guardduty: expect.anything() },
    });
  });

  test("delivered again, and replayed later, it changes nothing", async () => {
    for (const now of [NOW, NOW, NOW + 3 * HOURS * 1000]) {
      await work([sshBruteForce()], now);
      await work(worker.sent.splice(0), now);
    }
    expect(worker.table.blockItems.get(`${SSH}/32`)).toMatchObject({
      expiresAt: NOW / 1000 + UNTIL_NEXT,
      strikes: 1,
    });
  });

  test("replayed when its time is over, it blocks nobody", async () => {
    const later = NOW + 8 * HOURS * 1000;
    await work([sshBruteForce()], later);
    await work(worker.sent.splice(0), later);
    expect(worker.blocked()).toEqual([]);
  });

  test("every address of a port probe, each once", async () => {
    await work([probe(SSH, "203.0.113.10", SSH, "203.0.113.11")]);
    expect(sentTo()).toEqual(["203.0.113.9/32", "203.0.113.10/32", "203.0.113.11/32"]);
  });

  test("every finding of Security Hub's", async () => {
    await work([eventOf("securityhub", "a port probe by two, of a severity in words")]);
    expect(sentTo()).toEqual(["203.0.113.9/32", "203.0.113.10/32"]);
    expect(worker.sent).toMatchObject([
      { detector: "securityhub", severity: 3 },
      { detector: "securityhub", severity: 3 },
    ]);
  });

  test("and IPv6", async () => {
    await work([eventOf("guardduty", "an inbound connection of IPv6, the weakest there is")]);
    expect(sentTo()).toEqual(["2001:db8::5/128"]);
  });

  test("beside other messages, which are processed all the same", async () => {
    const other = wireOf(blockMessage("203.0.113.77/32", { detector: "guardduty" }));
    expect(await work([sshBruteForce(), other])).toEqual([]);
    expect(worker.blocked()).toEqual(["203.0.113.77/32"]);
    expect(sentTo()).toEqual(["203.0.113.9/32"]);
  });
});

describe("nobody is blocked, and nothing dead-lettered, for", () => {
  test.each([
    ["guardduty", "an outbound connection"],
    ["guardduty", "a connection of our own instance's"],
    ["guardduty", "a call to AWS"],
    ["guardduty", "an archived finding"],
    ["guardduty", "a sample"],
    ["guardduty", "a sample that only its text says is one"],
    ["securityhub", "outbound connections"],
    ["securityhub", "archived, suppressed and resolved ones"],
    ["securityhub", "samples"],
  ] as const)("%s: %s", async (kind, what) => {
    expect(await work([eventOf(kind, what)])).toEqual([]);
    expect([worker.sent, worker.deadLettered]).toEqual([[], []]);
  });

  test("an attacker within the network", async () => {
    expect(await work([probe("10.0.0.5", SSH)])).toEqual([]);
    expect(sentTo()).toEqual(["203.0.113.9/32"]);
    expect(worker.deadLettered).toEqual([]);
  });
});

describe("what cannot be taken is dead-lettered with its reason, and the rest is taken", () => {
  test("a part that is not understood, in the adapter's words", async () => {
    const event = eventOf("guardduty", "a port probe by three, of whom one is not named");
    expect(await work([event])).toEqual([]);
    expect(sentTo()).toEqual(["203.0.113.9/32", "203.0.113.10/32"]);
    expect(worker.deadLettered).toMatchObject([
      {
        reason: "not_understood",
        detail:
          "detail.service.action.portProbeAction.portProbeDetails.2.remoteIpDetails: no ipAddressV4 or ipAddressV6 was found.",
        group: "the-list",
        body: JSON.stringify(event),
      },
    ]);
  });

  test.each<[string, unknown, string, string]>([
    ["no address", "nobody", "invalid_ip", '"nobody" is not an IPv4 or IPv6 address'],
    ["a range", "203.0.113.0/24", "invalid_ip", "203.0.113.0/24 is a range."],
    ["no text", 42, "invalid_ip", "An address is not a text."],
  ])("%s", async (_what, ip, reason, detail) => {
    expect(await work([probe(ip, SSH)])).toEqual([]);
    expect(sentTo()).toEqual(["203.0.113.9/32"]);
    expect(worker.deadLettered).toMatchObject([
      { reason, detail: expect.stringContaining(detail) },
    ]);
  });

  test("more addresses than one event may name", async () => {
    const ips = Array.from({ length: 101 }, (_, n) => `203.0.113.${n}`);
    expect(await work([probe(...ips)])).toEqual([]);
    expect(worker.sent).toHaveLength(100);
    expect(worker.deadLettered).toMatchObject([
      { reason: "too_many", detail: "It names 101 addresses; the first 100 were taken." },
    ]);
  });

  test("a group that goes on and on, whatever is in it", async () => {
    expect(await work([probe(SSH, ...Array(10_001).fill(""))])).toEqual([]);
    expect(worker.sent).toEqual([]);
    expect(worker.deadLettered).toMatchObject([
      {
        reason: "not_understood",
        detail:
          "detail.service.action.portProbeAction.portProbeDetails: more than 10000 were found.",
      },
    ]);
  });

  test.each<[string, (event: Json) => unknown, string, string]>([
    [
      "another document",
      () => ({ id: "1", time: "2026-11-23T12:51:37Z" }),
      "not_understood",
      "detail-type was looked for and not found.",
    ],
    [
      "an event without its moment",
      ({ time: _, ...rest }) => rest,
      "invalid_message",
      "event.time: ",
    ],
    [
      "a moment that is none",
      (event) => ({ ...event, time: "now" }),
      "invalid_message",
      "event.time: is no ISO timestamp",
    ],
    [
      "an id that is none",
      (event) => ({ ...event, id: "\n" }),
      "invalid_message",
      "event.id: is no id of an event",
    ],
    ["no event", () => undefined, "invalid_message", "event: "],
    ["a list", () => [], "invalid_message", "event"],
  ])("%s", async (_what, change, reason, detail) => {
    const { kind, event } = sshBruteForce();
    expect(await work([{ kind, event: change(event) }])).toEqual([]);
    expect(worker.sent).toEqual([]);
    expect(worker.deadLettered).toMatchObject([
      { reason, detail: expect.stringContaining(detail) },
    ]);
  });

  test("an event of somebody else", async () => {
    await work([{ ...sshBruteForce(), kind: "macie" }]);
    expect(worker.deadLettered).toMatchObject([{ reason: "invalid_message" }]);
  });
});

describe("its detector is a caller like any other", () => {
  test("whom nobody knows: its events are dropped, and counted", async () => {
    worker.known.delete("guardduty");
    expect(await work([sshBruteForce()])).toEqual([]);
    expect([worker.sent, worker.deadLettered]).toEqual([[], []]);
    expect(worker.counts).toContainEqual({ name: "Revoked", count: 1 });
  });

  test("that may do no more than the list says", async () => {
    const limits = { ...DEFAULT_LIMITS.detector, longest: HOURS, mostSeverity: 3 };
    worker.known.set("guardduty", callerOf("guardduty", { limits }));
    await work([sshBruteForce()]);
    expect(worker.sent).toMatchObject([{ severity: 3, expiresAt: NOW / 1000 + HOURS }]);
  });

  test("and that no deployment lets block for longer than anybody", async () => {
    worker.maxExpirySeconds = HOURS;
    await work([sshBruteForce()]);
    expect(worker.sent).toMatchObject([{ expiresAt: NOW / 1000 + HOURS }]);
  });

  test("from no later than now", async () => {
    await work([sshBruteForce(NOW + 30 * HOURS * 1000)]);
    expect(worker.sent).toMatchObject([
      { reportedAt: NOW + 60_000, expiresAt: NOW / 1000 + 60 + UNTIL_NEXT },
    ]);
  });
});

describe("while the queue takes nothing", () => {
  test("the event is handed back, and what is wrong with it waits for that", async () => {
    const { queue } = worker;
    worker.queue = { ...queue, sendAll: async (all) => all.map((_, index) => index === 0) };
    expect(await work([probe(SSH, "203.0.113.10", "nobody")])).toEqual(["0"]);
    expect(worker.deadLettered).toEqual([]);
    worker.queue = queue;
    expect(await work([probe(SSH, "203.0.113.10", "nobody")])).toEqual([]);
    expect(sentTo()).toEqual(["203.0.113.9/32", "203.0.113.10/32"]);
    expect(worker.deadLettered).toHaveLength(1);
  });
});
