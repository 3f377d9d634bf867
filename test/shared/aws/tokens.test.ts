import * as crypto from "node:crypto";
import { beforeEach, describe, expect, jest, test } from "@jest/globals";
import type { Addition } from "../../../shared/aws/table/additions.ts";
import { DEFAULT_LIMITS } from "../../../shared/domain/caller.ts";
import {
  CALLER_LIST,
  DETECTOR_TOKEN,
  digestOf,
  OPERATOR_TOKEN,
  signingKeyOf,
  TOKEN_LIST,
} from "../../support/tokens.ts";

/** The real comparison, counted. */
const timingSafeEqual = jest.fn(crypto.timingSafeEqual);
jest.unstable_mockModule("node:crypto", () => ({ ...crypto, timingSafeEqual }));
const { createTokens } = await import("../../../shared/aws/tokens.ts");
const { createCallers } = await import("../../../shared/aws/callers.ts");
const { MalformedParameterError } = await import("../../../shared/aws/parameters.ts");

const NOW = 1_800_000_000_000;
const HOUR = 3_600_000;

const names: string[] = [];
const errors: unknown[] = [];
let list: string | Error;
let callers: string | Error;
let addedTokens: Addition[];
let addedSettings: Addition[];
let now: number;
beforeEach(() => {
  addedTokens = [];
  addedSettings = [];
  timingSafeEqual.mockClear();
  names.length = 0;
  errors.length = 0;
  list = TOKEN_LIST;
  callers = CALLER_LIST;
  now = NOW;
});

function start() {
  const parameters = {
    async get(name: string) {
      names.push(name);
      const value = name === "/tokens" ? list : callers;
      if (value instanceof Error) throw value;
      return value;
    },
  };
  const log = { error: (_what: unknown, error: unknown) => errors.push(error) } as never;
  const clock = () => now;
  const known = createCallers(parameters, "/callers", async () => addedSettings, log, clock);
  return createTokens(parameters, "/tokens", async () => addedTokens, known, log, clock);
}

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
    expect(new Set(names)).toEqual(new Set(["/tokens", "/callers"]));
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
    "compares once, in constant time, also for %j",
    async (token) => {
      await start().callerOf(token);
      expect(timingSafeEqual).toHaveBeenCalledTimes(1);
    },
  );

  test("knows both of a caller's digests, whichever of them it is", async () => {
    list = entry({ sha256: [digestOf("old"), digestOf("new")] });
    const tokens = start();
    for (const token of ["old", "new"]) {
      expect(await tokens.callerOf(token)).toMatchObject({ name: "suricata" });
    }
  });

  test("knows how far the caller may go, from the list of callers", async () => {
    callers = JSON.stringify([
      { name: "suricata", role: "detector", weight: 2.5, outstanding: 7, leastPrefix4: 32 },
    ]);
    const limits = DEFAULT_LIMITS.detector;
    expect(await start().callerOf(DETECTOR_TOKEN)).toEqual({
      name: "suricata",
      role: "detector",
      weight: 2.5,
      from: [],
      limits: { ...limits, outstanding: 7, leastPrefix: { 4: 32, 6: limits.leastPrefix[6] } },
    });
  });

  test("knows nobody whom the list of callers does not name", async () => {
    callers = "[]";
    expect(await start().callerOf(DETECTOR_TOKEN)).toBeUndefined();
    expect(await start().signerOf("suricata")).toBeUndefined();
  });

  test("passes over what entries said before there was a list of callers", async () => {
    list = entry({ role: "operator", weight: 7 });
    expect(await start().callerOf(DETECTOR_TOKEN)).toMatchObject({ role: "detector", weight: 1 });
  });

  test("follows a list that changes", async () => {
    const tokens = start();
    await tokens.callerOf(DETECTOR_TOKEN);
    list = "[]";
    expect(await tokens.callerOf(DETECTOR_TOKEN)).toBeUndefined();
  });
});

describe("what operators have added", () => {
  const caller = (name: string, change: object = {}) => ({
    ...{ sk: `caller#${name}`, caller: { name, role: "detector", ...change } },
  });
  const token = (name: string, ...tokens: string[]) => ({
    ...{ sk: `token#${name}`, secrets: tokens.map((one) => ({ sha256: digestOf(one) })) },
  });

  test("is known beside the parameter's callers", async () => {
    addedSettings = [caller("zeek", { outstanding: 7 }), { sk: "never-block#192.0.2.1/32" }];
    addedTokens = [token("zeek", "new")];
    const tokens = start();
    expect(await tokens.callerOf("new")).toMatchObject({
      name: "zeek",
      limits: { outstanding: 7 },
    });
    expect(await tokens.callerOf(DETECTOR_TOKEN)).toMatchObject({ name: "suricata" });
  });

  test("overrides the parameter name by name: a token that was replaced is unknown", async () => {
    addedTokens = [token("suricata", "new")];
    const tokens = start();
    expect(await tokens.callerOf("new")).toMatchObject({ name: "suricata" });
    expect(await tokens.callerOf(DETECTOR_TOKEN)).toBeUndefined();
  });

  test("revokes a caller whom the parameter still names", async () => {
    addedSettings = [{ sk: "caller#suricata", caller: null }];
    const tokens = start();
    expect(await tokens.callerOf(DETECTOR_TOKEN)).toBeUndefined();
    expect(await tokens.signerOf("suricata")).toBeUndefined();
    expect(await tokens.callerOf(OPERATOR_TOKEN)).toMatchObject({ name: "night-shift" });
  });

  test("knows a token that was replaced until its end", async () => {
    const old = { sha256: digestOf("old"), expiresAt: NOW / 1000 + 60 };
    addedTokens = [{ sk: "token#suricata", secrets: [{ sha256: digestOf("new") }, old] }];
    const tokens = start();
    expect(await tokens.callerOf("old")).toMatchObject({ name: "suricata" });
    now += 60_000;
    expect(await tokens.callerOf("old")).toBeUndefined();
    expect(await tokens.callerOf("new")).toMatchObject({ name: "suricata" });
  });

  test("is found among a thousand with one comparison", async () => {
    const names = Array.from({ length: 1_000 }, (_, n) => `detector-${n}`);
    addedSettings = names.map((name) => caller(name));
    addedTokens = names.map((name) => token(name, `secret of ${name}`));
    expect(await start().callerOf("secret of detector-999")).toMatchObject({
      name: "detector-999",
    });
    expect(timingSafeEqual).toHaveBeenCalledTimes(1);
  });

  test.each([
    ["a caller of an unknown role", () => (addedSettings = [caller("zeek", { role: "admin" })])],
    [
      "a caller under another's name",
      () => (addedSettings = [{ ...caller("zeek"), sk: "caller#x" }]),
    ],
    ["a token that is none", () => (addedTokens = [{ sk: "token#zeek", secrets: ["x"] }])],
    ["three tokens", () => (addedTokens = [token("zeek", "a", "b", "c")])],
  ])("that is malformed fails closed: %s", async (_what, breakIt) => {
    breakIt();
    await expect(start().callerOf(DETECTOR_TOKEN)).rejects.toThrow(MalformedParameterError);
  });

  test("is enough: a deployment may do without parameters", async () => {
    list = "";
    callers = "";
    addedSettings = [caller("zeek")];
    addedTokens = [token("zeek", "new")];
    expect(await start().callerOf("new")).toMatchObject({ name: "zeek" });
  });
});

