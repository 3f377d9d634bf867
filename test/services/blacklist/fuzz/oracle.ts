import { BlockList, isIPv6 } from "node:net";
import { inspect } from "node:util";
import type { Logger } from "@aws-lambda-powertools/logger";
import type { APIGatewayProxyEventV2 } from "aws-lambda";
import * as v from "valibot";
import { PROTECTED } from "../../../../services/blacklist/intake.ts";
import { message as messageSchema } from "../../../../shared/aws/queue.ts";
import { protect, SPECIAL_RANGES } from "../../../../shared/domain/neverBlock.ts";
import { startEndpoint } from "../../../support/endpoint.ts";
import { signatureHeaders, signingKeyOf } from "../../../support/tokens.ts";
import type { Asked, Signing } from "./grammar.ts";
import { CALLER_LIST, HOLDERS, type Holder, TOKEN_LIST, UNKNOWN_TOKEN } from "./holders.ts";

// What must be true of any answer, told by other means than the endpoint's own: node's BlockList, a plain
// list of codes.

const CODES: Readonly<Record<number, readonly string[]>> = {
  400: [
    ...["invalid_ip", "invalid_ips", "range_too_wide", "invalid_expiry", "invalid_severity"],
    ...["invalid_reason", "invalid_json", "invalid_body", "duplicate_parameter", "invalid_hold"],
    ...["invalid_limit", "invalid_next", "invalid_mode", "invalid_since", "invalid_detector"],
    ...["not_understood", "invalid_gzip", "too_many"],
  ],
  401: ["unauthorized"],
  403: ["forbidden", "forbidden_source"],
  404: ["not_found"],
  405: ["method_not_allowed"],
  413: ["too_large"],
  415: ["unsupported_media_type"],
  429: ["over_budget", "too_many_holds"],
};

/** The owner's own ranges, beside the special ones. */
const OWN = ["45.10.0.0/16", "2600:1f18::/32"];
const NEVER = [
  ...["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"],
  ...["172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3"],
  // All but 2000::/3.
  ...["::/3", "4000::/2", "8000::/1", ...OWN],
];
type Type = "ipv4" | "ipv6";
const typeOf = (address: string): Type => (isIPv6(address) ? "ipv6" : "ipv4");

const baseOf = (cidr: string) => cidr.split("/")[0] ?? "";

function listOf(ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const range of ranges) {
    const [address = "", prefix] = range.split("/");
    list.addSubnet(address, Number(prefix), typeOf(address));
  }
  return list;
}

/** Of one family: a BlockList takes an IPv4 address for one of ::/3 too. */
const neverOf = (type: Type) => NEVER.filter((range) => typeOf(baseOf(range)) === type);
const never = { ipv4: listOf(neverOf("ipv4")), ipv6: listOf(neverOf("ipv6")) };

/** Whether a range shares an address with one that must never be blocked: one contains the other. */
function isProtected(cidr: string): boolean {
  const type = typeOf(baseOf(cidr));
  return (
    never[type].check(baseOf(cidr), type) ||
    neverOf(type).some((range) => isIn(baseOf(range), cidr))
  );
}

function isIn(address: string, cidr: string): boolean {
  const type = typeOf(address);
  return typeOf(baseOf(cidr)) === type && listOf([cidr]).check(address, type);
}

const resultSchema = v.object({
  status: v.string(),
  cidr: v.optional(v.string()),
  reason: v.optional(v.string()),
});

/** What no answer, message or line may hold. */
const SECRETS = [...Object.values(HOLDERS).map(({ token }) => token), UNKNOWN_TOKEN].flatMap(
  (token) => [token, signingKeyOf(token)],
);

