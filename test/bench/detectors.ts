import { Agent, request } from "node:http";
import { pause } from "../../infra/local/waiting.ts";

const ANSWER_MS = 10_000;
const MAX_ATTEMPTS = 20;
const RETRY_MS = 50;

/** What the API answered. */
export type Accepted = {
  /** Epoch milliseconds. */
  readonly at: number;
  /** When the block ends, in epoch seconds. */
  readonly expiresAt: number;
};

/** Detectors that call the API as fast as it answers, and again where it refuses for now. */
export type Detectors = {
  /** @param seconds for how long; an hour if not given. @throws where it is never accepted */
  report(ip: string, severity: number, seconds?: number): Promise<Accepted>;
  /** How often an alert was refused for now and reported again. */
  readonly refused: () => number;
  stop(): void;
};

export function createDetectors(api: string, token: string): Detectors {
  const agent = new Agent({ keepAlive: true });
  let refused = 0;

  function post(body: string): Promise<{ status: number; text: string }> {
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
          let text = "";
          response.setEncoding("utf8").on("data", (chunk) => {
            text += chunk;
          });
          response.once("end", () => resolve({ status: response.statusCode ?? 0, text }));
          response.once("error", reject);
        },
      );
      call.once("timeout", () => call.destroy(new Error("The API does not answer.")));
      call.once("error", reject);
      call.end(body);
    });
  }

  return {
    async report(ip, severity, seconds = 3600) {
      const body = JSON.stringify({ ip, severity, expiryTime: seconds, reason: "bench" });
      for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        const answer = await post(body).catch(() => undefined);
        if (answer?.status === 202) {
          const { expiresAt } = JSON.parse(answer.text) as { expiresAt: number };
          return { at: performance.timeOrigin + performance.now(), expiresAt };
        }
        refused++;
        await pause(RETRY_MS * (attempt + 1));
      }
      throw new Error(`The API never accepted ${ip}.`);
    },
    refused: () => refused,
    stop: () => agent.destroy(),
  };
}
