import { type Streamed, streamedDecisions } from "../../shared/detectors/crowdsec.ts";
import { NotUnderstoodError } from "../../shared/detectors/detector.ts";
import type { Millis } from "../../shared/domain/time.ts";
import { PullError } from "./errors.ts";

/** CrowdSec's local API, as a bouncer uses it. */
export type Lapi = {
  /**
   * CrowdSec's decisions since the last call (CrowdSec remembers which), or all decisions in force.
   *
   * @throws PullError
   */
  decisions(isWhole: boolean): Promise<Streamed>;
};

/** For the answer, including its whole body. */
const TIMEOUT: Millis = 15_000;

/** Room for some 200,000 decisions. */
const MAX_BYTES = 32 * 1_048_576;

/** What an HTTP header can hold. Checked here, as the libraries' own error would repeat the key. */
const KEY = /^[\x21-\x7e]{1,512}$/;

/** @param key reads the bouncer's key */
export function createLapi(url: string, key: () => Promise<string>): Lapi {
  return {
    async decisions(isWhole) {
      const apiKey = (await key().catch(unreadable)).trim();
      if (!KEY.test(apiKey)) throw new PullError("The parameter holds no bouncer's key.");
      const address = `${url.replace(/\/+$/, "")}/v1/decisions/stream?startup=${isWhole}`;
      const headers = {
        "x-api-key": apiKey,
        "user-agent": "portcullis/1",
        accept: "application/json",
      };
      const signal = AbortSignal.timeout(TIMEOUT);
      try {
        // The key is for this server, not for one that it redirects to.
        const response = await fetch(address, { headers, signal, redirect: "manual" });
        if (response.status !== 200) {
          await response.body?.cancel();
          throw new PullError(sentenceOf(response.status));
        }
        return streamedDecisions(JSON.parse(await textOf(response)));
      } catch (error) {
        throw error instanceof PullError ? error : new PullError(whyOf(error), { cause: error });
      }
    },
  };
}

function unreadable(cause: unknown): never {
  throw new PullError("The bouncer's key cannot be read from its parameter.", { cause });
}

function sentenceOf(status: number): string {
  if (status === 401 || status === 403)
    return `CrowdSec's LAPI refuses the key (${status}): cscli bouncers list.`;
  if (status >= 300 && status < 400)
    return `CrowdSec's LAPI redirects (${status}), which is not followed: is the url right?`;
  return `CrowdSec's LAPI answers ${status}.`;
}

function whyOf(error: unknown): string {
  if (error instanceof NotUnderstoodError)
    return `CrowdSec's LAPI answers what is not understood: ${error.message}`;
  // JSON's own message repeats the text.
  if (error instanceof SyntaxError) return "CrowdSec's LAPI answers what is no JSON.";
  if ((error as Error).name === "TimeoutError")
    return `CrowdSec's LAPI does not answer within ${TIMEOUT / 1000} s.`;
  const { code } = ((error as Error).cause ?? {}) as { code?: unknown };
  return `CrowdSec's LAPI cannot be reached${typeof code === "string" ? ` (${code})` : ""}.`;
}

async function textOf(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > MAX_BYTES)
      throw new PullError(`CrowdSec's LAPI answers more than ${MAX_BYTES} bytes.`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