describe("signerOf", () => {
  test("knows the caller and its keys", async () => {
    const key = Buffer.from(signingKeyOf(DETECTOR_TOKEN), "hex");
    expect(await start().signerOf("suricata")).toEqual({
      caller: expect.objectContaining({ name: "suricata" }),
      keys: [key],
    });
  });

  test("knows nobody who has no key", async () => {
    list = entry({});
    expect(await start().signerOf("suricata")).toBeUndefined();
    expect(await start().signerOf("nobody")).toBeUndefined();
  });
});

describe("a list that is malformed fails closed: a mistyped list must not leave a stolen token valid", () => {
  test.each([
    ["no JSON", "token"],
    ["no list", "{}"],
    ["a null", "null"],
    ["an entry without a name", JSON.stringify([{ sha256: "0".repeat(64) }])],
    ["an entry without a digest", JSON.stringify([{ name: "suricata" }])],
    ["three digests", entry({ sha256: Array(3).fill("0".repeat(64)) })],
    ["no digests", entry({ sha256: [] })],
    ["a digest that is too short", entry({ sha256: "0".repeat(63) })],
    ["a token instead of its digest", entry({ sha256: DETECTOR_TOKEN })],
    ["a token instead of a signing key", entry({ signingKey: DETECTOR_TOKEN })],
  ])("of tokens: %s", async (_what, broken) => {
    const tokens = start();
    await tokens.callerOf("unknown");
    list = broken;
    await expect(tokens.callerOf(DETECTOR_TOKEN)).rejects.toThrow(MalformedParameterError);
    await expect(tokens.signerOf("suricata")).rejects.toThrow(MalformedParameterError);
    list = TOKEN_LIST;
    expect(await tokens.callerOf(DETECTOR_TOKEN)).toMatchObject({ name: "suricata" });
  });

  test.each([
    ["an unknown role", { role: "admin" }],
    ["a weight below nothing", { weight: -1 }],
    ["a limit of an unknown name", { outstandng: 7 }],
    ["a range that is none", { from: ["203.0.113.9/33"] }],
    ["a name with a blank", { name: "suri cata" }],
  ])("of callers: %s", async (_what, change) => {
    const tokens = start();
    await tokens.callerOf("unknown");
    callers = JSON.stringify([{ name: "suricata", role: "detector", ...change }]);
    await expect(tokens.callerOf(DETECTOR_TOKEN)).rejects.toThrow(MalformedParameterError);
  });

  test("also once the store cannot be read: what was read last was malformed", async () => {
    const tokens = start();
    await tokens.callerOf("unknown");
    list = "[";
    await expect(tokens.callerOf(DETECTOR_TOKEN)).rejects.toThrow(MalformedParameterError);
    list = new Error("The parameter store is down.");
    await expect(tokens.callerOf(DETECTOR_TOKEN)).rejects.toThrow(MalformedParameterError);
  });

  test("and the error says where", async () => {
    list = entry({ sha256: DETECTOR_TOKEN });
    await expect(start().callerOf("")).rejects.toThrow(
      "The list of tokens is malformed at 0.sha256.",
    );
  });
});

describe("while the store cannot be read", () => {
  const down = new Error("The parameter store is down.");

  test("the list that was read last holds for an hour, and the failure is logged once", async () => {
    const tokens = start();
    await tokens.callerOf("unknown");
    list = down;
    now = NOW + HOUR;
    expect(await tokens.callerOf(DETECTOR_TOKEN)).toMatchObject({ name: "suricata" });
    expect(await tokens.callerOf("unknown")).toBeUndefined();
    expect(errors).toHaveLength(1);
    now = NOW + HOUR + 1;
    await expect(tokens.callerOf(DETECTOR_TOKEN)).rejects.toThrow(down);
  });

  test("nobody can be told where there never was one", async () => {
    list = down;
    await expect(start().callerOf(DETECTOR_TOKEN)).rejects.toThrow(down);
  });
});

function entry(change: object): string {
  return JSON.stringify([{ name: "suricata", sha256: digestOf(DETECTOR_TOKEN), ...change }]);
}
