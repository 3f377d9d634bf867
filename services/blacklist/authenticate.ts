import type { APIGatewayProxyEventV2 } from "aws-lambda";
import { MalformedParameterError } from "../../shared/aws/parameters.ts";
import type { Tokens } from "../../shared/aws/tokens.ts";
import { type Caller, isWelcome, may, type Role } from "../../shared/domain/caller.ts";
import type { Cidr } from "../../shared/domain/cidr.ts";
import { type EpochMillis, isExpired } from "../../shared/domain/time.ts";
import type { Measure } from "./blacklist.ts";
import { bytesOf, checkSize, KNOWN_CALLER, parseBody, UNKNOWN_CALLER } from "./body.ts";
import { documentsOf } from "./documents.ts";
import { forbidden, forbiddenSource, type Refusal, unauthorized, unavailable } from "./errors.ts";
import { allFields, type Fields, queryFields } from "./request.ts";
import { isSigned, signerOf } from "./signature.ts";

/** Who may call a route, and how. */
export type Access = {
  readonly role: Role;
  /** The talk's call: detectors may pass their token in the query string. */
  readonly isTokenInQuery?: boolean;
  /** The body is in a detector's own format, which has no room for a token. */
  readonly hasDocuments?: boolean;
};

/** What a request says. */
export type Content = {
  readonly fields: Fields;
  /** What a body of the detector's own holds; none elsewhere. */
  readonly documents: readonly unknown[];
};

export type Authenticated = {
  readonly caller: Caller;
  /** @throws Refusal 400, 413, 415: it is this caller's then. */
  readonly read: () => Promise<Content>;
};

/**
 * Who calls, and with what parameters. The caller is recognised only by the first of these that the request
 * has:
 *
 * - `Authorization: Bearer`, for everyone;
 * - a signature over the request, for everyone;
 * - `accessToken` in the query string, for detectors, and only for the talk's call: query strings end up in
 *   logs;
 * - `accessToken` in the body, for detectors.
 *
 * All but the last are checked before the body is even parsed, which `read` does.
 *
 * @throws Refusal 400, 401, 403, 413, 415, 503
 */
export async function authenticate(
  event: APIGatewayProxyEventV2,
  access: Access,
  { tokens, measure }: { readonly tokens: Tokens; readonly measure: Measure },
  source: Cidr,
  now: EpochMillis,
): Promise<Authenticated> {
  /** The caller as the lists have it; refuses the request if they cannot be read. */
  const lookUp = (question: Promise<Caller | undefined>) =>
    question.catch((cause) => {
      if (cause instanceof MalformedParameterError) measure("MalformedParameter");
      throw unavailable("Tokens cannot be checked now.", cause);
    });
  const welcome = (caller: Caller | undefined) => admitted(caller, access.role, source, now);
  const read = async (): Promise<Content> => {
    if (access.hasDocuments) {
      const { "content-encoding": encoding } = event.headers;
      return { fields: query, documents: await documentsOf(bytesOf(event), encoding) };
    }
    checkSize(event, KNOWN_CALLER);
    return { fields: allFields(query, await parseBody(event)), documents: [] };
  };

  const query = queryFields(event);
  const { authorization } = event.headers;
  if (authorization !== undefined) {
    const token = /^Bearer +(\S+)$/i.exec(authorization)?.[1];
    if (!token) throw unauthorized();
    return { caller: welcome(await lookUp(tokens.callerOf(token))), read };
  }
  if (isSigned(event)) {
    checkSize(event, UNKNOWN_CALLER);
    return { caller: welcome(await lookUp(signerOf(event, tokens, now))), read };
  }
  if (typeof query.accessToken === "string") {
    if (!access.isTokenInQuery) throw unauthorized();
    return { caller: welcome(detector(await lookUp(tokens.callerOf(query.accessToken)))), read };
  }
  if (!event.body || access.hasDocuments) throw unauthorized();
  checkSize(event, UNKNOWN_CALLER);
  const fields = allFields(query, await parseBody(event));
  if (typeof fields.accessToken !== "string") throw unauthorized();
  const caller = welcome(detector(await lookUp(tokens.callerOf(fields.accessToken))));
  return { caller, read: async () => ({ fields, documents: [] }) };
}

/** Only detectors: other callers' tokens may be in the header only, as they are worth more. */
function detector(caller: Caller | undefined): Caller | undefined {
  return caller?.role === "detector" ? caller : undefined;
}

/** @throws Refusal */
function admitted(caller: Caller | undefined, role: Role, source: Cidr, now: EpochMillis): Caller {
  if (!caller) throw unauthorized();
  const { name, expiresAt } = caller;
  const refuse = (refusal: Refusal) => Object.assign(refusal, { caller: name });
  if (expiresAt !== undefined && isExpired({ expiresAt }, now)) throw refuse(unauthorized());
  if (!isWelcome(caller, source, now)) throw refuse(forbiddenSource());
  if (!may(caller, role)) throw refuse(forbidden(role));
  return caller;
}
