import type { BlockMessage, Lane } from "../../shared/aws/queue.ts";
import type { Caller } from "../../shared/domain/caller.ts";
import type { Orders } from "../../shared/domain/orders.ts";
import type { Blacklist, Request } from "./blacklist.ts";
import { badRequest, Refusal, unavailable } from "./errors.ts";
import type { Answer } from "./http.ts";
import { createJudge, type Ignored } from "./judge.ts";
import type { Fields } from "./request.ts";

/** What a block answers for one address. */
type Outcome =
  | { readonly status: "queued"; requestId: string; cidr: string; expiresAt: number }
  | { readonly status: "ignored"; cidr: string; reason: string }
  | { readonly status: "refused"; ip: unknown; error: { code: string; message: string } };

/** What is to be done about one address. */
type Decided =
  | { readonly kind: "refused"; readonly ip: unknown; readonly refusal: Refusal }
  | Ignored
  | { readonly kind: "folded"; readonly message: BlockMessage }
  | { readonly kind: "fresh"; readonly message: BlockMessage };

const laneOf = ({ role }: Caller): Lane => (role === "operator" ? "operators" : "detectors");

/**
 * A detector's report that an address attacks: validated, checked against what is never blocked and
 * against the caller's budget, and queued. From the answer 202 on it is durable.
 *
 * @throws Refusal for bad input, QueueUnavailableError
 */
export async function block(
  fields: Fields,
  request: Request,
  blacklist: Blacklist,
): Promise<Answer> {
  const orders = await blacklist.orders.current();
  const [decided] = await decide(fields, [fields.ip], orders, request, blacklist);
  if (!decided || decided.kind === "refused") throw decided?.refusal;
  if (decided.kind === "ignored") return { status: 200, body: ignored(decided, request) };
  const { kind, message } = decided;
  const sent = kind === "folded" ? message : await sendOne(message, orders, request, blacklist);
  return { status: 202, body: queued(sent, request, blacklist) };
}

/** Addresses in one request, at most. */
const MAX_ADDRESSES = 100;

/**
 * As `block`, for up to 100 addresses in one request (`ips`; the other parameters hold for all). Each
 * is judged by itself, so that one bad address does not cost the others: the answer is 2xx as soon as
 * one could be taken, and names what became of each, in the order of the request.
 *
 * @throws Refusal for something that is no list, and where the queue took none of the good ones
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
  const orders = await blacklist.orders.current();
  const decided = await decide(fields, ips, orders, request, blacklist);
  const fresh = decided.flatMap((one) => (one.kind === "fresh" ? [one.message] : []));
  const answers = await blacklist.fold.sendAll(fresh, orders, laneOf(request.caller));
  const sent = new Map(fresh.map((message, index) => [message, answers[index]]));
  const untaken = fresh.filter((message) => sent.get(message) === undefined);
  if (untaken.length > 0) {
    giveBack(untaken, request, blacklist);
    const isAny = decided.some(({ kind }) => kind === "folded") || untaken.length < fresh.length;
    if (!isAny) throw unavailable("The queue cannot take it now.");
    blacklist.log.error("The queue did not take all addresses", { untaken: untaken.length });
  }
  const results = decided.map((one): Outcome => {
    if (one.kind === "refused") return refused(one.ip, one.refusal);
    if (one.kind === "ignored") return ignored(one, request);
    const taken = one.kind === "folded" ? one.message : sent.get(one.message);
    return taken
      ? queued(taken, request, blacklist)
      : refused(one.message.cidr.text, unavailable("The queue cannot take it now."));
  });
  return answerAll(decided, results, request, blacklist);
}

/** The answer to many: 2xx where anything could be taken, else why not. */
function answerAll(
  decided: readonly Decided[],
  results: readonly Outcome[],
  { trace }: Request,
  { refusals: refused, measure }: Blacklist,
): Answer {
  const refusals = decided.flatMap((one) => (one.kind === "refused" ? [one.refusal] : []));
  const spent = refusals.find(({ status }) => status !== 400);
  if (refusals.length > 0) {
    const codes = Object.groupBy(refusals, ({ code }) => code);
    const counts = Object.entries(codes).map(([code, all]) => [code, all?.length]);
    refused.note(Object.keys(codes).toSorted().join(), {
      ...trace,
      codes: Object.fromEntries(counts),
    });
  }
  if (spent?.status === 429) measure("OverBudget");
  const statuses = new Set(results.map(({ status }) => status));
  if (statuses.has("queued")) return { status: 202, body: { results } };
  if (statuses.has("ignored")) return { status: 200, body: { results } };
  if (!spent) return { status: 400, body: { results } };
  const { status, code, message, headers } = spent;
  return { status, headers, body: { error: { code, message }, results } };
}

