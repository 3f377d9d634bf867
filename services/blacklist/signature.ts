import { createHmac, timingSafeEqual } from "node:crypto";
import type { APIGatewayProxyEventV2 } from "aws-lambda";
import type { Tokens } from "../../shared/aws/tokens.ts";
import type { Caller } from "../../shared/domain/caller.ts";
import type { EpochMillis, Millis } from "../../shared/domain/time.ts";
import { bytesOf } from "./body.ts";

/** How far the signer's clock may be off, either way; a signed request may be replayed for that long. */
const MAX_OFF: Millis = 300_000;

const TIMESTAMP = "x-portcullis-timestamp";
const SIGNATURE = "x-portcullis-signature";

export const isSigned = ({ headers }: APIGatewayProxyEventV2): boolean =>
  headers[SIGNATURE] !== undefined;

/**
 * The caller who signed the request; undefined if the signature is not a known caller's, or its time is too
 * far off. It names its signer, so that only one key is tried, or two while a new one replaces the old:
 *
 *     X-Portcullis-Timestamp: <epoch seconds>
 *     X-Portcullis-Signature: <name>:<hex of HMAC-SHA-256(key, text)>
 *
 *     key  = HMAC-SHA-256(token, "portcullis-signature")
 *     text = timestamp \n method \n path and query \n body
 *
 * @throws what `Tokens.signerOf` throws
 */
export async function signerOf(
  event: APIGatewayProxyEventV2,
  tokens: Pick<Tokens, "signerOf">,
  now: EpochMillis,
): Promise<Caller | undefined> {
  const timestamp = /^\d{1,11}$/.exec(event.headers[TIMESTAMP] ?? "")?.[0];
  const [, name, hex] =
    /^([\w.-]{1,64}):([0-9a-f]{64})$/i.exec(event.headers[SIGNATURE] ?? "") ?? [];
  if (!timestamp || !name || !hex) return undefined;
  if (Math.abs(Number(timestamp) * 1000 - now) > MAX_OFF) return undefined;
  const signer = await tokens.signerOf(name);
  const given = Buffer.from(hex, "hex");
  const isRight = (key: Buffer) => timingSafeEqual(signatureOf(event, timestamp, key), given);
  return signer?.keys.some(isRight) ? signer.caller : undefined;
}

function signatureOf(event: APIGatewayProxyEventV2, timestamp: string, key: Buffer): Buffer {
  const { rawPath, rawQueryString, requestContext } = event;
  const url = rawQueryString === "" ? rawPath : `${rawPath}?${rawQueryString}`;
  return createHmac("sha256", key)
    .update(`${timestamp}\n${requestContext.http.method}\n${url}\n`)
    .update(bytesOf(event))
    .digest();
}
