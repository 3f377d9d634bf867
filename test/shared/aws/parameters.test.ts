import { PutParameterCommand } from "@aws-sdk/client-ssm";
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { createParameters } from "../../../shared/aws/parameters.ts";
import { startTestEngines } from "../../infra/local/fixtures.ts";

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

  test("that is not there is an error that names it, also the second time", async () => {
    const parameters = createParameters(aws.clients.ssm);
    for (let time = 0; time < 2; time++) {
      await expect(parameters.get("/portcullis/test/missing")).rejects.toThrow();
    }
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

test("a store that cannot be reached is an error", async () => {
  const gone = await startTestEngines("ssm");
  await gone.engines.stop();
  await expect(createParameters(gone.clients.ssm).get("/portcullis/test/list")).rejects.toThrow();
  await gone.stop();
});
