import { createHash, createHmac } from "node:crypto";

export const DETECTOR_TOKEN = "5f0c2a-token-of-a-detector-of-32-chars";
export const OPERATOR_TOKEN = "91be77-token-of-an-operator-of-32-chars";
export const READER_TOKEN = "7d20c3-token-of-a-reader-of-32-and-more";

export const digestOf = (token: string) => createHash("sha256").update(token).digest("hex");

export const signingKeyOf = (token: string) =>
  createHmac("sha256", token).update("portcullis-signature").digest("hex");

const entryOf = (name: string, token: string) => ({
  name,
  sha256: digestOf(token),
  signingKey: signingKeyOf(token),
});

export const TOKEN_LIST = JSON.stringify([
  entryOf("suricata", DETECTOR_TOKEN),
  entryOf("night-shift", OPERATOR_TOKEN),
  entryOf("wall-board", READER_TOKEN),
]);

/** The list of callers; the detector's entry may say more. */
export const callerListOf = (detector: object = {}) =>
  JSON.stringify([
    { name: "suricata", role: "detector", ...detector },
    { name: "night-shift", role: "operator" },
    { name: "wall-board", role: "reader" },
  ]);

export const CALLER_LIST = callerListOf();

/** The request that is signed. */
export type Signed = {
  readonly method: string;
  readonly url: string;
  readonly body?: string;
  /** Epoch seconds. */
  readonly timestamp: number | string;
};

/** The headers by which `name` signs a request with the key of its token. */
export function signatureHeaders(
  name: string,
  token: string,
  { method, url, body = "", timestamp }: Signed,
): Record<string, string> {
  const signature = createHmac("sha256", Buffer.from(signingKeyOf(token), "hex"))
    .update(`${timestamp}\n${method}\n${url}\n${body}`)
    .digest("hex");
  return {
    "x-portcullis-timestamp": String(timestamp),
    "x-portcullis-signature": `${name}:${signature}`,
  };
}
