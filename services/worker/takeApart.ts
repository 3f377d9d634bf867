import {
  type BlockMessage,
  type EventMessage,
  QueueUnavailableError,
} from "../../shared/aws/queue.ts";
import {
  type Detector,
  type Finding,
  type Misunderstanding,
  NotUnderstoodError,
} from "../../shared/detectors/detector.ts";
import { guardDuty, UNTIL_NEXT } from "../../shared/detectors/guardDuty.ts";
import { securityHub } from "../../shared/detectors/securityHub.ts";
import { DEFAULT_SEVERITY } from "../../shared/domain/block.ts";
import { asReport, type Caller, plausible } from "../../shared/domain/caller.ts";
import { BITS, type Cidr, InvalidAddressError, parseCidr } from "../../shared/domain/cidr.ts";
import { protectedBy, SPECIAL_RANGES } from "../../shared/domain/neverBlock.ts";
import { inOneLine } from "../../shared/domain/reason.ts";
import { type EpochMillis, type Seconds, toEpochSeconds } from "../../shared/domain/time.ts";
import type { Worker } from "./worker.ts";

/** How many addresses one event may name: as many as one request to the endpoint. */
const MAX_ADDRESSES = 100;

/** No address is longer than this in text form. */
const MAX_ADDRESS = 64;

const DETECTORS: Readonly<Record<EventMessage["kind"], Detector>> = {
  guardduty: guardDuty,
  securityhub: securityHub,
};

/** Why a part of an event cannot be taken: a stable code, and a sentence. */
export type Problem = { readonly reason: string; readonly detail: string };

/**
 * Takes an event apart into messages of one address each, and puts them into the detector's own lane: from
 * there on they are reports like any others. They count from the time of the event, so that an event that
 * is redelivered or replayed changes nothing, and a late one blocks for what is left of its time.
 *
 * @returns the parts that can never be taken; the rest is queued all the same
 * @throws QueueUnavailableError if the queue did not take all of it
 */
export async function takeApart(
  message: EventMessage,
  caller: Caller,
  { queue, log, maxExpirySeconds }: Pick<Worker, "queue" | "log" | "maxExpirySeconds">,
  now: EpochMillis,
): Promise<Problem | undefined> {
  const { kind, event } = message;
  const about = { detector: kind, eventId: event.id };
  const blocks = new Map<string, BlockMessage>();
  const problems: Problem[] = [];
  let ignored = 0;
  for (const finding of findingsIn(message)) {
    if ("notUnderstood" in finding) {
      problems.push({ reason: "not_understood", detail: finding.notUnderstood });
      continue;
    }
    const cidr = addressOf(finding);
    if ("reason" in cidr) {
      problems.push(cidr);
      continue;
    }
    if (protectedBy(SPECIAL_RANGES, cidr)) {
      ignored++;
      continue;
    }
    const block = blockOf(cidr, finding, message, caller, maxExpirySeconds, now);
    const before = blocks.get(cidr.text);
    if (!before || before.severity < block.severity) blocks.set(cidr.text, block);
  }

  const taken = [...blocks.values()].slice(0, MAX_ADDRESSES);
  if (blocks.size > taken.length) {
    const detail = `It names ${blocks.size} addresses; the first ${taken.length} were taken.`;
    problems.push({ reason: "too_many", detail });
  }
  const stored = await queue.sendAll(
    taken.map((block) => ({
      message: block,
      deduplicationId: block.requestId,
      lane: "detectors" as const,
    })),
  );
  if (stored.includes(false)) {
    throw new QueueUnavailableError("The queue did not take all blocks of an event.");
  }
  const [problem] = problems;
  const line = { ...about, blocks: taken.length, ignored };
  if (taken.length > 0) log.info("Took an event apart", line);
  else if (!problem) log.info("Dropped an event: it names nobody to block", line);
  return problem;
}

function findingsIn({ kind, event }: EventMessage): readonly (Finding | Misunderstanding)[] {
  try {
    return DETECTORS[kind].findings(event, {});
  } catch (error) {
    if (!(error instanceof NotUnderstoodError)) throw error;
    return [{ notUnderstood: error.message }];
  }
}

/** The one address of a finding: these detectors name no ranges. */
function addressOf({ ip }: Finding): Cidr | Problem {
  const invalid = (detail: string): Problem => ({ reason: "invalid_ip", detail });
  if (typeof ip !== "string") return invalid("An address is not a text.");
  try {
    const cidr = parseCidr(ip.slice(0, MAX_ADDRESS + 1));
    return cidr.prefix === BITS[cidr.family] ? cidr : invalid(`${cidr.text} is a range.`);
  } catch (error) {
    if (!(error instanceof InvalidAddressError)) throw error;
    return invalid(error.message);
  }
}

function blockOf(
  cidr: Cidr,
  { seconds = UNTIL_NEXT, severity = DEFAULT_SEVERITY, reason = "" }: Finding,
  { event: { id, time } }: EventMessage,
  caller: Caller,
  maxExpirySeconds: Seconds,
  now: EpochMillis,
): BlockMessage {
  const reportedAt = plausible(time, now);
  const claim = {
    cidr,
    expiresAt: toEpochSeconds(reportedAt) + Math.min(seconds, maxExpirySeconds),
    reportedAt,
    severity,
    reason: inOneLine(reason),
    detector: caller.name,
    // By address, not by position: what a fixed adapter finds in addition shifts none of the others.
    requestId: `${id}/${cidr.text}`,
    count: 1,
  };
  const report = asReport(claim, caller, now);
  return { kind: "block", ...claim, expiresAt: report.expiresAt, severity: report.severity };
}
