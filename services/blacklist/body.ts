import httpJsonBodyParser from "@middy/http-json-body-parser";
import type { APIGatewayProxyEventV2 } from "aws-lambda";
import { badRequest, Refusal, tooLarge } from "./errors.ts";

/** The largest body that a known caller may send; a block needs a few hundred bytes. */
export const KNOWN_CALLER = { bytes: 1_000_000, text: "1 MB" };

/** The same for callers who have yet to be recognised by the body or its signature. */
export const UNKNOWN_CALLER = { bytes: 64_000, text: "64 kB" };

/** @throws Refusal 413 */
export function checkSize(
  { body, isBase64Encoded }: APIGatewayProxyEventV2,
  limit: typeof KNOWN_CALLER,
): void {
  const bytes = Buffer.byteLength(body ?? "", isBase64Encoded ? "base64" : "utf8");
  if (bytes >= limit.bytes) throw tooLarge(limit.text);
}

/** The body as sent. */
export function bytesOf({ body = "", isBase64Encoded }: APIGatewayProxyEventV2): Buffer {
  return Buffer.from(body, isBase64Encoded ? "base64" : "utf8");
}

const jsonBodyParser = httpJsonBodyParser();

const WITH_BODY: readonly string[] = ["POST", "PUT"];

/** No media type that we accept is longer. */
const MAX_TYPE = 128;

/** The JSON body of a POST or PUT; undefined if there is none. @throws Refusal 400, 415 */
export async function parseBody(event: APIGatewayProxyEventV2): Promise<unknown> {
  if (!WITH_BODY.includes(event.requestContext.http.method) || !event.body) return undefined;
  const copy = { ...event, headers: { "content-type": mediaTypeOf(event) } };
  try {
    // On a copy, as the middleware replaces the event's body.
    await jsonBodyParser.before?.({ event: copy } as never);
  } catch (error) {
    if ((error as Error).message === "Unsupported Media Type") {
      throw new Refusal(415, "unsupported_media_type", "The body must be application/json.");
    }
    throw badRequest("invalid_json", "The body is not valid JSON.");
  }
  return copy.body;
}

/** The media type without its parameters: a long header must not cost more than a short one. */
function mediaTypeOf({ headers }: APIGatewayProxyEventV2): string {
  const type = headers["content-type"] ?? "";
  const end = type.indexOf(";");
  const bare = (end < 0 ? type : type.slice(0, end)).trim();
  return bare.length > MAX_TYPE ? "" : bare.toLowerCase();
}