/** The endpoint with an oracle beside it. */
export function startOracle() {
  const lines: string[] = [];
  const line = (...parts: unknown[]) => void lines.push(inspect(parts, { depth: 8 }));
  const log = { debug: line, info: line, warn: line, error: line } as unknown as Logger;
  const owned = protect(OWN.map((cidr) => [cidr, "the owner's"]));
  const endpoint = startEndpoint({
    log,
    neverBlock: async () => [...SPECIAL_RANGES, ...owned],
    tokenList: () => TOKEN_LIST,
    callerList: () => CALLER_LIST,
  });
  const everQueued = new Set<string>();
  /** How many addresses were queued for a caller in a minute. */
  const spent = new Map<string, number>();

  return {
    /**
     * Asks, and checks the answer.
     *
     * @returns the answer's kind, for statistics
     * @throws what is wrong with the answer
     */
    async ask({ event: unsigned, signing, afterMs }: Asked): Promise<string> {
      lines.length = 0;
      endpoint.now += afterMs;
      const { now } = endpoint;
      const event = signing ? signed(unsigned, signing, now) : unsigned;
      const modeBefore = endpoint.table.mode;
      const before = endpoint.queue.sent.length;
      const { status = 0, headers, body, raw } = await endpoint.answer(event);
      const sent = endpoint.queue.sent.slice(before);
      endpoint.queue.sent.length = before;
      endpoint.metrics.length = 0;
      const must = (holds: boolean, what: string) => {
        if (!holds) throw new Error(`${what}: ${status} ${raw.slice(0, 500)}`);
      };

      must(/^application\/json/.test(String(headers["content-type"])), "not told as JSON");
      must([200, 202].includes(status) || status in CODES, "an unknown status");
      const said = [raw, JSON.stringify(sent, withoutBigInts), ...lines].join();
      must(!SECRETS.some((secret) => said.includes(secret)), "a secret is shown");

      // Whoever may be behind the request: by what it holds, from where, and when.
      const welcome = credentialsIn(event, signing).filter((name) => isWelcome(name, event, now));
      const isBy = (...roles: Holder["role"][]) =>
        welcome.some((name) => roles.includes(roleOf(name)));
      for (const { message, lane } of sent) {
        const wire = "cidr" in message ? { ...message, cidr: message.cidr.text } : message;
        must(v.safeParse(messageSchema, wire).success, "the worker could not read it");
        const name = "operator" in message ? message.operator : message.detector;
        must(welcome.includes(name), `queued in the name of ${name}, who is not there`);
        const { role, ...limits } = HOLDERS[name] as Holder;
        must(lane === (role === "operator" ? "operators" : "detectors"), `in the lane ${lane}`);
        must(role !== "reader", "queued for a reader");
        if (message.kind === "withdraw") {
          must(role === "detector", "an operator's withdrawal");
          continue;
        }
        if (message.kind !== "block") {
          must(role === "operator", `a ${message.kind} of a detector's`);
          continue;
        }
        const { text, prefix } = message.cidr;
        everQueued.add(text);
        const isFour = typeOf(baseOf(text)) === "ipv4";
        must(!isProtected(text), `queued what is never blocked, ${text}`);
        must(
          prefix >= (isFour ? limits.leastPrefix4 : limits.leastPrefix6),
          `queued too wide a range, ${text}`,
        );
        const { sourceIp } = event.requestContext.http;
        must(!isIn(sourceIp, text), `queued the caller's own address, ${text}`);
        must(message.severity <= limits.mostSeverity, "queued too severe");
        must(message.expiresAt - Math.floor(now / 1000) <= limits.longest, "queued for too long");
        must(message.reportedAt === now, "queued as of another time");
      }
      const reports = sent.flatMap(({ message }) =>
        message.kind === "block" ? [`${message.detector} ${message.cidr.text}`] : [],
      );
      for (const report of new Set(reports)) {
        const [name = ""] = report.split(" ");
        const minute = `${name} ${Math.floor(now / 60_000)}`;
        spent.set(minute, (spent.get(minute) ?? 0) + 1);
        const limit = HOLDERS[name]?.addressesPerMinute ?? 0;
        must((spent.get(minute) ?? 0) <= limit, `${name} is past its budget`);
      }
      must(sent.length === 0 || status === 202, "queued, and not told");
      must(!body.blocks || isBy("operator", "reader"), "listed to a detector");
      must(endpoint.table.mode === modeBefore || isBy("operator"), "a mode that nobody ordered");

      const refusals = [body, ...(body.results ?? [])].filter(({ error }) => error);
      for (const { error } of refusals) {
        const codes = [...(CODES[status] ?? []), ...(body.results ? PER_ADDRESS : [])];
        must(codes.includes(error.code), "an unknown code");
        must(/^\S[^\n]*\.$/.test(error.message), "no sentence");
      }
      must(status !== 429 || Number(headers["retry-after"]) > 0, "no Retry-After");
      if (status >= 400) {
        must(refusals.length > 0, "refused without a reason");
        return `${status} ${body.error?.code ?? "results"}`;
      }
      const outcomes = v.safeParse(v.array(resultSchema), body.results ?? [body]);
      for (const { status: outcome, cidr, reason } of outcomes.output as v.InferOutput<
        typeof resultSchema
      >[]) {
        const isReport = cidr !== undefined && event.requestContext.http.method !== "DELETE";
        if (outcome === "queued" && isReport) {
          must(everQueued.has(cidr), "told as queued, and is not");
        }
        if (outcome === "ignored") {
          must(reason === PROTECTED || isBy("operator"), "a detector hears why");
        }
      }
      return `${status} ${body.results ? "results" : (body.status ?? (body.mode && !body.blocks ? "mode" : "list"))}`;
    },
  };
}

