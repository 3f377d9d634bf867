import { randomUUID } from "node:crypto";
import type { BlockMessage, WithdrawMessage } from "../../shared/aws/queue.ts";
import type { Finding } from "../../shared/detectors/detector.ts";
import { DEFAULT_SEVERITY } from "../../shared/domain/block.ts";
import { asReport } from "../../shared/domain/caller.ts";
import { BITS, type Cidr, contains } from "../../shared/domain/cidr.ts";
import { type NeverBlock, protectedBy, SPECIAL_RANGES } from "../../shared/domain/neverBlock.ts";
import { type Hold, holdOver, type Orders } from "../../shared/domain/orders.ts";
import { type Seconds, toEpochSeconds } from "../../shared/domain/time.ts";
import type { Blacklist, Request } from "./blacklist.ts";
import { type Fields, numberOf, reasonOf, reportableAddressOf } from "./request.ts";

/** An address that must not be blocked, and why. */
export type Ignored = { readonly kind: "ignored"; readonly cidr: string; readonly why: string };

/** How a caller wants an address blocked. */
export type Terms = {
  readonly seconds: Seconds;
  readonly severity: number;
  readonly reason: string;
};

type Judge = (ip: unknown, terms: () => Terms) => BlockMessage | Ignored;

/**
 * Judges whether an address may be reported: the message to queue, or why the address is ignored. What the
 * addresses of a request have in common is looked up once.
 *
 * @returns a function that throws Refusal
 */
export async function createJudge(
  orders: Orders | undefined,
  request: Request,
  blacklist: Pick<Blacklist, "neverBlock" | "sources" | "log">,
): Promise<Judge> {
  const { caller, source, now, origin } = request;
  const [neverBlock, recent] = await Promise.all([
    currentNeverBlock(blacklist),
    blacklist.sources.recent(now),
  ]);
  // Holds do not apply to operators' reports.
  const holds = caller.role === "operator" ? [] : (orders?.holds ?? []);

  return (ip, terms) => {
    const cidr = reportableAddressOf(ip, caller);
    const { seconds, severity, reason } = terms();
    const why = contains(cidr, source)
      ? "the caller's own address"
      : (protectedBy(neverBlock, cidr)?.why ?? whyTooWide(cidr, recent, holds, request));
    if (why) return { kind: "ignored", cidr: cidr.text, why };
    const claim = {
      cidr,
      expiresAt: toEpochSeconds(now) + seconds,
      reportedAt: now,
      severity,
      reason,
      detector: caller.name,
      requestId: randomUUID(),
      count: 1,
      origin,
    };
    const report = asReport(claim, caller, now);
    return {
      kind: "block",
      ...claim,
      expiresAt: report.expiresAt,
      severity: report.severity,
    };
  };
}

/** The withdrawal of the caller's own reports of an address. @throws Refusal */
export function withdrawalOf(ip: unknown, { caller, now, origin }: Request): WithdrawMessage {
  const cidr = reportableAddressOf(ip, caller);
  const requestId = randomUUID();
  return { kind: "withdraw", cidr, detector: caller.name, withdrawnAt: now, requestId, origin };
}

type Times = Pick<Blacklist, "expirySeconds" | "maxExpirySeconds">;

/** The terms of a request in our own format. @returns a function that parses once, and throws Refusal */
export function termsOf(fields: Fields, times: Times): () => Terms {
  let terms: Terms | undefined;
  return () => {
    terms ??= readTerms(fields, times);
    return terms;
  };
}

/** The terms of a detector's finding: a time past the limit is cut, as the detector cannot know the limit. */
export function termsOfFinding(
  { seconds, severity = DEFAULT_SEVERITY, reason }: Finding,
  { expirySeconds, maxExpirySeconds }: Times,
): Terms {
  return {
    seconds: Math.min(seconds ?? expirySeconds, maxExpirySeconds),
    severity,
    reason: reasonOf({ reason }),
  };
}

/** @throws Refusal */
function readTerms(fields: Fields, { expirySeconds, maxExpirySeconds }: Times): Terms {
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
  return { seconds, severity, reason: reasonOf(fields) };
}

/** A range must not include a caller's address or a held one; a single address may be either. */
function whyTooWide(
  cidr: Cidr,
  recent: readonly Cidr[],
  holds: readonly Hold[],
  { now }: Request,
): string | undefined {
  if (cidr.prefix === BITS[cidr.family]) return undefined;
  if (recent.some((source) => contains(cidr, source))) return "the address of a recent caller";
  const narrower = holds.filter((hold) => hold.cidr.prefix > cidr.prefix);
  return holdOver(narrower, cidr, now) ? "an address that is held" : undefined;
}

/** The built-in ranges apply even while the list cannot be read; the worker and `plan` check again. */
async function currentNeverBlock({
  neverBlock,
  log,
}: Pick<Blacklist, "neverBlock" | "log">): Promise<NeverBlock> {
  try {
    return await neverBlock();
  } catch (error) {
    log.error("The never-block list cannot be read", error as Error);
    return SPECIAL_RANGES;
  }
}
