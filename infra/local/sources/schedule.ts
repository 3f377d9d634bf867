import { randomUUID } from "node:crypto";
import type { EventBridgeEvent } from "aws-lambda";
import type { Invoke } from "../lambda.ts";
import { ThrottledError } from "../lambda.ts";
import type { Log } from "../log.ts";
import type { FunctionModel, ScheduleModel } from "../template.ts";
import { pause } from "../waiting.ts";
import type { EventSource } from "./source.ts";

/** Lambda's delay before the second and, twice that, before the third attempt after an error. */
const RETRY_DELAY_MS = 60_000;

/**
 * Runs a rule of EventBridge with a rate: the first event at once, then one each period.
 *
 * Lambda's rules for asynchronous invocation: an event that meets a throttled function is tried
 * again until it is too old, one that the function fails as often as its retry attempts say. One
 * event at a time: the one of a period in which the last is still under way is left out.
 */
export function startSchedule(options: {
  schedule: ScheduleModel;
  asynchronous: FunctionModel["asynchronous"];
  region: string;
  accountId: string;
  invoke: Invoke;
  log: Log;
  retryDelayMs?: number;
}): EventSource {
  const { schedule, asynchronous, invoke, log, retryDelayMs = RETRY_DELAY_MS } = options;
  const stopping = new AbortController();
  const { signal } = stopping;
  let underWay: Promise<void> | undefined;

  function fire(): void {
    if (underWay) {
      log.line(`${schedule.ruleName}: the last event is still under way, this one is left out`);
      return;
    }
    underWay = deliver().finally(() => {
      underWay = undefined;
    });
  }

  async function deliver(): Promise<void> {
    const event = scheduledEvent(schedule.ruleName, options.region, options.accountId);
    const tooOldAtMs = performance.now() + asynchronous.maximumEventAgeSeconds * 1_000;
    for (let failed = 0; !signal.aborted && performance.now() < tooOldAtMs; ) {
      try {
        const waitMs = Math.max(0, tooOldAtMs - performance.now());
        const outcome = await invoke(event, { waitMs });
        if (outcome.ok || failed >= asynchronous.maximumRetryAttempts) return;
        failed += 1;
        await pause(retryDelayMs * failed, signal);
      } catch (error) {
        if (!(error instanceof ThrottledError)) throw error;
        await pause(100, signal);
      }
    }
  }

  const timer = setInterval(fire, schedule.periodSeconds * 1_000);
  fire();
  return {
    async stop() {
      clearInterval(timer);
      stopping.abort();
      await underWay;
    },
  };
}

function scheduledEvent(
  ruleName: string,
  region: string,
  account: string,
): EventBridgeEvent<"Scheduled Event", Record<string, never>> {
  return {
    version: "0",
    id: randomUUID(),
    "detail-type": "Scheduled Event",
    source: "aws.events",
    account,
    time: new Date().toISOString().replace(/\.\d+Z$/, "Z"),
    region,
    resources: [`arn:aws:events:${region}:${account}:rule/${ruleName}`],
    detail: {},
  };
}