/**
 * What is to be done about each of the addresses. What folds costs nothing, and what is ignored costs as
 * much as what is queued: otherwise a detector could search for what is never blocked.
 */
async function decide(
  fields: Fields,
  ips: readonly unknown[],
  orders: Orders | undefined,
  request: Request,
  { budget, fold, ...blacklist }: Blacklist,
): Promise<readonly Decided[]> {
  const { caller, now, trace } = request;
  const judge = await createJudge(fields, orders, request, blacklist);
  const decided = ips.map((ip): Decided => {
    try {
      const judged = judge(ip);
      if (judged.kind === "ignored") return judged;
      const earlier = fold.earlier(judged, orders);
      return earlier ? { kind: "folded", message: earlier } : { kind: "fresh", message: judged };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return { kind: "refused", ip, refusal: error };
    }
  });
  const costs = new Set(decided.flatMap((one) => costOf(one) ?? []));
  const { granted, refusal } = await budget.spend(caller, costs.size, now);
  const paid = new Set([...costs].slice(0, granted));
  return decided.map((one, index) => {
    const cost = costOf(one);
    if (refusal && cost !== undefined && !paid.has(cost)) {
      return { kind: "refused", ip: ips[index], refusal };
    }
    if (one.kind === "ignored") {
      blacklist.log.info("Ignored", { cidr: one.cidr, why: one.why, ...trace });
    }
    return one;
  });
}

/** What is paid for: each address once. */
function costOf(decided: Decided): string | undefined {
  if (decided.kind === "ignored") return decided.cidr;
  return decided.kind === "fresh" ? decided.message.cidr.text : undefined;
}

async function sendOne(
  message: BlockMessage,
  orders: Orders | undefined,
  request: Request,
  blacklist: Blacklist,
): Promise<BlockMessage> {
  try {
    return await blacklist.fold.send(message, orders, laneOf(request.caller));
  } catch (error) {
    giveBack([message], request, blacklist);
    throw error;
  }
}

/** A queue that is down must not use up the budget of those who try again. */
function giveBack(
  untaken: readonly BlockMessage[],
  { caller, now }: Request,
  { budget }: Blacklist,
): void {
  budget.giveBack(caller, new Set(untaken.map(({ cidr }) => cidr.text)).size, now);
}

function queued(
  { requestId, cidr, expiresAt }: BlockMessage,
  { trace }: Request,
  { log }: Blacklist,
) {
  log.info("Queued", { cidr: cidr.text, requestId, expiresAt, ...trace });
  return { status: "queued" as const, requestId, cidr: cidr.text, expiresAt };
}

/** What a detector hears of every address that is ignored: why would tell it what is protected. */
export const PROTECTED = "This address is protected.";

function ignored({ cidr, why }: Ignored, { caller }: Request) {
  const reason = caller.role === "operator" ? why : PROTECTED;
  return { status: "ignored" as const, cidr, reason };
}

function refused(ip: unknown, { code, message }: Refusal) {
  return { status: "refused" as const, ip, error: { code, message } };
}
