import { setTimeout as pause } from "node:timers/promises";
import type { Millis } from "../../shared/domain/time.ts";

/** The promise's value, if it comes in time. @throws Error if it does not */
export async function within<T>(ms: Millis, promise: Promise<T>): Promise<T> {
  const tooLate = pause(ms, undefined, { ref: false }).then(() => {
    throw new Error(`There was no answer within ${ms} ms.`);
  });
  return Promise.race([promise, tooLate]);
}
