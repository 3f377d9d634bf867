import type { APIGatewayProxyEventV2 } from "aws-lambda";
import * as v from "valibot";
import {
  type Cidr,
  InvalidAddressError,
  isBlockable,
  parseCidr,
  WIDEST_PREFIX,
} from "../../shared/domain/cidr.ts";
import { badRequest, Refusal } from "./errors.ts";

/** A body of this many bytes is too large; a block needs a few hundred. */
const TOO_MANY_BYTES = 1_000_000;

/** Longer reasons are cut: a talkative detector must not lose its block. */
const MAX_REASON = 256;

export type Fields = Readonly<Record<string, unknown>>;

const PARAMETERS = [
  "accessToken",
  "ip",
  "expiryTime",
  "reason",
  "severity",
  "hold",
  "limit",
  "next",
];

/** The parameters of the query string. A parameter given twice is refused: which one is meant? */
export function queryFields({ rawQueryString }: APIGatewayProxyEventV2): Fields {
  if (rawQueryString === "") return {};
  const query = new URLSearchParams(rawQueryString);
  const twice = PARAMETERS.find((name) => query.getAll(name).length > 1);
  if (twice) throw duplicate(twice);
  return Object.fromEntries(query);
}

/** Query string and JSON body together. @throws Refusal where both name a parameter differently */
export function allFields(query: Fields, body: unknown): Fields {
  if (body === undefined) return query;
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw badRequest("invalid_body", "The body must be a JSON object.");
  }
  const fields = body as Fields;
  const twice = PARAMETERS.find(
    (name) => name in query && name in fields && query[name] !== fields[name],
  );
  if (twice) throw duplicate(twice);
  return { ...query, ...fields };
}

/** @throws Refusal 413 */
export function checkSize({ body, isBase64Encoded }: APIGatewayProxyEventV2): void {
  const bytes = Buffer.byteLength(body ?? "", isBase64Encoded ? "base64" : "utf8");
  if (bytes >= TOO_MANY_BYTES) {
    throw new Refusal(413, "too_large", "The body must be smaller than 1 MB.");
  }
}

/** The token of a request: the header's, else the query string's, else the body's. */
export function tokenOf(event: APIGatewayProxyEventV2, fields: Fields): string | undefined {
  const header = event.headers.authorization;
  if (header !== undefined) return /^Bearer +(\S+)$/i.exec(header)?.[1] ?? "";
  return typeof fields.accessToken === "string" ? fields.accessToken : undefined;
}

/** The address of a request. @throws Refusal */
export function addressOf({ ip }: Fields): Cidr {
  if (ip === undefined) throw badRequest("invalid_ip", "The parameter ip is missing.");
  if (typeof ip !== "string") throw badRequest("invalid_ip", "The parameter ip must be a string.");
  try {
    return parseCidr(ip);
  } catch (error) {
    if (!(error instanceof InvalidAddressError)) throw error;
    throw badRequest("invalid_ip", error.message);
  }
}

/** An address that may be blocked: not wider than /16 (IPv4) or /32 (IPv6). @throws Refusal */
export function blockableAddressOf(fields: Fields): Cidr {
  const cidr = addressOf(fields);
  if (isBlockable(cidr)) return cidr;
  const widest = WIDEST_PREFIX[cidr.family];
  throw badRequest("range_too_wide", `${cidr.text} is wider than /${widest}, the widest allowed.`);
}

/** A whole number, as JSON or as decimal digits. */
const wholeNumber = v.pipe(
  v.union([v.number(), v.pipe(v.string(), v.regex(/^\d{1,15}$/), v.transform(Number))]),
  v.integer(),
);

/** The whole number of a parameter, or `otherwise` where it is absent. @throws Refusal */
export function numberOf(
  fields: Fields,
  name: string,
  { min, max, otherwise, code }: { min: number; max: number; otherwise: number; code: string },
): number {
  if (fields[name] === undefined) return otherwise;
  const { success, output } = v.safeParse(wholeNumber, fields[name]);
  if (success && output >= min && output <= max) return output;
  throw badRequest(code, `The parameter ${name} must be a whole number from ${min} to ${max}.`);
}

/** The reason of a request in one line. @throws Refusal */
export function reasonOf({ reason }: Fields): string {
  if (reason === undefined || reason === null) return "";
  if (typeof reason !== "string") {
    throw badRequest("invalid_reason", "The parameter reason must be a string.");
  }
  return reason
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ")
    .trim()
    .slice(0, MAX_REASON)
    .toWellFormed(); // the cut may leave half a character, which no store takes
}

function duplicate(name: string): Refusal {
  return badRequest("duplicate_parameter", `The parameter ${name} is given more than once.`);
}
