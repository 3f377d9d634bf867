import { afterEach, describe, expect, it } from "@jest/globals";
import { type Invoke, ThrottledError } from "../lambda.ts";
import { startSchedule } from "../sources/schedule.ts";
import type { EventSource } from "../sources/source.ts";
import { memoryLog, REGION, until } from "./support/fixtures.ts";

let source: EventSource | undefined;
afterEach(() => source?.stop());

function run(invoke: Invoke, maximumEventAgeSeconds = 60): void {
  source = startSchedule({
    schedule: { functionName: "fn", ruleName: "tick", periodSeconds: 600 },
    asynchronous: { maximumRetryAttempts: 0, maximumEventAgeSeconds },
    region: REGION,
    accountId: "000000000000",
    invoke,
    log: memoryLog(),
  });
}

describe("a schedule", () => {
  it("fires at once, and waits for its turn as long as the event is young", async () => {
    const patience: number[] = [];
    run(async (_event, { waitMs = 0 } = {}) => {
      patience.push(waitMs);
      return { ok: true, payload: null };
    });
    await until(() => patience.length === 1);
    expect(patience[0]).toBeGreaterThan(59_000);
    expect(patience[0]).toBeLessThanOrEqual(60_000);
  });

  it("tries again what was throttled, until the event is too old", async () => {
    const at: number[] = [];
    run(async () => {
      at.push(performance.now());
      throw new ThrottledError();
    }, 1);
    await until(() => at.length > 2);
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    const count = at.length;
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(at).toHaveLength(count);
  });
});
