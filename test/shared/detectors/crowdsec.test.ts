import { readFileSync } from "node:fs";
import { describe, expect, test } from "@jest/globals";
import * as v from "valibot";
import { goDuration, streamFindings } from "../../../shared/detectors/crowdsec.ts";
import { NotUnderstoodError } from "../../../shared/detectors/detector.ts";

describe("goDuration", () => {
  test.each([
    ["4h", 14_400],
    ["23h59m57.2s", 86_397.2],
    ["726.672581ms", 0.726672581],
    ["-775.358383ms", -0.775358383],
    ["-1h30m", -5_400],
    ["1h0m0s", 3_600],
    ["748.599µs", 0.000748599],
    ["5us", 0.000005],
    ["7ns", 7e-9],
    [".5s", 0.5],
    ["+2.s", 2],
    ["0", 0],
    ["0s", 0],
  ])("%s is %d seconds", (text, seconds) => {
    expect(v.parse(goDuration, text)).toBeCloseTo(seconds, 9);
  });

  test.each([
    "",
    "4",
    "h",
    "4 h",
    "4h ",
    "4d",
    "--3s",
    "1e3s",
    "4h\n",
    ".s",
    "∞",
    `${"1h".repeat(33)}`,
  ])("%j is none", (text) => {
    expect(v.is(goDuration, text)).toBe(false);
  });
});

const answers = readFileSync(new URL("fixtures/crowdsec-stream.jsonl", import.meta.url), "utf8")
  .split("\n")
  .filter(Boolean)
  .map((line) => JSON.parse(line));

const [nothing, detected, byHand, , , deleted, startup] = answers.map(({ answer }) =>
  streamFindings(JSON.parse(answer.body)),
);
const ban = (ip: string, seconds: number, scenario = "crowdsecurity/ssh-bf") => ({
  ip,
  seconds,
  reason: `CrowdSec ${scenario}`,
});
const withdrawn = (ip: string) => ({ ip, withdraws: true });

describe("streamFindings, of answers as recorded", () => {
  test("lists that are null say nothing", () => {
    expect(nothing).toEqual([]);
  });

  test("what is new is blocked for what is left of its time", () => {
    expect(detected).toEqual([ban("203.0.113.9", 14_397), ban("2001:db8::5", 14_398)]);
    expect(byHand).toEqual([
      ban("203.0.113.77", 1, "short"),
      ban("198.51.100.0/28", 598, "a range"),
      ban("203.0.113.78", 598, "long"),
      ban("203.0.113.9", 86_398, "longer, by hand"),
    ]);
  });

  test("what has been deleted is withdrawn, before anything is blocked", () => {
    expect(deleted).toEqual([withdrawn("2001:db8::5"), withdrawn("198.51.100.0/28")]);
    expect(startup).toEqual([
      withdrawn("203.0.113.77"),
      withdrawn("2001:db8::5"),
      withdrawn("198.51.100.0/28"),
      ban("203.0.113.78", 589, "long"),
      ban("203.0.113.9", 86_389, "longer, by hand"),
    ]);
  });

  test("a captcha that has been deleted withdraws no ban, and one bad decision does not cost the others", () => {
    const decision = { scope: "Ip", type: "ban", value: "203.0.113.9", duration: "-1s" };
    expect(
      streamFindings({ deleted: [{ ...decision, type: "captcha" }, {}, decision], new: [] }),
    ).toEqual([
      { notUnderstood: "deleted.1.value was looked for and not found." },
      withdrawn("203.0.113.9"),
    ]);
  });

  test("what is no answer is not understood", () => {
    expect(() => streamFindings({ message: "access forbidden", new: "no" })).toThrow(
      NotUnderstoodError,
    );
  });
});
