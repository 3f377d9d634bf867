import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { openStage } from "../../../services/cli/stage.ts";

const before = { ...process.env };
beforeEach(() => {
  Object.assign(process.env, { AWS_REGION: "us-west-2", AWS_DEFAULT_REGION: "us-west-2" });
});
afterEach(() => {
  process.env = { ...before };
});

test("it looks where the stage is deployed, whatever region the environment names", async () => {
  const { sqs, streams, lambda, enforcer } = openStage({ stage: "example" });
  const regions = await Promise.all([sqs, streams, lambda].map(({ config }) => config.region()));
  expect(regions).toEqual(["eu-west-1", "eu-west-1", "eu-west-1"]);
  expect(enforcer).toBe("portcullis-enforcer-example-enforcer");
});
