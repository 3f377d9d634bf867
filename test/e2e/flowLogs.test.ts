import { InvokeCommand, LambdaClient } from "@aws-sdk/client-lambda";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { flowLogEvent, record } from "../support/flowLogs.ts";
import { hasJava } from "../support/java.ts";
import { eventually, startTestCloud, type TestCloud } from "./cloud.ts";

// Flow-log records of a blocked address: they are counted, and its block is extended.

let cloud: TestCloud;
let lambda: LambdaClient;
(hasJava ? describe : describe.skip)("a blocked address that still knocks", () => {
  beforeAll(async () => {
    const callers = [
      { name: "flow-logs", role: "detector", token: "nobody-needs-the-token-of-flow-logs" },
    ];
    cloud = await startTestCloud({ RECONCILE_SECONDS: "5", CALLERS: JSON.stringify(callers) });
    lambda = new LambdaClient({
      endpoint: cloud.stack.endpoints.lambda,
      region: cloud.stack.region,
      credentials: { accessKeyId: "local", secretAccessKey: "local" },
    });
  }, 150_000);
  afterAll(async () => {
    lambda?.destroy();
    await cloud?.stop();
  });

  async function receive(...lines: string[]) {
    const answered = await lambda.send(
      new InvokeCommand({
        FunctionName: "portcullis-flow-logs-local-flow-logs",
        Payload: Buffer.from(JSON.stringify(flowLogEvent(lines))),
      }),
    );
    expect(answered.FunctionError).toBeUndefined();
  }
  const listed = async (cidr: string) => {
    const { blocks } = await cloud.list();
    return blocks.find((block) => block.cidr === cidr) as Record<string, unknown> | undefined;
  };

  test("is counted, and blocked for longer, and counts no more in the rank", async () => {
    await cloud.block({ ip: "203.0.113.9", expiryTime: 600, severity: 4 });
    // Not only there, but known to be there.
    await eventually("it is enforced", 30, async () => {
      return (await listed("203.0.113.9/32"))?.state === "enforced";
    });
    const before = await listed("203.0.113.9/32");
    await receive(record("203.0.113.9", { packets: 7 }), record("198.51.100.1", { packets: 100 }));
    expect(cloud.log("flow-logs")).toContain('"Knocks":7');
    await eventually("its block is extended", 30, async () => {
      const block = await listed("203.0.113.9/32");
      return Number(block?.expiresAt) > Number(before?.expiresAt) + 1_000;
    });
    expect(await listed("203.0.113.9/32")).toMatchObject({
      ...{ severity: 4, hits: before?.hits, strikes: before?.strikes },
      detectors: ["detector", "flow-logs"],
    });
    expect(await listed("198.51.100.1/32")).toBeUndefined();
  }, 100_000);
});
