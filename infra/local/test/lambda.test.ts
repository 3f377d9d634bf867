import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "@jest/globals";
import { createFunction, type LambdaFunction, ThrottledError } from "../lambda.ts";
import type { FunctionModel } from "../template.ts";
import { memoryLog, temporaryDir, until } from "./support/fixtures.ts";

const dir = temporaryDir();
afterAll(() => dir.remove());

let opened: LambdaFunction[] = [];
afterEach(async () => {
  await Promise.all(opened.map((lambda) => lambda.close(0)));
  opened = [];
});

let count = 0;
/** A function of this source; its handler is the export `handler`. */
function functionOf(source: string, model: Partial<FunctionModel> = {}, env = {}) {
  const artefact = `fn${++count}`;
  mkdirSync(join(dir.path, artefact));
  writeFileSync(join(dir.path, artefact, "handler.mjs"), source);
  const log = memoryLog();
  const lambda = createFunction(
    {
      name: `svc-${artefact}`,
      arn: `arn:aws:lambda:us-east-1:000000000000:function:svc-${artefact}`,
      artefact,
      handler: "handler.handler",
      timeoutSeconds: 5,
      memoryMb: 128,
      environment: {},
      settings: [],
      asynchronous: { maximumRetryAttempts: 0, maximumEventAgeSeconds: 60 },
      ...model,
    },
    { codeDir: dir.path, env, log },
  );
  opened.push(lambda);
  return { ...lambda, log };
}

/** A handler that runs until the file of its event is there. */
const GATED = `
  import { existsSync } from "node:fs";
  export const handler = async ({ gate, name }) => {
    console.log("began " + name);
    while (!existsSync(gate)) await new Promise((r) => setTimeout(r, 10));
    return name;
  };`;
const gate = (name: string) => join(dir.path, `gate-${name}`);
const open = (name: string) => writeFileSync(gate(name), "");

describe("a function", () => {
  it("gets event and context, and its own environment", async () => {
    const { invoke } = functionOf(
      `export const handler = async (event, context) => ({
         event, name: context.functionName, id: context.awsRequestId,
         left: context.getRemainingTimeInMillis(), arn: context.invokedFunctionArn,
         color: process.env.COLOR, lambda: process.env.AWS_LAMBDA_FUNCTION_NAME,
         path: process.env.PATH,
       });`,
      {},
      { COLOR: "red" },
    );
    const outcome = await invoke({ a: [1, "x"] });
    expect(outcome).toMatchObject({
      ok: true,
      payload: {
        event: { a: [1, "x"] },
        name: expect.stringMatching(/^svc-fn/),
        id: expect.stringMatching(/^[0-9a-f-]{36}$/),
        arn: expect.stringMatching(/^arn:aws:lambda:/),
        color: "red",
        lambda: expect.stringMatching(/^svc-fn/),
      },
    });
    expect(outcome.ok && (outcome.payload as { path?: string }).path).toBeUndefined();
    const left = (outcome.ok && (outcome.payload as { left: number }).left) || 0;
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThanOrEqual(5_000);
  });

  it("initialises once and keeps its environment, even when the handler throws", async () => {
    const { invoke } = functionOf(`
      let calls = 0;
      export const handler = async () => {
        if (++calls === 2) throw new RangeError("second");
        return calls;
      };`);
    expect(await invoke({})).toEqual({ ok: true, payload: 1 });
    expect(await invoke({})).toMatchObject({
      ok: false,
      error: { errorType: "RangeError", errorMessage: "second", trace: expect.any(Array) },
    });
    expect(await invoke({})).toEqual({ ok: true, payload: 3 });
  });

  it("that answers nothing answers null", async () => {
    const { invoke } = functionOf("export const handler = async () => {};");
    expect(await invoke({})).toEqual({ ok: true, payload: null });
  });

  it("that takes too long is ended with its environment", async () => {
    const { invoke } = functionOf(
      `let calls = 0;
       export const handler = async ({ hang }) => {
         calls++;
         if (hang) for (;;);
         return calls;
       };`,
      { timeoutSeconds: 1 },
    );
    expect(await invoke({})).toEqual({ ok: true, payload: 1 });
    expect(await invoke({ hang: true })).toMatchObject({
      ok: false,
      error: {
        errorType: "Sandbox.Timedout",
        errorMessage: expect.stringMatching(/1\.00 seconds/),
      },
    });
    expect(await invoke({})).toEqual({ ok: true, payload: 1 });
  });

  it("that exits is an error, and the next invocation has a new environment", async () => {
    const { invoke } = functionOf(
      "export const handler = async ({ exit }) => (exit ? process.exit(1) : 'well');",
    );
    expect(await invoke({ exit: true })).toMatchObject({
      ok: false,
      error: { errorType: "Runtime.ExitError" },
    });
    expect(await invoke({})).toEqual({ ok: true, payload: "well" });
  });

  it.each([
    ["has an error outside of the handler", "throw new TypeError('at once')", "TypeError"],
    ["has no handler", "export const other = 1", "Runtime.HandlerNotFound"],
  ])("that %s fails each invocation", async (_, source, errorType) => {
    const { invoke } = functionOf(source);
    for (const _attempt of [1, 2]) {
      expect(await invoke({})).toMatchObject({ ok: false, error: { errorType } });
    }
  });

  it("writes into its log", async () => {
    const { invoke, log } = functionOf("export const handler = async () => console.log('hello');");
    await invoke({});
    await until(() => log.lines.some((line) => line.includes("hello")));
  });
});

