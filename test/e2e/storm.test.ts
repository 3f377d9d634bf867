import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "@jest/globals";
import { createRandom } from "../bench/random.ts";
import { startTestCloud } from "./cloud.ts";
import { addressOf, deniedIn, type Sample, warmUp, watch } from "./watch.ts";

/** How late an end may show in the ACL. */
const LATE_MS = 2_000;

test("a storm of alerts under EC2's throttle: no entry outstays its end by two seconds", async () => {
  const ADDRESSES = 100;
  const ALERTS = 150;
  const EVERY_MS = 200;
  const SECONDS = 8;
  const random = createRandom(11);
  const weights = Array.from({ length: ADDRESSES }, (_, index) => 1 / (index + 1));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const zipf = () => {
    let left = random.next() * total;
    const index = weights.findIndex((weight) => {
      left -= weight;
      return left < 0;
    });
    return Math.max(0, index);
  };

  const cloud = await startTestCloud({
    TTL: "off",
    RECONCILE_SECONDS: "0",
    REPEAT_PERCENT: "100",
    RULE_LIMIT: "18",
  });
  try {
    await warmUp(cloud);
    const watched = await watch(cloud);
    const alerts: { readonly cidr: string; readonly atMs: number; readonly endMs: number }[] = [];
    for (let alert = 0; alert < ALERTS; alert++) {
      const atMs = Date.now();
      const { body } = await cloud.block({ ip: addressOf(zipf()), expiryTime: SECONDS });
      alerts.push({ cidr: String(body.cidr), atMs, endMs: Number(body.expiresAt) * 1000 });
      await sleep(Math.max(0, atMs + EVERY_MS - Date.now()));
    }
    await sleep(SECONDS * 1000 + LATE_MS + 500);
    const samples = await watched.stop();
    const endOf = (cidr: string, byMs: number) =>
      Math.max(
        0,
        ...alerts.flatMap((one) => (one.cidr === cidr && one.atMs < byMs ? one.endMs : [])),
      );
    const outstaying = samples.flatMap((sample) =>
      deniedIn(sample).filter((cidr) => sample.fromMs > endOf(cidr, sample.toMs) + LATE_MS),
    );
    expect(Math.max(...samples.map((sample) => deniedIn(sample).length))).toBe(18);
    expect(outstaying).toEqual([]);
    expect(deniedIn(samples.at(-1) as Sample)).toEqual([]);
  } finally {
    await cloud.stop();
  }
}, 150_000);
