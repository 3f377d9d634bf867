import * as crypto from "node:crypto";
import { beforeEach, describe, expect, jest, test } from "@jest/globals";
import { DETECTOR_TOKEN, digestOf, OPERATOR_TOKEN, TOKEN_LIST } from "../../support/tokens.ts";

/** The real comparison, counted. */
const timingSafeEqual = jest.fn(crypto.timingSafeEqual);
jest.unstable_mockModule("node:crypto", () => ({ ...crypto, timingSafeEqual }));
const { createTokens, TokenListError } = await import("../../../shared/aws/tokens.ts");

const names: string[] = [];
const errors: Error[] = [];
let list: string | Error;
beforeEach(() => {
  timingSafeEqual.mockClear();
  names.length = 0;
  errors.length = 0;
  list = TOKEN_LIST;
});

const start = () =>
  createTokens(
    {
      async get(name) {
        names.push(name);
        if (list instanceof Error) throw list;
        return list;
      },
    },
    "/portcullis/dev/tokens",
    { error: (_what: unknown, error: unknown) => errors.push(error as Error) } as never,
  );

describe("callerOf", () => {
  test("knows whose token it is, from the list in the parameter", async () => {
    const tokens = start();
    expect(await tokens.callerOf(DETECTOR_TOKEN)).toMatchObject({
      name: "suricata",
      role: "detector",
    });
    expect(await tokens.callerOf(OPERATOR_TOKEN)).toMatchObject({
      name: "night-shift",
      role: "operator",
    });
    expect(new Set(names)).toEqual(new Set(["/portcullis/dev/tokens"]));
  });

  test.each([
    ["an unknown token", "unknown"],
    ["no token", ""],
    ["a token in capital letters", DETECTOR_TOKEN.toUpperCase()],
    ["a token with a space", `${DETECTOR_TOKEN} `],
    ["the beginning of a token", DETECTOR_TOKEN.slice(0, -1)],
    ["the digest itself", digestOf(DETECTOR_TOKEN)],
  ])("knows nobody for %s", async (_what, token) => {
    expect(await start().callerOf(token)).toBeUndefined();
  });

  test("knows nobody where the list is empty", async () => {
    list = "[]";
    expect(await start().callerOf(DETECTOR_TOKEN)).toBeUndefined();
  });

  test.each([DETECTOR_TOKEN, OPERATOR_TOKEN, "unknown", ""])(
    "compares every digest in constant time, also for %j",
    async (token) => {
      await start().callerOf(token);
      expect(timingSafeEqual).toHaveBeenCalledTimes(2);
    },
  );

  test.each([
    ["1 where the list names none", undefined, 1],
    ["the one that the list names", 2.5, 2.5],
    ["nothing, if the list says so", 0, 0],
  ])("knows what its reports weigh: %s", async (_what, weight, expected) => {
    list = entry({ weight });
    expect((await start().callerOf(DETECTOR_TOKEN))?.weight).toBe(expected);
  });

  test("follows a list that changes", async () => {
    const tokens = start();
    await tokens.callerOf(DETECTOR_TOKEN);
    list = "[]";
    expect(await tokens.callerOf(DETECTOR_TOKEN)).toBeUndefined();
  });
});

describe("while the list cannot be read", () => {
  const MALFORMED = [
    ["a failing store", new Error("The parameter store is down.")],
    ["no JSON", "token"],
    ["no list", "{}"],
    ["a null", "null"],
    ["an entry without a name", JSON.stringify([{ role: "detector", sha256: "0".repeat(64) }])],
    ["an unknown role", entry({ role: "admin" })],
    ["a weight below nothing", entry({ weight: -1 })],
    ["a weight above all", entry({ weight: 101 })],
    ["a weight that is no number", entry({ weight: "1" })],
    ["a digest that is too short", entry({ sha256: "0".repeat(63) })],
    ["a token instead of its digest", entry({ sha256: DETECTOR_TOKEN })],
  ] as const;

  test.each(MALFORMED)("the last one holds: %s", async (_what, broken) => {
    const tokens = start();
    await tokens.callerOf("unknown");
    list = broken;
    expect(await tokens.callerOf(DETECTOR_TOKEN)).toMatchObject({ name: "suricata" });
    expect(await tokens.callerOf("unknown")).toBeUndefined();
    expect(errors).toHaveLength(2);
  });

  test.each(MALFORMED)(
    "nobody can be told where there never was one: %s",
    async (_what, broken) => {
      list = broken;
      const expected = broken instanceof Error ? broken.message : TokenListError;
      await expect(start().callerOf(DETECTOR_TOKEN)).rejects.toThrow(expected);
    },
  );

  test("the error says where the list is malformed", async () => {
    list = entry({ sha256: DETECTOR_TOKEN });
    await expect(start().callerOf("")).rejects.toThrow(
      "The list of tokens is malformed at 0.sha256.",
    );
  });
});

function entry(change: object): string {
  const valid = { name: "suricata", role: "detector", sha256: digestOf(DETECTOR_TOKEN) };
  return JSON.stringify([{ ...valid, ...change }]);
}