describe("concurrency", () => {
  it("that is reserved throttles what is beyond it", async () => {
    const { invoke } = functionOf(GATED, { reservedConcurrency: 1 });
    const first = invoke({ gate: gate("a"), name: "a" });
    await expect(invoke({ gate: gate("a"), name: "b" })).rejects.toThrow(ThrottledError);
    open("a");
    expect(await first).toEqual({ ok: true, payload: "a" });
    expect(await invoke({ gate: gate("a"), name: "c" })).toEqual({ ok: true, payload: "c" });
  });

  it("lets those wait that may, in the order they came", async () => {
    const { invoke, log } = functionOf(GATED, { reservedConcurrency: 1 });
    const all = ["one", "two", "three"].map((name) =>
      invoke({ gate: gate("b"), name }, { waitMs: 20_000 }),
    );
    await until(() => log.lines.some((line) => line.includes("began one")));
    expect(log.lines.join("")).not.toContain("began two");
    open("b");
    expect(await Promise.all(all)).toMatchObject([
      { payload: "one" },
      { payload: "two" },
      { payload: "three" },
    ]);
    const began = () => log.lines.join("").match(/began \w+/g) ?? [];
    await until(() => began().length === 3);
    expect(began()).toEqual(["began one", "began two", "began three"]);
  });

  it("is throttled after having waited in vain, and nothing is lost by it", async () => {
    const { invoke } = functionOf(GATED, { reservedConcurrency: 1 });
    const first = invoke({ gate: gate("c"), name: "first" });
    await expect(invoke({}, { waitMs: 50 })).rejects.toThrow(ThrottledError);
    open("c");
    await first;
    expect(await invoke({ gate: gate("c"), name: "last" })).toEqual({ ok: true, payload: "last" });
  });

  it("without reservation is several environments, one invocation each", async () => {
    const { invoke, log } = functionOf(GATED);
    const all = [1, 2, 3, 4, 5].map((name) => invoke({ gate: gate("d"), name: String(name) }));
    await until(() => log.lines.join("").match(/began/g)?.length === 4);
    open("d");
    expect((await Promise.all(all)).map((outcome) => outcome.ok)).toEqual(Array(5).fill(true));
  });

  it("is none once closed; what runs may end", async () => {
    const { invoke, close, log } = functionOf(GATED);
    const running = invoke({ gate: gate("e"), name: "e" });
    await until(() => log.lines.some((line) => line.includes("began e")));
    const closed = close(20_000);
    await expect(invoke({})).rejects.toThrow(ThrottledError);
    open("e");
    expect(await running).toEqual({ ok: true, payload: "e" });
    await closed;
  });
});
