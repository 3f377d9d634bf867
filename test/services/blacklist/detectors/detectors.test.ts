import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { detectors } from "../../../../services/blacklist/detectors/index.ts";
import {
  type Finding,
  type Misunderstanding,
  NotUnderstoodError,
  type Options,
} from "../../../../shared/detectors/detector.ts";
import { addressOf, mutated } from "./mutations.ts";

/** A document as the detector sends it, and just what it says, or why it is not understood. */
type Case = {
  readonly what: string;
  readonly options?: Options;
  readonly document: unknown;
  readonly findings?: readonly (Finding | Misunderstanding)[];
  readonly refusal?: string;
  /** Whom a changed document may name, where that is more than the findings do. */
  readonly attackers?: readonly string[];
};

const fixtures = new URL("fixtures/", import.meta.url);

const casesOf = (name: string): readonly Case[] =>
  JSON.parse(readFileSync(new URL(`${name}.json`, fixtures), "utf8"), (_key, value) =>
    value === "for ever" ? Number.POSITIVE_INFINITY : value,
  );

test("each detector has a fixture, and each fixture a detector", () => {
  const files = readdirSync(fixtures).filter((file) => file.endsWith(".json"));
  expect(files.map((file) => file.replace(".json", "")).sort()).toEqual(
    [...detectors.keys()].sort(),
  );
});

describe.each([...detectors.values()])("$name", ({ name, findings }) => {
  const cases = casesOf(name);

  test.each(cases)("$what", ({ document, options = {}, findings: expected, refusal }) => {
    const say = () => findings(document, options);
    if (refusal === undefined) expect(say()).toEqual(expected);
    else expect(say).toThrow(new NotUnderstoodError(refusal));
  });

  test.each(cases)(
    "$what, changed in hundreds of ways, names nobody else and throws nothing else",
    ({ document, options = {}, findings: expected = [], attackers }) => {
      const named = attackers ?? expected.flatMap((one) => ("ip" in one ? [String(one.ip)] : []));
      const known = new Set(named.map((ip) => addressOf(ip) ?? ip));
      fc.assert(
        fc.property(mutated(document, known), (changed) => {
          for (const one of saidOf(() => findings(changed, options))) {
            if ("notUnderstood" in one) {
              expectSentence(one.notUnderstood);
              continue;
            }
            const { ip, seconds = 1, severity = 1, reason = "" } = one;
            const address = addressOf(ip);
            if (address !== undefined) expect(known).toContain(address);
            expect(seconds === Number.POSITIVE_INFINITY || Number.isInteger(seconds)).toBe(true);
            expect(seconds).toBeGreaterThanOrEqual(1);
            expect([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]).toContain(severity);
            expect(typeof reason).toBe("string");
          }
        }),
        { numRuns: 300 },
      );
    },
  );

  test.each([undefined, null, "", "text", 42, true, [], {}, [[]]])(
    "%j says nothing, or is not understood",
    (document) => {
      const options = cases[0]?.options ?? {};
      expect(saidOf(() => findings(document, options))).toEqual([]);
    },
  );

  test("a parameter that it does not take is refused, and not repeated", () => {
    const [{ document, options } = { document: {} }] = cases;
    expect(() => findings(document, { ...options, s3cret: "s3cret" })).toThrow(
      new NotUnderstoodError("The request has a parameter that this detector does not take."),
    );
  });
});

/** What it says; nothing where it is not understood. */
function saidOf(say: () => readonly (Finding | Misunderstanding)[]) {
  try {
    return say();
  } catch (error) {
    if (!(error instanceof NotUnderstoodError)) throw error;
    expectSentence(error.message);
    return [];
  }
}

/** Values of the documents: addresses, names, what was put there instead. */
const SECRET = /203\.0|198\.51|2001:db8|10\.0\.0|web-1|i-0123|arn:|\[object/;

function expectSentence(message: string): void {
  expect(message).toMatch(/^[^\n]{10,250}\.$/);
  expect(message).not.toMatch(SECRET);
}
