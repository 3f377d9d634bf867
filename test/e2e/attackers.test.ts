import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { createDetector } from "../bench/attack/detector.ts";
import { clairvoyant, newestFirst } from "../bench/attack/policies.ts";
import { scaledDown } from "../bench/attack/scenario.ts";
import { simulate } from "../bench/attack/simulate.ts";
import { attemptsOf } from "../bench/attack/traffic.ts";
import { startTestCloud, type TestCloud } from "./cloud.ts";
import { deniedIn, warmUp, watch } from "./watch.ts";

// The attack of `npm run bench`, scaled down, in real time: does the product block the right ones?

const { defence, detector: shape, foresightMs, halfLife, seed, traffic } = scaledDown;

let cloud: TestCloud;
beforeAll(async () => {
  cloud = await startTestCloud({
    RULE_LIMIT: String(defence.slots),
    SCORE_HALF_LIFE: String(halfLife / 1000),
    REPEAT_PERCENT: "100",
  });
  await warmUp(cloud);
}, 120_000);
afterAll(() => cloud.stop());

test("nearly as many attempts are stopped as if their future were known", async () => {
  const attempts = attemptsOf(traffic, seed);
  const detector = createDetector(shape);
  const watched = await watch(cloud);
  await cloud.control("ec2", { throttle: false });
  const reports: Promise<number>[] = [];
  const beginMs = Date.now();
  let stopped = 0;
  for (const attempt of attempts) {
    const leftMs = beginMs + attempt.atMs - Date.now();
    if (leftMs > 0) await sleep(leftMs);
    const sample = watched.samples.at(-1);
    const isDenied = sample !== undefined && deniedIn(sample).includes(`${attempt.address}/32`);
    if (isDenied) stopped++;
    const report = detector.notice(attempt, isDenied);
    if (!report) continue;
    const sent = cloud.block({ ip: report.address, expiryTime: defence.blockMs / 1000 });
    reports.push(sent.then(({ status }) => status));
  }
  const tookMs = Date.now() - beginMs;
  await watched.stop();
  expect(new Set(await Promise.all(reports))).toEqual(new Set([202]));
  expect(tookMs).toBeLessThan(traffic.lengthMs + 2_000); // in real time, or it measures nothing

  const share = stopped / attempts.length;
  const best = simulate(attempts, shape, defence, clairvoyant(attempts, foresightMs));
  const newest = simulate(attempts, shape, defence, newestFirst);
  expect(share).toBeGreaterThanOrEqual(0.75 * best.attemptsStopped);
  expect(share).toBeGreaterThanOrEqual(2 * newest.attemptsStopped);
}, 150_000);
