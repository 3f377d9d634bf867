import { describe, expect, test } from "@jest/globals";
import * as v from "valibot";
import {
  bounded,
  MAX_FINDINGS,
  NotUnderstoodError,
  ofEach,
} from "../../../shared/detectors/detector.ts";
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

  test("parts that say nothing are all looked at, however many", () => {
    const group = Array(20 * MAX_FINDINGS).fill({ ip: "" });
    expect(ofEach(group, "alerts", named, () => [])).toEqual([]);
  });

  test.each<[string, unknown, number]>([
    ["not understood", 0, 1],
    ["one address each", { ip: "203.0.113.9" }, 1],
    ["a hundred addresses each", { ip: "203.0.113.9" }, 100],
    ["more addresses than may be", { ip: "203.0.113.9" }, MAX_FINDINGS + 1],
  ])("a group is looked at as far as it may say something: %s", (_what, part, each) => {
    let looked = 0;
    const counted = v.pipe(
      v.unknown(),
      v.check(() => ++looked > 0),
      named,
    );
    const say = () =>
      ofEach(Array(100 * MAX_FINDINGS).fill(part), "alerts", counted, ({ ip }) =>
        Array(each).fill({ ip }),
      );
    expect(say).toThrow(new NotUnderstoodError("alerts: more than 10000 were found."));
    expect(looked).toBe(Math.floor(MAX_FINDINGS / each) + 1);
  });

  test("of a bad group, the error tells how many parts were looked at", () => {
    expect(() => say([{}, {}, {}])).toThrow(expect.objectContaining({ parts: 3 }));
  });
});

test("a list of addresses may be as long as what a request may name", () => {
  const list = Array(MAX_FINDINGS).fill("203.0.113.9");
  expect(bounded(list, "ip")).toBe(list);
  expect(() => bounded([...list, ""], "ip")).toThrow(
    new NotUnderstoodError("ip: more than 10000 were found."),
  );
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
