import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createServer } from "node:net";

export type Server = { url: string; stop(): Promise<void> };

const motoCommand = [["moto_server"], ["python3", "-m", "moto.server"]].find(
  ([program = "", ...args]) => spawnSync(program, [...args, "--help"]).status === 0,
);

/** Whether moto is on this machine; says so, loudly, where it is not. */
export const hasMoto = motoCommand !== undefined;
if (!hasMoto) {
  console.warn("SKIPPED: the tests against moto. Install it: pip install 'moto[server]'");
}

/** Starts moto's server on a free port of 127.0.0.1. */
export async function startMoto(): Promise<Server> {
  const [program = "", ...args] = motoCommand ?? [];
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const child = spawn(program, [...args, "-H", "127.0.0.1", "-p", `${port}`], { stdio: "ignore" });
  const stop = () => stopProcess(child);
  try {
    await answers(url, child);
  } catch (error) {
    await stop();
    throw error;
  }
  return { url, stop };
}

async function stopProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await gone;
}

/** Waits until the server answers; the test runner's timeout bounds it. */
async function answers(url: string, child: ChildProcess): Promise<void> {
  while (child.exitCode === null) {
    const response = await fetch(url).catch(() => undefined);
    if (response !== undefined) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`moto ended with ${child.exitCode} before it answered`);
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === "object" && address ? address.port : 0));
    });
  });
}
