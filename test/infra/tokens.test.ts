import { createRequire } from "node:module";
import { join } from "node:path";
import { describe, expect, test } from "@jest/globals";
import { temporaryDir } from "../../infra/local/test/support/fixtures.ts";
import { makeTokens, parametersOf } from "../../infra/local/tokens.ts";
import { parseCallers } from "../../shared/aws/callers.ts";
import { parseTokens } from "../../shared/aws/tokens.ts";
import { digestOf, signingKeyOf } from "../support/tokens.ts";

type Resolve = { readonly resolveVariable: (variable: string) => Promise<string> };
const packaging: Record<"tokens" | "callers", (resolve: Resolve) => Promise<string>> =
  createRequire(import.meta.url)("../../infra/tokens.cjs");

const TOKEN = "a".repeat(32);

/** What packaging finds in the environment. */
const given = (environment: Readonly<Record<string, string>>): Resolve => ({
  resolveVariable: async (variable) => {
    const [, name = ""] = /env:(\w+)/.exec(variable) ?? [];
    return environment[name] ?? /'(.*)'/.exec(variable)?.[1] ?? "";
  },
});

describe("packaging makes the two lists", () => {
  const both = given({ ACCESS_TOKEN: TOKEN, OPERATOR_TOKEN: `${TOKEN}b` });

  test("of tokens: names and digests, for the endpoint alone", async () => {
    expect(JSON.parse(await packaging.tokens(both))).toEqual([
      { name: "detector", sha256: digestOf(TOKEN) },
      { name: "operator", sha256: digestOf(`${TOKEN}b`) },
    ]);
  });

  test("of callers: names and roles", async () => {
    const callers = parseCallers(await packaging.callers(both));
    expect([...callers.values()].map(({ name, role }) => [name, role])).toEqual([
      ["detector", "detector"],
      ["operator", "operator"],
    ]);
  });

  test("with keys to sign with where they are asked for", async () => {
    const signing = given({ ACCESS_TOKEN: TOKEN, SIGNED_REQUESTS: "on" });
    const value = await packaging.tokens(signing);
    expect(JSON.parse(value)).toEqual([
      { name: "detector", sha256: digestOf(TOKEN), signingKey: signingKeyOf(TOKEN) },
    ]);
    expect(parseTokens(value)).toHaveLength(1);
  });

  test("both empty where there is no token: closed is the safe default", async () => {
    expect([await packaging.tokens(given({})), await packaging.callers(given({}))]).toEqual([
      "[]",
      "[]",
    ]);
  });

  test.each([
    ["ACCESS_TOKEN", "x"],
    ["ACCESS_TOKEN", "a".repeat(31)],
    ["OPERATOR_TOKEN", "a".repeat(31)],
    ["OPERATOR_TOKEN", `${"a".repeat(31)} `],
  ])("none where %s is %j, and says why in one sentence without it", async (name, token) => {
    for (const make of [packaging.tokens, packaging.callers]) {
      const failure = make(given({ [name]: token }));
      await expect(failure).rejects.toThrow(
        `${name} must have at least 32 characters and no blanks; make one with: openssl rand -hex 32`,
      );
      await expect(failure).rejects.toMatchObject({ stack: expect.not.stringContaining("\n") });
    }
  });
});

test("the local cloud makes long tokens, and both lists of them", () => {
  const dir = temporaryDir();
  const tokens = makeTokens(join(dir.path, "tokens.json"));
  for (const token of Object.values(tokens)) expect(token.length).toBeGreaterThanOrEqual(32);
  expect(makeTokens(join(dir.path, "tokens.json"))).toEqual(tokens);
  dir.remove();
  const lists = parametersOf(tokens);
  const callers = parseCallers(lists.callers);
  expect([...callers.values()].map(({ name, role }) => [name, role])).toEqual([
    ["detector", "detector"],
    ["operator", "operator"],
  ]);
  expect(parseTokens(lists.tokens).map(({ name, digests }) => [name, digests])).toEqual(
    Object.entries(tokens).map(([name, token]) => [name, [Buffer.from(digestOf(token), "hex")]]),
  );
});

describe("CALLERS of the local cloud", () => {
  const tokens = { detector: TOKEN, operator: `${TOKEN}b` };

  test("may set limits, and name others with tokens of their own", () => {
    const lists = parametersOf(
      tokens,
      JSON.stringify([
        { name: "detector", addressesPerMinute: 100_000 },
        { name: "probe", role: "detector", token: `${TOKEN}c`, mostSeverity: 3 },
      ]),
    );
    const callers = parseCallers(lists.callers);
    expect([...callers.keys()]).toEqual(["detector", "operator", "probe"]);
    expect(callers.get("detector")).toMatchObject({
      role: "detector",
      limits: { addressesPerMinute: 100_000 },
    });
    expect(callers.get("probe")?.limits.mostSeverity).toBe(3);
    const digests = parseTokens(lists.tokens).map(({ digests: [digest] }) =>
      digest?.toString("hex"),
    );
    expect(digests).toEqual([TOKEN, `${TOKEN}b`, `${TOKEN}c`].map(digestOf));
  });

  test.each(["detector", "{}", "[1]", '[{"role":"detector"}]'])("are no %s", (callers) => {
    expect(() => parametersOf(tokens, callers)).toThrow("CALLERS must be a JSON list");
  });
});
