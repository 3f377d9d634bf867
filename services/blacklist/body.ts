import httpJsonBodyParser from "@middy/http-json-body-parser";
import type { APIGatewayProxyEventV2 } from "aws-lambda";
import { badRequest, Refusal, tooLarge } from "./errors.ts";

/** A body of this many bytes is too large; a block needs a few hundred. */
export const KNOWN_CALLER = { bytes: 1_000_000, text: "1 MB" };

/** The same of callers who have yet to be recognised by what the body says, or is signed with. */
export const UNKNOWN_CALLER = { bytes: 64_000, text: "64 kB" };

/** @throws Refusal 413 */
export function checkSize(
  { body, isBase64Encoded }: APIGatewayProxyEventV2,
  limit: typeof KNOWN_CALLER,
): void {
  const bytes = Buffer.byteLength(body ?? "", isBase64Encoded ? "base64" : "utf8");
  if (bytes >= limit.bytes) throw tooLarge(limit.text);
}

/** The body as it was sent. */
export function bytesOf({ body = "", isBase64Encoded }: APIGatewayProxyEventV2): Buffer {
  return Buffer.from(body, isBase64Encoded ? "base64" : "utf8");
}

const jsonBodyParser = httpJsonBodyParser();

const WITH_BODY: readonly string[] = ["POST", "PUT"];

/** No type of ours is longer. */
const MAX_TYPE = 128;

/** The JSON body of a POST or PUT; undefined where there is none. @throws Refusal 400, 415 */
export async function parseBody(event: APIGatewayProxyEventV2): Promise<unknown> {
  if (!WITH_BODY.includes(event.requestContext.http.method) || !event.body) return undefined;
  const copy = { ...event, headers: { "content-type": mediaTypeOf(event) } };
  try {
    // The middleware replaces the body of the event that it is given.
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
