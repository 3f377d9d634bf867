import { describe, expect, it } from "@jest/globals";
import { compileFilters } from "../sources/filter.ts";

const passes = (pattern: object, record: unknown) =>
  compileFilters([JSON.stringify(pattern)])(record);

describe("a filter pattern", () => {
  it.each<[string, object, unknown, boolean]>([
    ["equals a string", { a: ["x"] }, { a: "x" }, true],
    ["differs from a string", { a: ["x"] }, { a: "y" }, false],
    ["equals any of several", { a: ["x", "y"] }, { a: "y" }, true],
    ["equals a number, not its digits", { a: [1] }, { a: "1" }, false],
    ["equals a boolean", { a: [true] }, { a: true }, true],
    ["equals null", { a: [null] }, { a: null }, true],
    ["null is not absence", { a: [null] }, {}, false],
    ["wants every field", { a: ["x"], b: ["y"] }, { a: "x", b: "z" }, false],
    ["does not mind other fields", { a: ["x"] }, { a: "x", b: "z" }, true],
    ["looks into objects", { a: { b: { c: ["x"] } } }, { a: { b: { c: "x" } } }, true],
    ["looks into objects that are not there", { a: { b: ["x"] } }, {}, false],
    ["looks into objects that are none", { a: { b: ["x"] } }, { a: "b" }, false],
    ["matches any item of an array", { a: ["x"] }, { a: ["w", "x"] }, true],
    ["matches any object of an array", { a: { b: ["x"] } }, { a: [{ b: "w" }, { b: "x" }] }, true],
    ["prefix", { a: [{ prefix: "block#" }] }, { a: "block#1" }, true],
    ["not the prefix", { a: [{ prefix: "block#" }] }, { a: "offender#1" }, false],
    ["prefix of a number", { a: [{ prefix: "1" }] }, { a: 12 }, false],
    ["suffix", { a: [{ suffix: "/32" }] }, { a: "1.2.3.4/32" }, true],
    ["equals-ignore-case", { a: [{ "equals-ignore-case": "X" }] }, { a: "x" }, true],
    ["anything-but another", { a: [{ "anything-but": "x" }] }, { a: "y" }, true],
    ["anything-but the same", { a: [{ "anything-but": "x" }] }, { a: "x" }, false],
    ["anything-but any of several", { a: [{ "anything-but": ["x", 1] }] }, { a: 1 }, false],
    ["anything-but a prefix", { a: [{ "anything-but": { prefix: "b" } }] }, { a: "block" }, false],
    ["anything-but wants the field", { a: [{ "anything-but": "x" }] }, {}, false],
    ["exists", { a: [{ exists: true }] }, { a: "x" }, true],
    ["exists with null", { a: [{ exists: true }] }, { a: null }, true],
    ["exists looks at leaves only", { a: [{ exists: true }] }, { a: { b: 1 } }, false],
    ["does not exist", { a: [{ exists: true }] }, {}, false],
    ["exists: false", { a: [{ exists: false }] }, {}, true],
    ["exists: false deeper", { a: { b: [{ exists: false }] } }, {}, true],
    ["exists: false of what is there", { a: [{ exists: false }] }, { a: "x" }, false],
    ["numeric =", { a: [{ numeric: ["=", 5] }] }, { a: 5 }, true],
    ["numeric range, inside", { a: [{ numeric: [">", 0, "<=", 5] }] }, { a: 5 }, true],
    ["numeric range, outside", { a: [{ numeric: [">=", 0, "<", 5] }] }, { a: 5 }, false],
    ["numeric of digits in a string", { a: [{ numeric: ["=", 5] }] }, { a: "5" }, false],
    ["$or, one side", { $or: [{ a: ["x"] }, { b: ["y"] }] }, { b: "y" }, true],
    ["$or, neither", { $or: [{ a: ["x"] }, { b: ["y"] }] }, { b: "x" }, false],
  ])("%s", (_, pattern, record, expected) => {
    expect(passes(pattern, record)).toBe(expected);
  });

  it("is one of several, any of which may match", () => {
    const filter = compileFilters([JSON.stringify({ a: ["x"] }), JSON.stringify({ b: ["y"] })]);
    expect([{ a: "x" }, { b: "y" }, { a: "y" }].map(filter)).toEqual([true, true, false]);
  });

  it("is not needed: then everything passes", () => {
    expect(compileFilters([])({ a: 1 })).toBe(true);
  });

  it.each([
    ["a rule outside of a list", { a: "x" }],
    ["an empty list", { a: [] }],
    ["an unknown operator", { a: [{ startsWith: "x" }] }],
    ["two operators in a rule", { a: [{ prefix: "x", suffix: "y" }] }],
  ])("is refused with %s", (_, pattern) => {
    expect(() => compileFilters([JSON.stringify(pattern)])).toThrow();
  });
});
