import {
  type BlockMessage,
  type Lane,
  MAX_COUNT,
  type WithdrawMessage,
} from "../../shared/aws/queue.ts";
import type { Seen } from "../../shared/aws/table/activity.ts";
import type { Caller } from "../../shared/domain/caller.ts";
import type { Orders } from "../../shared/domain/orders.ts";
import type { Blacklist, Request } from "./blacklist.ts";
import { Refusal, unavailable } from "./errors.ts";
import { type Answer, lastRefusalOf } from "./http.ts";
import { createJudge, type Ignored, type Terms, withdrawalOf } from "./judge.ts";

/** What a caller says about one address, or why it is not understood. */
export type Said =
  | { readonly kind: "report"; readonly ip: unknown; readonly terms: () => Terms }
  | { readonly kind: "withdrawal"; readonly ip: unknown }
  | { readonly kind: "refused"; readonly refusal: Refusal };

type Message = BlockMessage | WithdrawMessage;

/** What to do about what was said. */
type Decided =
  | { readonly kind: "refused"; readonly ip?: unknown; readonly refusal: Refusal }
  | Ignored
  | { readonly kind: "folded"; readonly message: BlockMessage }
  | { readonly kind: "fresh"; readonly message: Message };

/** The answer for one address. */
type Outcome =
  | { readonly status: "queued"; requestId: string; cidr: string; expiresAt?: number }
  | { readonly status: "ignored"; cidr: string; reason: string }
  | { readonly status: "refused"; ip?: unknown; error: { code: string; message: string } };

const laneOf = ({ role }: Caller): Lane => (role === "operator" ? "operators" : "detectors");

const ACCEPTED: Seen = { accepted: 1, refused: 0 };

/**
 * Takes what is said about one address.
 *
 * @throws Refusal, QueueUnavailableError
 */
export async function takeOne(said: Said, request: Request, blacklist: Blacklist): Promise<Answer> {
  const { fold } = blacklist;
  const orders = await blacklist.orders.current();
  const [decided] = await decide([said], orders, request, blacklist);
  if (!decided || decided.kind === "refused") throw decided?.refusal;
  if (decided.kind === "ignored")
    return { status: 200, body: ignored(decided, request), seen: ACCEPTED };
  const { kind, message } = decided;
  if (kind === "folded") return { status: 202, body: queued(message), seen: ACCEPTED };
  try {
    if (message.kind === "withdraw") await letWithdraw(request.caller, orders, blacklist);
    const sent = await fold.send(message, orders, laneOf(request.caller));
    return { status: 202, body: queued(sent), seen: ACCEPTED };
  } catch (error) {
    giveBack([message], request, blacklist);
    throw error;
  }
}

/**
 * Takes what is said about many addresses. Each is judged by itself, so that one bad address does not cost
 * the others: the answer is 2xx if at least one could be taken, and says what became of each, in the order
 * of the request. It is 503 if the queue took nothing of what it was sent: a detector that gets a 202 does
 * not report again, and what folds may fold again at no cost.
 *
 * @throws Refusal
 */
export async function takeAll(
  said: readonly Said[],
  request: Request,
  blacklist: Blacklist,
): Promise<Answer> {
  const { fold, orders: standingOrders, log } = blacklist;
  const orders = await standingOrders.current();
  const decided = await decide(said, orders, request, blacklist);
  const fresh = [...new Set(decided.flatMap((one) => (one.kind === "fresh" ? [one.message] : [])))];
  if (fresh.some(({ kind }) => kind === "withdraw")) {
    await letWithdraw(request.caller, orders, blacklist);
  }
  const answers = await fold.sendAll(fresh, orders, laneOf(request.caller));
  const sent = new Map(fresh.map((message, index) => [message, answers[index]]));
  const done = decided.map((one): Decided => {
    if (one.kind !== "fresh") return one;
    const message = sent.get(one.message);
    if (message) return { kind: "fresh", message };
    return { kind: "refused", ip: one.message.cidr.text, refusal: queueDown() };
  });
  const answer = answerAll(done, request, blacklist);
  const untaken = fresh.filter((message) => sent.get(message) === undefined);
  if (untaken.length === 0) return answer;
  giveBack(untaken, request, blacklist);
  log.error("The queue did not take all addresses", { untaken: untaken.length });
  if (untaken.length < fresh.length) return answer;
  const { status, code, message, headers } = queueDown();
  return { ...answer, status, headers, body: { error: { code, message } } };
}

const queueDown = () => unavailable("The queue cannot take it now.");

/** The answer to many: 2xx where anything could be taken, else why not. */
function answerAll(
  decided: readonly Decided[],
  request: Request,
  { refusals: noted, measure }: Blacklist,
): Answer {
  const { trace, now } = request;
  const results = decided.map((one): Outcome => {
    if (one.kind === "refused") return refused(one.ip, one.refusal);
    return one.kind === "ignored" ? ignored(one, request) : queued(one.message);
  });
  const refusals = decided.flatMap((one) => (one.kind === "refused" ? [one.refusal] : []));
  const spent = refusals.find(({ status }) => status !== 400);
  if (refusals.length > 0) {
    const codes = Object.groupBy(refusals, ({ code }) => code);
    const counts = Object.entries(codes).map(([code, all]) => [code, all?.length]);
    noted.note(Object.keys(codes).toSorted().join(), {
      ...trace,
      codes: Object.fromEntries(counts),
    });
  }
  if (refusals.some(({ status }) => status === 429)) measure("OverBudget");
  const why = spent ?? refusals[0];
  const seen: Seen = {
    accepted: results.filter(({ status }) => status !== "refused").length,
    refused: refusals.length,
    ...(why && { lastRefusal: lastRefusalOf(why, now) }),
  };
  const statuses = new Set(results.map(({ status }) => status));
  if (statuses.has("queued")) return { status: 202, body: { results }, seen };
  if (statuses.has("ignored") || !why) return { status: 200, body: { results }, seen };
  const { status, code, message, headers } = why;
  return { status, headers, body: { error: { code, message }, results }, seen };
}

