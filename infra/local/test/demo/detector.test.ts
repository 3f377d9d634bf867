import { readFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "@jest/globals";
import { createDetector, type Detection, type Rule } from "../../demo/detector.ts";
import { failureIn, parseLine, secondsBetween } from "../../demo/sshd.ts";
import type { Expected } from "../../demo/verdict.ts";

const ATTACKER = "203.0.113.5";

const failed = (address = ATTACKER, user = "root") =>
  `Failed password for ${user} from ${address} port 51234 ssh2`;

/** A line that sshd writes, its time in seconds since midnight. */
function line(seconds: number, message = failed(), day = "Nov 23"): string {
  const clock = new Date(seconds * 1000).toISOString().slice(11, 19);
  return `${day} ${clock} bastion sshd[21877]: ${message}`;
}

function detect(lines: readonly string[], rule?: Partial<Rule>): Detection[] {
  const read = createDetector(rule);
  return lines.flatMap((each) => read(each) ?? []);
}

const addresses = (detections: readonly Detection[]) => detections.map(({ address }) => address);
const failures = (...seconds: number[]) => seconds.map((second) => line(second));

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

function usedHeap(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

describe("the rule", () => {
  it("detects the failure that meets the threshold", () => {
    expect(detect(failures(0, 1, 2, 3))).toEqual([]);
    expect(detect(failures(0, 1, 2, 3, 4))).toEqual([
      { address: ATTACKER, clock: "00:00:04", failures: 5, severity: 5 },
    ]);
  });

  it.each<[string, number[], number]>([
    ["just inside", [0, 15, 30, 45, 59], 1],
    ["as long as the window", [0, 15, 30, 45, 60], 0],
    ["the window moves on", [0, 50, 55, 60, 65, 70], 1],
    ["all in one second", [7, 7, 7, 7, 7], 1],
    ["slow for ever", Array.from({ length: 100 }, (_, index) => index * 15), 0],
    ["a second out of order", [10, 9, 10, 9, 10], 1],
    ["a clock set back by an hour", [3600, 3601, 0, 1, 2], 0],
  ])("knows its window: %s", (_, seconds, detections) => {
    expect(detect(failures(...seconds))).toHaveLength(detections);
  });

  it("counts over New Year's Eve", () => {
    const lines = [
      ...[86_396, 86_397, 86_398].map((second) => line(second, failed(), "Dec 31")),
      ...[0, 1].map((second) => line(second, failed(), "Jan  1")),
    ];
    expect(detect(lines)).toHaveLength(1);
  });

  it("counts each address for itself", () => {
    const others = ["198.51.100.1", "198.51.100.2", "2001:db8::1", "2001:db8::2"];
    const lines = [...others, ...others, ATTACKER].map((address) => line(1, failed(address)));
    expect(detect(lines)).toEqual([]);
  });

  it("reports an address that goes on again, with what it has failed in all", () => {
    const lines = failures(...Array.from({ length: 65 }, (_, second) => second));
    expect(detect(lines)).toEqual([
      { address: ATTACKER, clock: "00:00:04", failures: 5, severity: 5 },
      { address: ATTACKER, clock: "00:00:34", failures: 35, severity: 7 },
      { address: ATTACKER, clock: "00:01:04", failures: 65, severity: 8 },
    ]);
  });

  it("takes up an address anew after a silence", () => {
    expect(detect(failures(0, 1, 2, 3, 4, 64, 65, 66, 67, 68))).toMatchObject([
      { failures: 5 },
      { failures: 5 },
    ]);
  });

  it("is never more severe than 10", () => {
    const flood = line(0, `message repeated 999999 times: [ ${failed()}]`);
    expect(detect([flood])).toMatchObject([{ failures: 999_999, severity: 10 }]);
  });

  it("can be set otherwise", () => {
    const rule = { threshold: 2, windowSeconds: 3, realertSeconds: 1 };
    expect(detect(failures(0, 3, 5, 6), rule)).toHaveLength(2);
  });

  it("forgets the quietest address when there are too many", () => {
    const inOrder = (hosts: string, maxAddresses: number) =>
      detect(
        [...hosts].map((host, index) => line(index, failed(`192.0.2.${host}`))),
        { maxAddresses },
      );
    expect(inOrder("1111231", 3)).toHaveLength(1);
    expect(inOrder("1111231", 2)).toEqual([]);
    // By the last failure, not by the first.
    expect(inOrder("1211131", 2)).toHaveLength(1);
  });

  it("needs no more memory for more attackers than it remembers, or for a longer attack", () => {
    const read = createDetector({ maxAddresses: 100 });
    const attack = (from: number, to: number) => {
      for (let index = from; index < to; index++) {
        const address = `2001:db8::${(index >> 16).toString(16)}:${(index & 0xffff).toString(16)}`;
        read(line(index % 30, failed(address)));
        read(line(index % 30, failed(ATTACKER)));
      }
      return usedHeap();
    };
    const before = attack(0, 1000);
    expect(attack(1000, 100_000) - before).toBeLessThan(2_000_000);
  });
});

describe("sshd's lines", () => {
  it.each<[string, string, object | undefined]>([
    ["a user", failed(), { address: ATTACKER, times: 1 }],
    ["an unknown user", failed(ATTACKER, "invalid user admin"), { address: ATTACKER, times: 1 }],
    ["no user name at all", failed(ATTACKER, "invalid user "), { address: ATTACKER, times: 1 }],
    ["IPv6", failed("2001:db8:5c::1f"), { address: "2001:db8:5c::1f", times: 1 }],
    [
      "a password asked for by PAM",
      "Failed keyboard-interactive/pam for root from 203.0.113.5 port 4 ssh2",
      { address: ATTACKER, times: 1 },
    ],
    [
      "folded by rsyslog",
      `message repeated 3 times: [ ${failed()}]`,
      { address: ATTACKER, times: 3 },
    ],
    ["a key", "Failed publickey for root from 203.0.113.5 port 4 ssh2: RSA SHA256:mVNg", undefined],
    ["before any try", "Failed none for invalid user x from 203.0.113.5 port 4 ssh2", undefined],
    [
      "the same failure by PAM",
      "pam_unix(sshd:auth): authentication failure; rhost=203.0.113.5",
      undefined,
    ],
    ["success", "Accepted password for root from 203.0.113.5 port 4 ssh2", undefined],
    ["a host's name", failed("attacker.example.com"), undefined],
    ["a link-local address", failed("fe80::1%eth0"), undefined],
    ["no address", failed("203.0.113.256"), undefined],
    ["a range", failed("203.0.113.0/24"), undefined],
    ["cut off", failed().slice(0, -5), undefined],
    ["longer", `${failed()} or not`, undefined],
    ["a bracket too many", `${failed()}]`, undefined],
    ["a bracket too few", `message repeated 3 times: [ ${failed()}`, undefined],
  ])("%s", (_, message, failure) => {
    expect(failureIn(message)).toEqual(failure);
  });

  it.each([
    "x from 1.2.3.4",
    "x from 10.0.0.1 port 22 ssh2",
    "Failed password for root from 1.2.3.4 port 22 ssh2",
    "x from 1.2.3.4 port 22 ssh2]",
    "message repeated 9 times: [ Failed password for root from 1.2.3.4 port 22 ssh2]",
    "Nov 23 00:00:01 bastion sshd[1]: Failed password for root from 1.2.3.4 port 22 ssh2",
    " from from ",
  ])("are not fooled by a user called %j", (user) => {
    const message = failed(ATTACKER, `invalid user ${user}`);
    expect(failureIn(message)).toEqual({ address: ATTACKER, times: 1 });
    expect(failureIn(`Invalid user ${user} from ${ATTACKER} port 4`)).toBeUndefined();
    const end = `Connection closed by invalid user ${user} ${ATTACKER} port 4 [preauth]`;
    expect(failureIn(end)).toBeUndefined();
  });

  it("are read in time that grows with their length only", () => {
    const startedAt = performance.now();
    for (const part of [" from 1.2.3.4", " port 1", "message repeated 1 times: [ ", "from"]) {
      expect(detect([line(0, failed(ATTACKER, part.repeat(50_000)).slice(0, -1))])).toEqual([]);
    }
    expect(performance.now() - startedAt).toBeLessThan(1000);
  });

  it("are known by their beginning", () => {
    const at = (27 + 31 - 1) * 86_400 + 3;
    const message = "Connection closed";
    const parsed = { at, clock: "00:00:03", message };
    expect(parseLine(`Feb 27 00:00:03 bastion sshd[7]: ${message}`)).toEqual(parsed);
    expect(parseLine(`Feb 27 00:00:03 bastion sshd-session[7]: ${message}`)).toEqual(parsed);
    expect(parseLine("Feb  7 00:00:03 b sshd[7]: x")?.at).toBe(at - 20 * 86_400);
    for (const other of [
      `Feb 27 00:00:03 bastion CRON[7]: ${message}`,
      `Feb 27 00:00:03 bastion app[7]: Feb 27 00:00:03 bastion sshd[7]: ${message}`,
      `Feb 27 00:00:03 bastion sshd: ${message}`,
      `Feb 27 24:00:03 bastion sshd[7]: ${message}`,
      `Fob 27 00:00:03 bastion sshd[7]: ${message}`,
      ` Feb 27 00:00:03 bastion sshd[7]: ${message}`,
      "",
    ]) {
      expect(parseLine(other)).toBeUndefined();
    }
  });

  it("are apart the shorter way round the year", () => {
    expect(secondsBetween(5, 3)).toBe(2);
    expect(secondsBetween(366 * 86_400 - 1, 1)).toBe(2);
  });
});

describe("the demo's log", () => {
  const demo = new URL("../../demo/", import.meta.url);
  const lines = readFileSync(new URL("sshd.log", demo), "utf8").trimEnd().split("\n");
  const expected = JSON.parse(readFileSync(new URL("expected.json", demo), "utf8")) as Expected;
  const attackers = [...Object.keys(expected.blocked), ...expected.ignored];

  it("is all sshd's, in order", () => {
    const times = lines.map((each) => parseLine(each)?.at ?? Number.NaN);
    expect(times).toEqual(times.toSorted((a, b) => a - b));
    expect(lines.length).toBeGreaterThanOrEqual(400);
    expect(lines.length).toBeLessThanOrEqual(700);
  });

  it("leads to exactly the expected detections", () => {
    expect(new Set(addresses(detect(lines)))).toEqual(new Set(attackers));
  });

  it("leads to the same by a plain count", () => {
    const tries = lines.flatMap((each) => {
      const [, folded = "1", address] =
        /(?:repeated (\d+) times.*)?Failed password.* from ([0-9a-f.:]+) port/.exec(each) ?? [];
      const [hours = 0, minutes = 0, seconds = 0] = each.slice(7, 15).split(":").map(Number);
      const at = (hours * 60 + minutes) * 60 + seconds;
      return address ? Array<[string, number]>(Number(folded)).fill([address, at]) : [];
    });
    const found = tries.filter(
      ([address, at]) =>
        tries.filter(([other, then]) => other === address && then <= at && at - then < 60).length >=
        5,
    );
    expect(new Set(found.map(([address]) => address))).toEqual(new Set(attackers));
  });

  it("names addresses for documentation only, besides its own network's", () => {
    const named = lines.flatMap((each) => each.match(/\d+\.\d+\.\d+\.\d+|\w+:\w+:[\w:]+/g) ?? []);
    const strangers = named.filter(
      (address) => !/^(192\.0\.2|198\.51\.100|203\.0\.113|10\.\d+\.\d+)\.|^2001:db8:/.test(address),
    );
    expect(strangers.filter((text) => !/^\d\d:\d\d:\d\d$/.test(text))).toEqual([]);
  });
});
