import { randomUUID } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { BlockMessage } from "../../shared/aws/queue.ts";
import { type Cidr, contains, parseCidr } from "../../shared/domain/cidr.ts";
import { type NeverBlock, protectedBy, SPECIAL_RANGES } from "../../shared/domain/neverBlock.ts";
import type { Blacklist, Request } from "./blacklist.ts";
import { badRequest, Refusal, unavailable } from "./errors.ts";
import type { Answer } from "./http.ts";
import { blockableAddressOf, type Fields, numberOf, reasonOf } from "./request.ts";

const DEFAULT_SEVERITY = 5;

/** What a block answers for one address. */
type Outcome =
  | { readonly status: "queued"; requestId: string; cidr: string; expiresAt: number }
  | { readonly status: "ignored"; cidr: string; reason: string }
  | { readonly status: "refused"; ip: unknown; error: { code: string; message: string } };

/**
 * A detector's report that an address attacks: validated, checked against the never-block list and
 * queued. From the answer 202 on it is durable.
 *
 * @throws Refusal for bad input, QueueUnavailableError
 */
export async function block(
  fields: Fields,
  request: Request,
  blacklist: Blacklist,
): Promise<Answer> {
  const judged = judge(fields, request, await currentNeverBlock(blacklist), blacklist);
  if ("status" in judged) return { status: 200, body: judged };
  const sent = await blacklist.fold.send(judged);
  return { status: 202, body: queued(sent, request, blacklist) };
}

/** Addresses in one request, at most. */
const MAX_ADDRESSES = 100;

/**
 * As `block`, for up to 100 addresses in one request (`ips`; the other parameters hold for all). Each
 * is judged by itself, so that one bad address does not cost the others: the answer is 2xx as soon as
 * one could be taken, and names what became of each, in the order of the request.
 *
 * @throws Refusal where none could be taken: 503 where the queue took none of the good ones
 */
export async function blockAll(
  fields: Fields,
  request: Request,
  blacklist: Blacklist,
): Promise<Answer> {
  const { ips } = fields;
  if (!Array.isArray(ips) || ips.length === 0 || ips.length > MAX_ADDRESSES) {
    const message = `The parameter ips must be a list of 1 to ${MAX_ADDRESSES} addresses.`;
    throw badRequest("invalid_ips", message);
  }
  const neverBlock = await currentNeverBlock(blacklist);
  const judged = ips.map((ip: unknown) => {
    try {
      return judge({ ...fields, ip }, request, neverBlock, blacklist);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return refused(ip, error);
    }
  });
  const good = judged.filter((one): one is BlockMessage => !("status" in one));
  const answers = await blacklist.fold.sendAll(good);
  const sent = new Map(good.map((message, index) => [message, answers[index]]));
  if (good.length > 0 && answers.every((answer) => answer === undefined)) {
    throw unavailable("The queue cannot take it now.");
  }
  const untaken = answers.filter((answer) => answer === undefined).length;
  if (untaken > 0) blacklist.log.error("The queue did not take all addresses", { untaken });
  const results = judged.map((one): Outcome => {
    if ("status" in one) return one;
    const answer = sent.get(one);
    return answer
      ? queued(answer, request, blacklist)
      : refused(one.cidr.text, unavailable("The queue cannot take it now."));
  });
  const statuses = new Set(results.map(({ status }) => status));
  const status = statuses.has("queued") ? 202 : statuses.has("ignored") ? 200 : 400;
  return { status, body: { results } };
}

/** A detector calls again and again, from the same address. */
const callers = new LRUCache<string, Cidr>({ max: 1_000 });

function callerAddress(sourceIp: string): Cidr {
  const address = callers.get(sourceIp) ?? parseCidr(sourceIp);
  callers.set(sourceIp, address);
  return address;
}

/** The message to queue for an address, or why it is ignored. @throws Refusal */
function judge(
  fields: Fields,
  { caller, sourceIp, now }: Request,
  neverBlock: NeverBlock,
  { expirySeconds, maxExpirySeconds, log }: Blacklist,
): BlockMessage | Extract<Outcome, { status: "ignored" }> {
  const cidr = blockableAddressOf(fields);
  const seconds = numberOf(fields, "expiryTime", {
    min: 1,
    max: maxExpirySeconds,
    otherwise: expirySeconds,
    code: "invalid_expiry",
  });
  const severity = numberOf(fields, "severity", {
    min: 1,
    max: 10,
    otherwise: DEFAULT_SEVERITY,
    code: "invalid_severity",
  });
  const reason = reasonOf(fields);
  const why = contains(cidr, callerAddress(sourceIp))
    ? "the caller's own address"
    : protectedBy(neverBlock, cidr)?.why;
  if (why) {
    log.info("Ignored", { cidr: cidr.text, caller: caller.name, why });
    return { status: "ignored", cidr: cidr.text, reason: why };
  }
  return {
    kind: "block",
    cidr,
    expiresAt: Math.floor(now / 1000) + seconds,
    reportedAt: now,
    severity,
    reason,
    detector: caller.name,
    weight: caller.weight,
    byOperator: caller.role === "operator",
    requestId: randomUUID(),
    count: 1,
  };
}

function queued(
  { requestId, cidr, expiresAt }: BlockMessage,
  { caller }: Request,
  { log }: Blacklist,
) {
  log.info("Queued", { cidr: cidr.text, caller: caller.name, requestId, expiresAt });
  return { status: "queued" as const, requestId, cidr: cidr.text, expiresAt };
}

function refused(ip: unknown, { code, message }: Refusal) {
  return { status: "refused" as const, ip, error: { code, message } };
}

/** The built-in ranges hold even while the list cannot be read; worker and `plan` ask again. */
async function currentNeverBlock({ neverBlock, log }: Blacklist): Promise<NeverBlock> {
  try {
    return await neverBlock();
  } catch (error) {
    log.error("The never-block list cannot be read", error as Error);
    return SPECIAL_RANGES;
  }
}
