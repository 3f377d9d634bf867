import { Agent, request } from "node:http";
import { pause } from "../../infra/local/waiting.ts";

const ANSWER_MS = 10_000;
const MAX_ATTEMPTS = 20;
const RETRY_MS = 50;

/** Detectors that call the API as fast as it answers, and again where it refuses for now. */
export type Detectors = {
  /** Resolves with the time of acceptance, in epoch milliseconds. @throws where it is never accepted */
  report(ip: string, severity: number): Promise<number>;
  /** How often an alert was refused for now and reported again. */
  readonly refused: () => number;
  stop(): void;
};

export function createDetectors(api: string, token: string): Detectors {
  const agent = new Agent({ keepAlive: true });
  let refused = 0;

  function post(body: string): Promise<number> {
    return new Promise((resolve, reject) => {
      const call = request(
        new URL("/blacklistip", api),
        {
          agent,
          method: "POST",
          headers: {
            authorization: `Bearer ${token}`,
            "content-type": "application/json",
            "content-length": Buffer.byteLength(body),
          },
          timeout: ANSWER_MS,
        },
        (response) => {
          response.resume().once("end", () => resolve(response.statusCode ?? 0));
          response.once("error", reject);
        },
      );
      call.once("timeout", () => call.destroy(new Error("The API does not answer.")));
      call.once("error", reject);
      call.end(body);
    });
  }

  return {
    async report(ip, severity) {
      const body = JSON.stringify({ ip, severity, expiryTime: 3600, reason: "bench" });
      for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        const status = await post(body).catch(() => 0);
        if (status === 202) return performance.timeOrigin + performance.now();
        refused++;
        await pause(RETRY_MS * (attempt + 1));
      }
      throw new Error(`The API never accepted ${ip}.`);
    },
    refused: () => refused,
    stop: () => agent.destroy(),
  };
}
