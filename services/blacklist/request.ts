import type { APIGatewayProxyEventV2 } from "aws-lambda";
import * as v from "valibot";
import { type Caller, mayReport } from "../../shared/domain/caller.ts";
import { type Cidr, InvalidAddressError, parseCidr } from "../../shared/domain/cidr.ts";
import { inOneLine } from "../../shared/domain/reason.ts";
import { badRequest, type Refusal } from "./errors.ts";

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
  "detector",
  "since",
  "mode",
];

/** The parameters of the query string. A parameter given twice is refused as ambiguous. */
export function queryFields({ rawQueryString }: APIGatewayProxyEventV2): Fields {
  if (rawQueryString === "") return {};
  const query = new URLSearchParams(rawQueryString);
  const twice = PARAMETERS.find((name) => query.getAll(name).length > 1);
  if (twice) throw duplicate(twice);
  return Object.fromEntries(query);
}

/** Combines query string and JSON body. @throws Refusal if they give a parameter different values */
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

/** No address is longer than this in text form, in any notation. */
const MAX_ADDRESS = 64;

/** The address that a parameter names. @throws Refusal */
export function addressOf(ip: unknown): Cidr {
  if (ip === undefined) throw badRequest("invalid_ip", "The parameter ip is missing.");
  if (typeof ip !== "string") throw badRequest("invalid_ip", "The parameter ip must be a string.");
  try {
    // A text that is cut here is no address either way, but now costs no more than one.
    return parseCidr(ip.slice(0, MAX_ADDRESS + 1));
  } catch (error) {
    if (!(error instanceof InvalidAddressError)) throw error;
    throw badRequest("invalid_ip", error.message);
  }
}

/** An address that the caller may report. @throws Refusal */
export function reportableAddressOf(ip: unknown, caller: Caller): Cidr {
  const cidr = addressOf(ip);
  if (mayReport(caller, cidr)) return cidr;
  const widest = caller.limits.leastPrefix[cidr.family];
  throw badRequest(
    "range_too_wide",
    `${cidr.text} is wider than /${widest}, the widest range that this token may report.`,
  );
}

/** A whole number, as a JSON number or as decimal digits. */
const wholeNumber = v.pipe(
  v.union([v.number(), v.pipe(v.string(), v.regex(/^\d{1,15}$/), v.transform(Number))]),
  v.integer(),
);

/** A parameter's whole number, or `otherwise` if it is absent. @throws Refusal */
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

/** The reason given in a request, on one line. @throws Refusal */
export function reasonOf({ reason }: Fields): string {
  if (reason === undefined || reason === null) return "";
  if (typeof reason !== "string") {
    throw badRequest("invalid_reason", "The parameter reason must be a string.");
  }
  return inOneLine(reason);
}

function duplicate(name: string): Refusal {
  return badRequest("duplicate_parameter", `The parameter ${name} is given more than once.`);
}
