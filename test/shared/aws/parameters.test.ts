import { setTimeout as pause } from "node:timers/promises";
import {
  type GetParameterCommand,
  ParameterNotFound,
  PutParameterCommand,
  type SSMClient,
} from "@aws-sdk/client-ssm";
import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  jest,
  test,
} from "@jest/globals";
import { startTestEngines } from "../../../infra/local/test/support/fixtures.ts";
import { createParameters } from "../../../shared/aws/parameters.ts";

let aws: Awaited<ReturnType<typeof startTestEngines>>;
beforeAll(async () => {
  aws = await startTestEngines("ssm");
});
afterAll(() => aws.stop());
afterEach(() => {
  jest.restoreAllMocks();
});

const put = (name: string, value: string) =>
  aws.clients.ssm.send(
    new PutParameterCommand({ Name: name, Value: value, Type: "String", Overwrite: true }),
  );
describe("a parameter", () => {
  test("is what the store holds", async () => {
    await put("/portcullis/test/list", "203.0.113.9");
    const parameters = createParameters(aws.clients.ssm);
    expect(await parameters.get("/portcullis/test/list")).toBe("203.0.113.9");
  });

  test("that is not there is empty, and no failure: a deployment makes none", async () => {
    const failed = jest.fn();
    const parameters = createParameters(aws.clients.ssm, failed);
    expect(await parameters.get("/portcullis/test/missing")).toBe("");
    expect(failed).not.toHaveBeenCalled();
  });

  test("is read again after five seconds, and not before", async () => {
    const name = "/portcullis/test/changing";
    const parameters = createParameters(aws.clients.ssm);
    const clock = jest.spyOn(performance, "now").mockReturnValue(1_000);
    await put(name, "before");
    expect(await parameters.get(name)).toBe("before");
    await put(name, "after");
    clock.mockReturnValue(6_000);
    expect(await parameters.get(name)).toBe("before");
    clock.mockReturnValue(6_001);
    await put(name, "after"); // time for the memory's clock, which looks once a millisecond
    expect(await parameters.get(name)).toBe("after");
  });
});

describe("a store that fails", () => {
  let asked: string[];
  let clock: ReturnType<typeof jest.spyOn>;
  const failing = {
    send: async ({ input }: GetParameterCommand) => {
      asked.push(String(input.Name));
      if (input.Name === "missing") {
        throw new ParameterNotFound({ message: "There is none.", $metadata: {} });
      }
      throw new Error("It hangs.");
    },
  } as unknown as SSMClient;
  beforeEach(() => {
    asked = [];
    clock = jest.spyOn(performance, "now").mockReturnValue(1_000);
  });

  test("is not asked again for two seconds, for whatever parameter: nobody waits twice", async () => {
    const parameters = createParameters(failing);
    for (const name of ["one", "one", "other"]) {
      await expect(parameters.get(name)).rejects.toThrow("It hangs.");
    }
    expect(asked).toEqual(["one"]);
    clock.mockReturnValue(3_001);
    await pause(5); // the memory looks at its clock once a millisecond
    await expect(parameters.get("other")).rejects.toThrow("It hangs.");
    expect(asked).toEqual(["one", "other"]);
  });

  test("is counted once for each read that fails, not for each that has to do without", async () => {
    const failed = jest.fn();
    const parameters = createParameters(failing, failed);
    for (const name of ["one", "one", "other"])
      await expect(parameters.get(name)).rejects.toThrow();
    expect(failed).toHaveBeenCalledTimes(1);
  });

  test("is not one that has no such parameter", async () => {
    const parameters = createParameters(failing);
    expect(await parameters.get("missing")).toBe("");
    await expect(parameters.get("one")).rejects.toThrow("It hangs.");
  });
});

test("a store that cannot be reached is an error", async () => {
  const gone = await startTestEngines("ssm");
  await gone.engines.stop();
  await expect(createParameters(gone.clients.ssm).get("/portcullis/test/list")).rejects.toThrow();
  await gone.stop();
});
