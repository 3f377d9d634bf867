import { describe, expect, it } from "@jest/globals";
import { createLedger, type Entry } from "../../demo/ledger.ts";
import { problemsIn } from "../../demo/verdict.ts";

const TIMING = { expiry: 8000, repeatFactor: 2, blockWithin: 10_000, unblockWithin: 10_000 };
const ALLOW = entry(100, "0.0.0.0/0", false);
const IP = "203.0.113.5";
const OURS = entry(1, `${IP}/32`);

function entry(ruleNumber: number, cidr: string, isBlock = true): Entry {
  return { ruleNumber, cidr, isBlock, text: `${ruleNumber} ${isBlock} ${cidr}` };
}

/** A ledger and what is done to it, in milliseconds since the beginning. */
function open(blocked: Record<string, number> = { [IP]: 1 }, ignored: string[] = []) {
  const ledger = createLedger(TIMING, [ALLOW]);
  const detect = (now: number, address = IP) =>
    ledger.detected({ address, clock: "04:12:07", failures: 5, severity: 5 }, now);
  return {
    ledger,
    detect,
    /** Detected, and queued with this expiry, in seconds. */
    report: (now: number, expiresAt: number, address = IP) =>
      detect(now, address)({ status: "queued", expiresAt }),
    acl: (now: number, ...entries: Entry[]) => ledger.observed([ALLOW, ...entries], now),
    problems: () => problemsIn(ledger, { blocked, ignored }, TIMING),
  };
}

describe("the demo's verdict", () => {
  it("is content with a block that came and went in time", () => {
    const { ledger, report, acl, problems } = open();
    report(1000, 9);
    expect(acl(1100)).toEqual([]);
    expect(acl(1300, OURS)).toMatchObject([{ address: IP, ruleNumber: 1, blockedAt: 1300 }]);
    expect(acl(1500, OURS)).toEqual([]);
    expect(ledger.isSettled(18_999)).toBe(false);
    expect(acl(18_999)).toMatchObject([{ unblockedAt: 18_999 }]);
    expect(ledger.isSettled(18_999)).toBe(true);
    expect(problems()).toEqual([]);
  });

  it("knows that reports extend a block, and that the next block lasts longer", () => {
    const { ledger, report, acl, problems } = open({ [IP]: 2 });
    report(1000, 9);
    acl(1300, OURS);
    report(4000, 12);
    acl(12_100);
    report(20_000, 28);
    acl(20_300, OURS);
    acl(36_100);
    expect(ledger.blocks).toMatchObject([
      { strike: 1, reports: 2, expiresAt: 12_000, unblockedAt: 12_100 },
      { strike: 2, reports: 1, expiresAt: 36_000, unblockedAt: 36_100 },
    ]);
    expect(problems()).toEqual([]);
  });

  it("lets an entry go over from one block to the next", () => {
    const { report, acl, problems } = open({ [IP]: 2 });
    report(1000, 9);
    acl(1300, OURS);
    report(9500, 17);
    acl(9600, OURS);
    acl(25_100);
    expect(problems()).toEqual([]);
  });

  it("is content with an address that was ignored", () => {
    const { ledger, detect, problems } = open({}, [IP]);
    detect(0)({ status: "ignored", reason: "private range" });
    expect(ledger.isSettled(0)).toBe(true);
    expect(problems()).toEqual([]);
  });

  it.each<[string, string, (demo: ReturnType<typeof open>) => void]>([
    ["nothing happened", "should have been blocked 1 times, not 0", () => undefined],
    [
      "the endpoint refused",
      "could not be reported: 503",
      ({ detect }) => detect(0)({ status: "failed", reason: "503" }),
    ],
    ["no block came", "was not blocked within 10 s", ({ report }) => report(0, 8)],
    [
      "no answer came",
      "was not blocked within 10 s",
      ({ detect, acl }) => {
        detect(0);
        acl(300, OURS);
      },
    ],
    [
      "the block came late",
      "was blocked only after 10001 ms",
      ({ report, acl }) => {
        report(0, 8);
        acl(10_001, OURS);
        acl(10_100);
      },
    ],
    [
      "it went early",
      "was unblocked 1 ms before its expiry",
      ({ report, acl }) => {
        report(0, 8);
        acl(300, OURS);
        acl(7999);
      },
    ],
    [
      "it went late",
      "was unblocked only 10001 ms after its expiry",
      ({ report, acl }) => {
        report(0, 8);
        acl(300, OURS);
        acl(18_001);
      },
    ],
    [
      "it stayed",
      "is still blocked 10 s after its expiry",
      ({ report, acl }) => {
        report(0, 8);
        acl(300, OURS);
        acl(18_001, OURS);
      },
    ],
    [
      "it came again by itself",
      'In the ACL, "1 true 203.0.113.5/32" came without a report',
      ({ report, acl }) => {
        report(0, 8);
        acl(300, OURS);
        acl(9000);
        acl(9200, OURS);
      },
    ],
    [
      "somebody else was blocked",
      'In the ACL, "2 true 198.51.100.1/32" came without a report',
      ({ acl }) => acl(0, entry(2, "198.51.100.1/32")),
    ],
    [
      "the address was allowed instead",
      'In the ACL, "1 false 203.0.113.5/32" came without a report',
      ({ report, acl }) => {
        report(0, 8);
        acl(300, entry(1, `${IP}/32`, false));
      },
    ],
    [
      "a block was expected and something else came",
      "was not blocked within 10 s",
      ({ report, acl }) => {
        report(0, 8);
        acl(300, entry(1, `${IP}/32`, false));
      },
    ],
    [
      "an entry that is not ours went",
      'In the ACL, "100 false 0.0.0.0/0", which is not ours, went',
      ({ ledger }) => ledger.observed([], 0),
    ],
    [
      "somebody harmless was reported",
      "198.51.100.1 was reported and is no attacker",
      ({ report }) => report(0, 8, "198.51.100.1"),
    ],
    [
      "an attacker was ignored",
      "should have been blocked 1 times, not 0",
      ({ detect }) => detect(0)({ status: "ignored", reason: "why" }),
    ],
    [
      "an ignored address was blocked",
      "was blocked, though it was ignored",
      ({ detect, acl }) => {
        detect(0)({ status: "ignored", reason: "why" });
        acl(300, OURS);
      },
    ],
    [
      "it was blocked once too often",
      "should have been blocked 1 times, not 2",
      ({ report, acl }) => {
        for (const at of [0, 20_000]) {
          report(at, at / 1000 + 8);
          acl(at + 300, OURS);
          acl(at + 17_000);
        }
      },
    ],
  ])("says so when %s", (_, problem, happen) => {
    const demo = open();
    happen(demo);
    expect(demo.problems().join("\n")).toContain(problem);
  });

  it("says so when an address of the never-block list was not reported", () => {
    expect(open({}, ["10.0.3.17"]).problems()).toEqual([
      "10.0.3.17 is on the never-block list and was not ignored.",
    ]);
  });

  it("waits for what is not overdue, and no longer", () => {
    const { ledger, report, acl } = open();
    report(0, 8);
    expect(ledger.isSettled(10_000)).toBe(false);
    expect(ledger.isSettled(10_001)).toBe(true);
    acl(300, OURS);
    expect(ledger.isSettled(18_000)).toBe(false);
    expect(ledger.isSettled(18_001)).toBe(true);
  });
});
