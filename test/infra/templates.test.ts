import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { packageServices } from "../../infra/local/package.ts";
import { type Model, readModel } from "../../infra/local/template.ts";
import { temporaryDir } from "../../infra/local/test/support/fixtures.ts";

describe("the packaged product", () => {
  const dir = temporaryDir();
  let model: Model;
  beforeAll(async () => {
    const { templates } = await packageServices(dir.path);
    model = readModel(templates, { region: "us-east-1" });
  }, 200_000);
  afterAll(() => dir.remove());

  it("has one writer of the ACL, woken by stream and schedule", () => {
    const enforcer = model.functions.find(({ artefact }) => artefact === "enforcer");
    expect(enforcer?.reservedConcurrency).toBe(1);
    expect(model.streamMappings.map(({ functionName }) => functionName)).toEqual([enforcer?.name]);
    expect(model.schedules.map(({ functionName }) => functionName)).toEqual([enforcer?.name]);
  });

  it("has a queue that hides a message for six times the worker's timeout", () => {
    const worker = model.functions.find(({ artefact }) => artefact === "worker");
    const mapping = model.queueMappings.find(({ functionName }) => functionName === worker?.name);
    const name = mapping?.queueArn.split(":").at(-1);
    const queue = model.queues.find((each) => each.name === name);
    expect(Number(queue?.attributes.VisibilityTimeout)).toBeGreaterThanOrEqual(
      6 * (worker?.timeoutSeconds ?? 0),
    );
  });
});
