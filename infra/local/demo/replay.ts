import type { Stack } from "../cloud.ts";
import { messageOf } from "../errors.ts";
import { pause } from "../waiting.ts";
import type { Detection } from "./detector.ts";
import type { Answer } from "./ledger.ts";
import { parseLine, secondsBetween } from "./sshd.ts";

const REPORT_TIMEOUT_MS = 10_000;

/** Gives the lines of a log when they come due, `speed` times faster than they were written. */
export async function* paced(
  lines: readonly string[],
  speed: number,
  signal: AbortSignal,
): AsyncGenerator<[index: number, line: string]> {
  const startedAt = performance.now();
  const firstAt = parseLine(lines[0] ?? "")?.at ?? 0;
  for (const [index, line] of lines.entries()) {
    const { at = firstAt } = parseLine(line) ?? {};
    const dueAt = startedAt + (secondsBetween(firstAt, at) / speed) * 1000;
    const early = dueAt - performance.now();
    if (early > 0) await pause(early, signal);
    if (signal.aborted) return;
    yield [index, line];
  }
}

/** Reports a detection to the endpoint, as any detector would. Never throws. */
export async function report(
  { address, failures, severity }: Detection,
  { api, detectorToken }: Stack,
  expiryTime: number,
): Promise<Answer> {
  try {
    const response = await fetch(`${api}/blacklistip`, {
      method: "POST",
      headers: { authorization: `Bearer ${detectorToken}`, "content-type": "application/json" },
      body: JSON.stringify({
        ip: address,
        expiryTime,
        severity,
        reason: `${failures} failed SSH logins`,
      }),
      signal: AbortSignal.timeout(REPORT_TIMEOUT_MS),
    });
    const text = await response.text();
    if (response.status !== 202 && response.status !== 200) {
      return { status: "failed", reason: `the endpoint answered ${response.status} ${text}` };
    }
    return JSON.parse(text) as Answer;
  } catch (error) {
    return { status: "failed", reason: messageOf(error) };
  }
}
