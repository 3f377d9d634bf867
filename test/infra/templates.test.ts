import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { readJson } from "../../infra/local/files.ts";
import { PROJECT_ROOT, packageServices } from "../../infra/local/package.ts";
import { compileFilters } from "../../infra/local/sources/filter.ts";
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
    const crowdsec = model.functions.find(({ artefact }) => artefact === "crowdsec");
    expect(model.schedules.map(({ functionName }) => functionName)).toEqual([
      enforcer?.name,
      crowdsec?.name,
    ]);
  });

  it("wakes the enforcer where an operator orders a mode, or takes the order back", () => {
    const passes = compileFilters(model.streamMappings[0]?.filterPatterns ?? []);
    const record = (eventName: string, sk: string) => ({
      eventName,
      dynamodb: { Keys: { list: { S: "portcullis-dev#orders" }, sk: { S: sk } } },
    });
    for (const eventName of ["INSERT", "MODIFY", "REMOVE"])
      expect(passes(record(eventName, "mode"))).toBe(true);
    expect(passes(record("INSERT", "unblocks"))).toBe(false);
    expect(passes(record("MODIFY", "block#203.0.113.9/32"))).toBe(false);
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

  it.each([
    ["blacklist", "@middy/core", "@aws-sdk/client-sqs"],
    ["worker", "@aws-sdk/client-dynamodb", "@aws-sdk/client-sqs"],
    ["enforcer", "@aws-sdk/client-ec2", "@aws-sdk/client-wafv2"],
    ["crowdsec", "@aws-sdk/client-dynamodb", "@aws-sdk/client-sqs"],
  ])("has a bill of materials of the %s's bundle", (service, ...some) => {
    const bill = readJson<Bill>(
      join(PROJECT_ROOT, "services", service, ".serverless/sbom.cdx.json"),
    );
    expect(bill?.bomFormat).toBe("CycloneDX");
    expect(bill?.metadata.component.name).toBe("portcullis");
    const names = bill?.components.map(({ group, name }) => (group ? `${group}/${name}` : name));
    expect(names).toEqual(expect.arrayContaining([...some, "@smithy/core", "valibot"]));
    expect(names).not.toContain("esbuild");
  });
});

/** What is read here of a CycloneDX file. */
type Bill = {
  bomFormat: string;
  metadata: { component: { name: string } };
  components: { group?: string; name: string }[];
};
