import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { readJson } from "./files.ts";
import { isRunning, markProcess, type ProcessMark } from "./processes.ts";
import { poll } from "./waiting.ts";

/**
 * Takes a lock between processes: a file that names its holder. A dead holder's lock is taken over.
 * Returns the function that frees it, or the holder's id if it was not free in time.
 */
export async function takeLock(
  path: string,
  waitMs = 0,
): Promise<{ free: () => void } | { heldBy: number }> {
  mkdirSync(dirname(path), { recursive: true });
  const me = markProcess(process.pid);
  const taken = await poll(() => tryLock(path, me), waitMs, 100);
  if (taken) return { free: () => rmSync(path, { force: true }) };
  return { heldBy: readJson<ProcessMark>(path)?.pid ?? 0 };
}

function tryLock(path: string, me: ProcessMark | undefined): true | undefined {
  for (;;) {
    try {
      writeFileSync(path, JSON.stringify(me), { flag: "wx" });
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      const holder = readJson<ProcessMark>(path);
      if (holder && isRunning(holder)) return undefined;
      rmSync(path, { force: true });
    }
  }
}
