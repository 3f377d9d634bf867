import { createRequire } from "node:module";
import { join } from "node:path";
import { describe, expect, test } from "@jest/globals";
import { temporaryDir } from "../../infra/local/test/support/fixtures.ts";
import { makeTokens, parametersOf } from "../../infra/local/tokens.ts";
import { parseCallers } from "../../shared/aws/callers.ts";
import { parseTokens } from "../../shared/aws/tokens.ts";
import { digestOf } from "../support/tokens.ts";

type Serverless = {
  readonly options: object;
  readonly resolveVariable: (variable: string) => Promise<string>;
};
type Parameters = { readonly Resources: Record<string, { Properties: { Value: string } }> };
const parameters: (serverless: Serverless) => Promise<Parameters> = createRequire(import.meta.url)(
  "../../infra/parameters.cjs",
);

const TOKEN = "a".repeat(32);

/** What packaging finds in the environment. */
const given = (environment: Readonly<Record<string, string>>, stage = "first-try"): Serverless => ({
  options: {},
  resolveVariable: async (variable) => {
    if (variable === "sls:stage") return stage;
    const [, name = ""] = /env:(\w+)/.exec(variable) ?? [];
    return { ACL_ID: "acl-0123456789abcdef0", ...environment }[name] ?? "";
  },
});

const valuesOf = async (serverless: Serverless) => {
  const { Resources } = await parameters(serverless);
  const value = (name: string) => String(Resources[`${name}Parameter`]?.Properties.Value);
  return { tokens: value("Tokens"), callers: value("Callers") };
};

describe("a first try's two lists", () => {
  const both = given({ ACCESS_TOKEN: TOKEN, OPERATOR_TOKEN: `${TOKEN}b` });

  test("of tokens: names and digests, for the endpoint alone", async () => {
    const { tokens } = await valuesOf(both);
    expect(JSON.parse(tokens)).toEqual([
      { name: "detector", sha256: digestOf(TOKEN) },
      { name: "operator", sha256: digestOf(`${TOKEN}b`) },
    ]);
    expect(parseTokens(tokens)).toHaveLength(2);
  });

  test("of callers: names and roles", async () => {
    const callers = parseCallers((await valuesOf(both)).callers);
    expect([...callers.values()].map(({ name, role }) => [name, role])).toEqual([
      ["detector", "detector"],
      ["operator", "operator"],
    ]);
  });

  test.each(["ACL_ID", "ACCESS_TOKEN"])("are not made without %s", async (missing) => {
    const made = parameters(given({ ACCESS_TOKEN: TOKEN, [missing]: "" }));
    await expect(made).rejects.toThrow(`A first try needs ${missing} each time it is deployed.`);
  });

  test.each([
    ["ACCESS_TOKEN", "x"],
    ["ACCESS_TOKEN", "a".repeat(31)],
    ["OPERATOR_TOKEN", "a".repeat(31)],
    ["OPERATOR_TOKEN", `${"a".repeat(31)} `],
  ])("are not made where %s is %j, and one sentence without it says why", async (name, token) => {
    const failure = parameters(given({ ACCESS_TOKEN: TOKEN, [name]: token }));
    await expect(failure).rejects.toThrow(
      `${name} must have at least 32 characters and no blanks; make one with: openssl rand -hex 32`,
    );
    await expect(failure).rejects.toMatchObject({ stack: expect.not.stringContaining("\n") });
  });
});

test("no other stage's parameters are CloudFormation's: no deployment can empty them", async () => {
  const tokens = { ACCESS_TOKEN: TOKEN, OPERATOR_TOKEN: TOKEN };
  expect(await parameters(given(tokens, "example"))).toEqual({ Resources: {} });
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
    Object.entries(tokens).map(([name, token]) => [
      name,
      [{ bytes: Buffer.from(digestOf(token), "hex") }],
    ]),
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
      digest?.bytes.toString("hex"),
    );
    expect(digests).toEqual([TOKEN, `${TOKEN}b`, `${TOKEN}c`].map(digestOf));
  });

  test.each(["detector", "{}", "[1]", '[{"role":"detector"}]'])("are no %s", (callers) => {
    expect(() => parametersOf(tokens, callers)).toThrow("CALLERS must be a JSON list");
  });
});
