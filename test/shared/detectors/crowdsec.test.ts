import { readFileSync } from "node:fs";
import { describe, expect, test } from "@jest/globals";
import * as v from "valibot";
import { goDuration, streamedDecisions } from "../../../shared/detectors/crowdsec.ts";
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
  streamedDecisions(JSON.parse(answer.body)),
);
const ban = (
  ip: string,
  seconds: number,
  origin = "crowdsec",
  scenario = "crowdsecurity/ssh-bf",
) => ({
  ...{ ip, seconds, origin },
  reason: `CrowdSec ${scenario}`,
});
const NOTHING = { bans: [], ended: [], notUnderstood: [] };

describe("streamedDecisions, of answers as recorded", () => {
  test("lists that are null say nothing", () => {
    expect(nothing).toEqual(NOTHING);
  });

  test("what is new is blocked for what is left of its time", () => {
    expect(detected?.bans).toEqual([ban("203.0.113.9", 14_397), ban("2001:db8::5", 14_398)]);
    expect(byHand?.bans).toEqual([
      ban("203.0.113.77", 1, "cscli", "short"),
      ban("198.51.100.0/28", 598, "cscli", "a range"),
      ban("203.0.113.78", 598, "cscli", "long"),
      ban("203.0.113.9", 86_398, "cscli", "longer, by hand"),
    ]);
  });

  test("what has been deleted has ended", () => {
    expect(deleted).toEqual({ ...NOTHING, ended: ["2001:db8::5", "198.51.100.0/28"] });
    expect(startup).toEqual({
      ...NOTHING,
      ended: ["203.0.113.77", "2001:db8::5", "198.51.100.0/28"],
      bans: [
        ban("203.0.113.78", 589, "cscli", "long"),
        ban("203.0.113.9", 86_389, "cscli", "longer, by hand"),
      ],
    });
  });

  test("only bans of addresses and ranges count, and none that is simulated or over", () => {
    const one = { ...JSON.parse(answers[1].answer.body).new[0] };
    const others = [
      { ...one, type: "captcha" },
      { ...one, scope: "Country", value: "FR" },
      { ...one, scope: "AS" },
      { ...one, simulated: true },
      { ...one, duration: "-3s" },
      { ...one, duration: "0s" },
    ];
    expect(streamedDecisions({ new: others, deleted: others.slice(0, 4) })).toEqual(NOTHING);
  });

  test("one bad decision does not cost the others", () => {
    const decision = { scope: "Ip", type: "ban", value: "203.0.113.9", duration: "-1s" };
    const { ended, notUnderstood } = streamedDecisions({ deleted: [{}, decision], new: null });
    expect(ended).toEqual(["203.0.113.9"]);
    expect(notUnderstood).toEqual(["deleted.0.value was looked for and not found."]);
  });

  test.each([
    [{ message: "access forbidden" }],
    [{ new: [] }],
    [{ new: "no", deleted: null }],
    [{}],
    [[]],
    [null],
  ])("%j is no answer, and not an empty list", (document) => {
    expect(() => streamedDecisions(document)).toThrow(NotUnderstoodError);
  });
});
