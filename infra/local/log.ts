import { createWriteStream, mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";

/** The log of a function or an event source: `.local/logs/<name>.log`. */
export type Log = {
  line(text: string): void;
  /** Logs everything that a function writes. */
  take(output: Readable): void;
  close(): Promise<void>;
};

/** Opens a log; with `PORTCULLIS_VERBOSE=1` it is shown in the terminal too. */
export function openLog(logDir: string, name: string, verbose = isVerbose()): Log {
  mkdirSync(logDir, { recursive: true });
  const file = createWriteStream(join(logDir, `${name}.log`), { flags: "a" });
  const write = (chunk: string | Buffer) => {
    file.write(chunk);
    if (verbose) process.stderr.write(chunk);
  };
  return {
    line: (text) => write(`${new Date().toISOString()} ${text}\n`),
    take: (output) => void output.on("data", write),
    close: () => new Promise((closed) => file.end(() => closed())),
  };
}

const isVerbose = (): boolean => process.env.PORTCULLIS_VERBOSE === "1";
