import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { poll } from "./waiting.ts";

/** A process that cannot be taken for a later one that was given the same id. */
export type ProcessMark = { pid: number; startedAt: string };

/** Marks a running process; `undefined` when there is none of that id. */
export function markProcess(pid: number): ProcessMark | undefined {
  const startedAt = process.platform === "linux" ? startFromProc(pid) : startFromPs(pid);
  return startedAt === undefined ? undefined : { pid, startedAt };
}

/** Whether the marked process still runs. */
export const isRunning = ({ pid, startedAt }: ProcessMark): boolean =>
  markProcess(pid)?.startedAt === startedAt;

/** Kills the marked process, if it still runs, and waits until it is gone. */
export async function killProcess(mark: ProcessMark, timeoutMs = 5_000): Promise<void> {
  if (!isRunning(mark)) return;
  process.kill(mark.pid, "SIGKILL");
  await poll(() => (isRunning(mark) ? undefined : true), timeoutMs);
}

function startFromProc(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name, second, may hold spaces and brackets; after its last bracket, the state is first.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

function startFromPs(pid: number): string | undefined {
  try {
    return execFileSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8" }).trim();
  } catch {
    return undefined;
  }
}
