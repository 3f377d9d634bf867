import { describe, expect, test } from "@jest/globals";
import * as v from "valibot";
import { NotUnderstoodError, ofEach } from "../../../shared/detectors/detector.ts";
import { duration, fieldOf, severityOf, valueAt } from "../../../shared/detectors/values.ts";

describe("ofEach", () => {
  const named = v.object({ ip: v.string() });
  const say = (group: readonly unknown[]) => ofEach(group, "alerts", named, ({ ip }) => [{ ip }]);

  test("a bad part costs none of the others", () => {
    expect(say([{ ip: 1 }, { ip: "203.0.113.9" }])).toEqual([
      { notUnderstood: "alerts.0.ip was looked for as text and is something else." },
      { ip: "203.0.113.9" },
    ]);
  });

  test("a group of bad parts only is not understood", () => {
    expect(() => say([{}, { ip: 1 }])).toThrow(
      new NotUnderstoodError("alerts.0.ip was looked for and not found."),
    );
  });

  test("a group of a bad part and of one that says nothing is understood", () => {
    expect(ofEach([{}, { ip: "" }], "alerts", named, () => [])).toEqual([
      { notUnderstood: "alerts.0.ip was looked for and not found." },
    ]);
  });

  test("an empty group says nothing", () => {
    expect(say([])).toEqual([]);
  });

  test("an error of our own is no misunderstanding", () => {
    const fail = () => {
      throw new TypeError("ours");
    };
    expect(() => ofEach([{ ip: "" }, { ip: "" }], "alerts", named, fail)).toThrow("ours");
  });
});

test.each([
  [0, 1],
  [0.4, 1],
  [6.5, 7],
  ["7", 7],
  [11, 10],
  ["CRITICAL", 9],
  ["warning", 5],
  ["Informational", 2],
  ["page", undefined],
  ["", undefined],
  [null, undefined],
  [Number.NaN, undefined],
])("the severity %j is %j", (given, severity) => {
  expect(severityOf(given)).toBe(severity);
});

test.each([
  [6, 6],
  [0.2, 1],
  ["600.4", 601],
  [-1, Number.POSITIVE_INFINITY],
  ["-1", Number.POSITIVE_INFINITY],
])("%j is for %d seconds", (given, seconds) => {
  expect(v.parse(duration, given)).toBe(seconds);
});

test.each([0, "0", "", "1e3", "4h", true, null, "9".repeat(16)])("%j is no duration", (given) => {
  expect(v.is(duration, given)).toBe(false);
});

test("only what a document says itself is found in it", () => {
  expect(valueAt({ a: [{ b: 1 }] }, "a", "0", "b")).toBe(1);
  for (const path of [["constructor"], ["a", "length", "toString"], ["a", "map"], ["__proto__"]]) {
    expect(valueAt({ a: [] }, ...path)).toBeUndefined();
  }
  expect(valueAt(JSON.parse('{"__proto__":{"ip":1}}'), "ip")).toBeUndefined();
});

test("a field's name stands with dots or nested", () => {
  expect(fieldOf({ "source.ip": "a", source: { ip: "b" } }, "source.ip")).toBe("a");
  expect(fieldOf({ source: { ip: "b" } }, "source.ip")).toBe("b");
  expect(fieldOf({ source: "b" }, "source.ip")).toBeUndefined();
});
