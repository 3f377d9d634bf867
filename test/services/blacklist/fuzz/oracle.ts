import { BlockList, isIPv6 } from "node:net";
import { inspect } from "node:util";
import type { Logger } from "@aws-lambda-powertools/logger";
import type { APIGatewayProxyEventV2 } from "aws-lambda";
import * as v from "valibot";
import { message as messageSchema } from "../../../../shared/aws/queue.ts";
import { protect, SPECIAL_RANGES } from "../../../../shared/domain/neverBlock.ts";
import { startEndpoint } from "../../../support/endpoint.ts";
import { DETECTOR_TOKEN, OPERATOR_TOKEN } from "../../../support/tokens.ts";
import { UNKNOWN_TOKEN } from "./grammar.ts";

// What must be true of any answer, told by other means than the endpoint's own: node's BlockList, a plain
// list of codes.

const CODES: Readonly<Record<number, readonly string[]>> = {
  400: [
    ...["invalid_ip", "invalid_ips", "range_too_wide", "invalid_expiry", "invalid_severity"],
    ...["invalid_reason", "invalid_json", "invalid_body", "duplicate_parameter", "invalid_hold"],
    ...["invalid_limit", "invalid_next"],
  ],
  401: ["unauthorized"],
  403: ["forbidden"],
  404: ["not_found"],
  405: ["method_not_allowed"],
  413: ["too_large"],
  415: ["unsupported_media_type"],
};

/** The owner's own ranges, beside the special ones. */
const OWN = ["45.10.0.0/16", "2600:1f18::/32"];
const NEVER = [
  ...["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"],
  ...["172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3"],
  // All but 2000::/3.
  ...["::/3", "4000::/2", "8000::/1", ...OWN],
];
const WIDEST = { ipv4: 16, ipv6: 32 };

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

const resultSchema = v.object({ status: v.string(), cidr: v.optional(v.string()) });

/** The endpoint with an oracle beside it. */
export function startOracle() {
  const lines: string[] = [];
  const line = (...parts: unknown[]) => void lines.push(inspect(parts, { depth: 8 }));
  const log = { debug: line, info: line, warn: line, error: line } as unknown as Logger;
  const owned = protect(OWN.map((cidr) => [cidr, "the owner's"]));
  const endpoint = startEndpoint({
    log,
    neverBlock: async () => [...SPECIAL_RANGES, ...owned],
  });
  const everQueued = new Set<string>();

  return {
    /**
     * Asks, and checks the answer.
     *
     * @returns the answer's kind, for statistics
     * @throws what is wrong with the answer
     */
    async ask(event: APIGatewayProxyEventV2): Promise<string> {
      lines.length = 0;
      const before = endpoint.queue.sent.length;
      const { status = 0, headers, body, raw } = await endpoint.answer(event);
      const sent = endpoint.messages().slice(before);
      endpoint.queue.sent.length = before;
      const must = (holds: boolean, what: string) => {
        if (!holds) throw new Error(`${what}: ${status} ${raw.slice(0, 500)}`);
      };

      must(/^application\/json/.test(String(headers["content-type"])), "not told as JSON");
      must([200, 202].includes(status) || status in CODES, "an unknown status");
      const secrets = [DETECTOR_TOKEN, OPERATOR_TOKEN, UNKNOWN_TOKEN];
      const said = [raw, JSON.stringify(sent), ...lines].join();
      must(!secrets.some((secret) => said.includes(secret)), "a token is shown");

      for (const { cidr } of sent) everQueued.add(cidr);
      for (const message of sent) {
        must(v.safeParse(messageSchema, message).success, "the worker could not read it");
        if (message.kind === "unblock") {
          must(tokensIn(event).includes(OPERATOR_TOKEN), "unblocked by a detector");
          continue;
        }
        const prefix = Number(message.cidr.split("/")[1]);
        must(!isProtected(message.cidr), `queued what is never blocked, ${message.cidr}`);
        must(
          prefix >= WIDEST[typeOf(baseOf(message.cidr))],
          `queued too wide a range, ${message.cidr}`,
        );
        const { sourceIp } = event.requestContext.http;
        must(!isIn(sourceIp, message.cidr), `queued the caller's own address, ${message.cidr}`);
      }
      must(sent.length === 0 || status === 202, "queued, and not told");
      must(sent.length === 0 || tokensIn(event).length > 0, "queued without a token");
      must(!body.blocks || tokensIn(event).includes(OPERATOR_TOKEN), "listed to a detector");

      const refusals = [body, ...(body.results ?? [])].filter(({ error }) => error);
      for (const { error } of refusals) {
        const codes = status in CODES ? CODES[status] : CODES[400];
        must(codes?.includes(error.code) ?? false, "an unknown code");
        must(/^\S[^\n]*\.$/.test(error.message), "no sentence");
      }
      if (status >= 400) {
        must(refusals.length > 0, "refused without a reason");
        return `${status} ${body.error?.code ?? "results"}`;
      }
      const outcomes = v.safeParse(v.array(resultSchema), body.results ?? [body]);
      for (const { status: outcome, cidr } of outcomes.output as v.InferOutput<
        typeof resultSchema
      >[]) {
        if (outcome === "queued") must(everQueued.has(String(cidr)), "told as queued, and is not");
      }
      return `${status} ${body.results ? "results" : (body.status ?? "list")}`;
    },
  };
}

/** The tokens of somebody's that are anywhere in the request. */
function tokensIn({ headers, rawQueryString, body, isBase64Encoded }: APIGatewayProxyEventV2) {
  const text = isBase64Encoded ? Buffer.from(body ?? "", "base64").toString() : (body ?? "");
  const all = `${headers.authorization} ${rawQueryString} ${text}`;
  return [DETECTOR_TOKEN, OPERATOR_TOKEN].filter((token) => all.includes(token));
}
