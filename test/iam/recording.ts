import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Line } from "./recorder.ts";
import type { Request } from "./requests.ts";

/** What the functions of all local clouds have asked for that were started meanwhile. */
export type Recording = {
  /**
   * What IAM would be asked, by function, each thing once.
   *
   * @throws Error where there was a call of which it is not known what IAM is asked
   */
  read(): Readonly<Record<string, readonly Request[]>>;
  stop(): void;
};

/** From now on the local clouds that this process and its children start record their functions' calls. */
export function startRecording(): Recording {
  const dir = mkdtempSync(join(tmpdir(), "portcullis-calls-"));
  const file = join(dir, "calls.jsonl");
  const recorder = new URL("./recorder.ts", import.meta.url);
  recorder.searchParams.set("file", file);
  process.env.FUNCTION_PRELOAD = recorder.href;
  return {
    read() {
      const text = existsSync(file) ? readFileSync(file, "utf8") : "";
      const requests: Record<string, Request[]> = {};
      for (const line of new Set(text.split("\n").filter(Boolean))) {
        const noted = JSON.parse(line) as Line;
        if ("unknown" in noted) {
          throw new Error(
            `${noted.name} calls ${noted.unknown}: requests.ts must say what IAM is asked.`,
          );
        }
        requests[noted.name] = [...(requests[noted.name] ?? []), noted.request];
      }
      return requests;
    },
    stop() {
      delete process.env.FUNCTION_PRELOAD;
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
