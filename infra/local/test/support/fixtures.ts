import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Clients, createClients } from "../../clients.ts";
import { type Engines, type Service, startEngines } from "../../engines.ts";
import type { Invoke, Outcome } from "../../lambda.ts";
import type { Log } from "../../log.ts";
import { poll } from "../../waiting.ts";

export const REGION = "us-east-1";

/** A folder of one test file's own. */
export function temporaryDir(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), "portcullis-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Engines and clients of one test file's own. */
export async function startTestEngines(
  ...services: Service[]
): Promise<{ engines: Engines; clients: Clients; stop(): Promise<void> }> {
  const dir = temporaryDir();
  const engines = await startEngines({
    stateDir: join(dir.path, "state"),
    logDir: join(dir.path, "logs"),
    region: REGION,
    services,
    env: {},
  });
  const clients = createClients(engines.endpoints, REGION, {});
  return {
    engines,
    clients,
    async stop() {
      clients.destroy();
      await engines.stop();
      dir.remove();
    },
  };
}

/** A log that keeps its lines. */
export function memoryLog(): Log & { lines: string[] } {
  const lines: string[] = [];
  return {
    lines,
    line: (text) => void lines.push(text),
    take: (output) => void output.on("data", (chunk) => lines.push(String(chunk))),
    close: async () => undefined,
  };
}

/** A function that remembers its events, and answers what `answer` returns or throws. */
export function stubFunction<Event>(answer: (event: Event, call: number) => unknown = () => null): {
  invoke: Invoke;
  events: Event[];
} {
  const events: Event[] = [];
  return {
    events,
    async invoke(event): Promise<Outcome> {
      events.push(event as Event);
      try {
        return { ok: true, payload: await answer(event as Event, events.length) };
      } catch (error) {
        const { name, message } = error as Error;
        // What Lambda itself refuses is not the function's error.
        if (name === "TooManyRequestsException") throw error;
        return { ok: false, error: { errorType: name, errorMessage: message } };
      }
    },
  };
}

/** Waits until it is so, and fails when it never is. */
export async function until<T>(
  ask: () => T | undefined | false | Promise<T | undefined | false>,
  timeoutMs = 15_000,
): Promise<T> {
  const answer = await poll(async () => (await ask()) || undefined, timeoutMs);
  if (answer === undefined) throw new Error(`Not within ${timeoutMs} ms: ${ask}`);
  return answer;
}
