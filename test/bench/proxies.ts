import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { within } from "../../infra/local/waiting.ts";
import type { Answer, Counts, Question, Upstreams } from "./proxyProtocol.ts";

const ANSWER_MS = 10_000;

/** Proxies in front of the engines that count the calls; in a thread of their own. */
export type Proxies = {
  /** Where to call, by service. */
  readonly urls: Upstreams;
  /** What has been counted since the last reset. */
  counts(): Promise<Counts>;
  reset(): Promise<void>;
  stop(): Promise<void>;
};

export async function startProxies(upstreams: Upstreams): Promise<Proxies> {
  const worker = new Worker(new URL("./proxyWorker.ts", import.meta.url), {
    workerData: upstreams,
  });
  const ask = async <K extends Answer["kind"]>(question: Question, kind: K) => {
    const answered = once(worker, "message") as Promise<[Answer]>;
    worker.postMessage(question);
    const answer = (await within(ANSWER_MS, answered))?.[0];
    if (answer?.kind !== kind) throw new Error("The counting proxies do not answer.");
    return answer as Extract<Answer, { kind: K }>;
  };
  const { urls } = await ask("urls", "urls");
  return {
    urls,
    counts: async () => (await ask("counts", "counts")).counts,
    async reset() {
      await ask("reset", "done");
    },
    async stop() {
      await worker.terminate();
    },
  };
}
