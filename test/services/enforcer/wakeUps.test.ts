import { type SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { beforeEach, describe, expect, test } from "@jest/globals";
import { createWakeUps } from "../../../services/enforcer/wakeUps.ts";
import { NOW } from "../../support/reports.ts";

const QUEUE = "https://sqs.example/wake-ups";
const SECOND = NOW / 1000;

let now: number;
let sent: SendMessageCommand["input"][];
let warnings: unknown[];
let failure: Error | undefined;
let wakeUpAt: ReturnType<typeof createWakeUps>;
beforeEach(() => {
  now = NOW;
  sent = [];
  warnings = [];
  failure = undefined;
  const send = async ({ input }: SendMessageCommand) => {
    if (failure) throw failure;
    sent.push(input);
  };
  const sqs = Object.assign(new SQSClient(), { send });
  const log = { warn: (...line: unknown[]) => void warnings.push(line) };
  wakeUpAt = createWakeUps(sqs, QUEUE, log, () => now);
});
const delays = () => sent.map(({ DelaySeconds }) => DelaySeconds);

test("a wake-up says what it is for", async () => {
  await wakeUpAt(SECOND + 60);
  expect(sent).toEqual([
    {
      QueueUrl: QUEUE,
      MessageBody: JSON.stringify({ kind: "wakeUp", at: SECOND + 60 }),
      DelaySeconds: 60,
    },
  ]);
});

describe("it comes", () => {
  test.each([
    ["after whole seconds, not before the end", 1, 60, 60],
    ["not before the end, late in the second", 999, 60, 60],
    ["a second sooner, once the second is over", 1_000, 60, 59],
    ["at once, where the end is now", 0, 0, 0],
    ["at once, where the end is over", 0, -30, 0],
    ["after fifteen minutes", 0, 900, 900],
    ["after fifteen minutes at most", 0, 86_400, 900],
  ])("%s", async (_what, sinceMs, inSeconds, delay) => {
    now += sinceMs;
    await wakeUpAt(SECOND + inSeconds);
    expect(delays()).toEqual([delay]);
    expect(now / 1000 + delay).toBeGreaterThanOrEqual(SECOND + Math.min(inSeconds, 900));
  });
});

describe("none is sent", () => {
  test("where one for the same second is on its way, whenever it is asked for", async () => {
    await wakeUpAt(SECOND + 60);
    now += 300;
    await wakeUpAt(SECOND + 60);
    now += 58_700;
    await wakeUpAt(SECOND + 60);
    expect(delays()).toEqual([60]);
  });

  test("where one for an earlier second is", async () => {
    await wakeUpAt(SECOND + 60);
    await wakeUpAt(SECOND + 61);
    expect(delays()).toEqual([60]);
  });

  test("in each second for an end that is further away than fifteen minutes", async () => {
    await wakeUpAt(SECOND + 86_400);
    for (let i = 0; i < 10; i++) {
      now += 1_337;
      await wakeUpAt(SECOND + 86_400);
    }
    expect(delays()).toEqual([900]);
  });
});

test("a step towards a far end comes for all that ends after it", async () => {
  await wakeUpAt(SECOND + 86_400);
  await wakeUpAt(SECOND + 1_000);
  expect(delays()).toEqual([900]);
  await wakeUpAt(SECOND + 899);
  expect(delays()).toEqual([900, 899]);
});

describe("another one is sent", () => {
  test("for an earlier end, which is then the one on its way", async () => {
    await wakeUpAt(SECOND + 60);
    await wakeUpAt(SECOND + 59);
    await wakeUpAt(SECOND + 59);
    expect(delays()).toEqual([60, 59]);
  });

  test.each([0, 1, 300, 999])(
    "from the moment on at which it has come, %i ms in a second",
    async (ms) => {
      now += ms;
      await wakeUpAt(SECOND + 2);
      now += (delays()[0] ?? 0) * 1_000;
      await wakeUpAt(SECOND + 5);
      expect(delays()).toHaveLength(2);
    },
  );

  test("for the next step towards a far end", async () => {
    await wakeUpAt(SECOND + 1_000);
    now += 900_000;
    await wakeUpAt(SECOND + 1_000);
    expect(delays()).toEqual([900, 100]);
  });
});

describe("one that cannot be sent", () => {
  beforeEach(() => {
    failure = new Error("The queue is down.");
  });

  test("is logged, and throws nothing", async () => {
    await expect(wakeUpAt(SECOND + 60)).resolves.toBeUndefined();
    expect(warnings).toEqual([[expect.any(String), failure]]);
  });

  test("is not on its way: the next converge sends it", async () => {
    await wakeUpAt(SECOND + 60);
    failure = undefined;
    await wakeUpAt(SECOND + 60);
    expect(delays()).toEqual([60]);
  });
});