/**
 * What to do about each address. Folding is free, but an ignored report costs as much as a queued one:
 * otherwise a detector could probe for what is never blocked.
 */
async function decide(
  said: readonly Said[],
  orders: Orders | undefined,
  request: Request,
  blacklist: Blacklist,
): Promise<readonly Decided[]> {
  const { fold, log } = blacklist;
  const judge = await createJudge(orders, request, blacklist);
  const judged = said.map((one): Exclude<Decided, { kind: "folded" }> => {
    if (one.kind === "refused") return one;
    try {
      if (one.kind === "withdrawal")
        return { kind: "fresh", message: withdrawalOf(one.ip, request) };
      const answer = judge(one.ip, one.terms);
      return answer.kind === "ignored" ? answer : { kind: "fresh", message: answer };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return { kind: "refused", ip: one.ip, refusal: error };
    }
  });
  const together = byAddress(judged);
  const decided = judged.map((one): Decided => {
    if (one.kind !== "fresh") return one;
    const message = together.get(one.message.cidr.text) ?? one.message;
    const earlier = message.kind === "block" ? fold.earlier(message, orders) : undefined;
    return earlier ? { kind: "folded", message: earlier } : { kind: "fresh", message };
  });
  const refusals = await pay(decided, request, blacklist);
  return decided.map((one, index): Decided => {
    const cost = costOf(one);
    const refusal = cost === undefined ? undefined : refusals.get(cost);
    const asSaid = said[index];
    if (refusal) return { kind: "refused", ip: asSaid && "ip" in asSaid && asSaid.ip, refusal };
    if (one.kind === "ignored") {
      log.info("Ignored", { cidr: one.cidr, why: one.why, ...request.trace });
    }
    return one;
  });
}

/**
 * One message per address: the later end and the greater severity of its reports, or a withdrawal if there
 * is no report.
 */
function byAddress(judged: readonly Decided[]): ReadonlyMap<string, Message> {
  const messages = new Map<string, Message>();
  for (const one of judged) {
    if (one.kind !== "fresh") continue;
    const { message } = one;
    const { text } = message.cidr;
    const before = messages.get(text);
    if (!before || before.kind === "withdraw") messages.set(text, message);
    else if (message.kind === "block") messages.set(text, both(before, message));
  }
  return messages;
}

function both(a: BlockMessage, b: BlockMessage): BlockMessage {
  const { severity, reason } = b.severity > a.severity ? b : a;
  const expiresAt = Math.max(a.expiresAt, b.expiresAt);
  return { ...a, expiresAt, severity, reason, count: Math.min(MAX_COUNT, a.count + b.count) };
}

/** Spends the caller's budget. @returns refusals for what it does not cover, by address */
async function pay(
  decided: readonly Decided[],
  { caller, now }: Request,
  { budget }: Blacklist,
): Promise<ReadonlyMap<string, Refusal>> {
  const refusals = new Map<string, Refusal>();
  const costs = { blocks: new Set<string>(), withdrawals: new Set<string>() };
  for (const one of decided) {
    const cost = costOf(one);
    if (cost !== undefined) costs[isWithdrawal(one) ? "withdrawals" : "blocks"].add(cost);
  }
  for (const what of ["blocks", "withdrawals"] as const) {
    const all = [...costs[what]];
    if (all.length === 0) continue;
    const { granted, refusal } = await budget.spend(caller, all.length, now, what);
    if (!refusal) continue;
    // A caller that sends the same group repeatedly must not be refused the same addresses each time.
    const begin = now % all.length;
    const unpaid = [...all.slice(begin), ...all.slice(0, begin)].slice(granted);
    for (const cost of unpaid) refusals.set(cost, refusal);
  }
  return refusals;
}

const isWithdrawal = (one: Decided) => one.kind === "fresh" && one.message.kind === "withdraw";

/** The address to pay for: each is paid for once. */
function costOf(decided: Decided): string | undefined {
  if (decided.kind === "ignored") return decided.cidr;
  return decided.kind === "fresh" ? decided.message.cidr.text : undefined;
}

/** @throws Refusal */
async function letWithdraw(
  { name }: Caller,
  orders: Orders | undefined,
  { fold }: Pick<Blacklist, "fold">,
): Promise<void> {
  await fold.letWithdraw(name, orders).catch((cause) => {
    throw unavailable("The withdrawal cannot be announced now.", cause);
  });
}

/** A queue that is down must not use up the budget of callers that retry. */
function giveBack(
  untaken: readonly Message[],
  { caller, now }: Request,
  { budget }: Blacklist,
): void {
  budget.giveBack(caller, new Set(untaken.map(({ cidr }) => cidr.text)).size, now);
}

function queued(message: Message) {
  const { requestId, cidr } = message;
  const answer = { status: "queued" as const, requestId, cidr: cidr.text };
  return message.kind === "block"
    ? { ...answer, expiresAt: message.expiresAt }
    : { ...answer, withdraws: true };
}

/** What a detector is told about any ignored address: the reason would reveal what is protected. */
export const PROTECTED = "This address is protected.";

function ignored({ cidr, why }: Ignored, { caller }: Request) {
  const reason = caller.role === "operator" ? why : PROTECTED;
  return { status: "ignored" as const, cidr, reason };
}

function refused(ip: unknown, { code, message }: Refusal) {
  return { status: "refused" as const, ip, error: { code, message } };
}