const PER_ADDRESS = [...(CODES[400] ?? []), ...(CODES[429] ?? [])];

const roleOf = (name: string) => (HOLDERS[name] as Holder).role;

/** Whether the caller's token is good there and then. */
function isWelcome(name: string, event: APIGatewayProxyEventV2, now: number): boolean {
  const { from = "", expiresAt = Number.POSITIVE_INFINITY } = HOLDERS[name] as Holder;
  return event.requestContext.http.sourceIp.startsWith(from) && now < expiresAt * 1000;
}

/** Those whose token or signature is in the request, and where theirs may be. */
function credentialsIn(event: APIGatewayProxyEventV2, signing: Signing | undefined): string[] {
  if (signing) return isGood(signing) ? [signing.name] : [];
  const { headers, rawQueryString, body, isBase64Encoded } = event;
  const text = isBase64Encoded ? Buffer.from(body ?? "", "base64").toString() : (body ?? "");
  return Object.keys(HOLDERS).filter((name) => {
    const { token, role } = HOLDERS[name] as Holder;
    if (headers.authorization?.includes(token)) return true;
    if (role !== "detector") return false;
    const { method } = event.requestContext.http;
    return (method === "GET" && rawQueryString.includes(token)) || text.includes(token);
  });
}

const isGood = ({ name, by, offSeconds, spoil }: Signing): boolean =>
  name === by && Math.abs(offSeconds) <= 301 && spoil === "nothing";

/** The request as its caller signs it by its own clock, and as it arrives. */
function signed(
  event: APIGatewayProxyEventV2,
  { name, by, offSeconds, spoil }: Signing,
  now: number,
): APIGatewayProxyEventV2 {
  const { rawPath, rawQueryString, body = "", isBase64Encoded, requestContext } = event;
  const bytes = isBase64Encoded ? Buffer.from(body, "base64").toString("latin1") : body;
  const isAscii = /^[ -~]*$/.test(bytes);
  const headers = signatureHeaders(name, HOLDERS[by]?.token ?? UNKNOWN_TOKEN, {
    method: requestContext.http.method,
    url: rawQueryString === "" ? rawPath : `${rawPath}?${rawQueryString}`,
    body: isAscii || !isBase64Encoded ? bytes : Buffer.from(body, "base64").toString(),
    timestamp: Math.floor(now / 1000) + offSeconds,
  });
  const signature = headers["x-portcullis-signature"] ?? "";
  const spoilt: Record<Signing["spoil"], object> = {
    nothing: {},
    url: { rawQueryString: `${rawQueryString}&ip=45.9.9.9` },
    body: { body: isBase64Encoded ? `AAAA${body}` : ` ${body}` },
    timestamp: { headers: { "x-portcullis-timestamp": String(Math.floor(now / 1000) + 1e6) } },
    signature: { headers: { "x-portcullis-signature": `${signature.slice(0, -1)}z` } },
    name: { headers: { "x-portcullis-signature": signature.replace(/^[^:]+/, "nobody") } },
    garbage: { headers: { "x-portcullis-signature": "%00:".repeat(2_000) } },
  };
  const arrived = { ...event, ...spoilt[spoil] };
  const { authorization: _, ...others } = event.headers;
  return { ...arrived, headers: { ...others, ...headers, ...arrived.headers } };
}

const withoutBigInts = (_key: string, value: unknown) =>
  typeof value === "bigint" ? String(value) : value;
