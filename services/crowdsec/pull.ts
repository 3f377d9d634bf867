import { randomUUID } from "node:crypto";
import type { Callers } from "../../shared/aws/callers.ts";
import type { Logger } from "../../shared/aws/log.ts";
import type { Outgoing, Queue } from "../../shared/aws/queue.ts";
import type { Budgets } from "../../shared/aws/table/budgets.ts";
import type { Outstanding } from "../../shared/aws/table/outstanding.ts";
import type { Pulls } from "../../shared/aws/table/pulls.ts";
import type { Streamed } from "../../shared/detectors/crowdsec.ts";
import { DEFAULT_SEVERITY } from "../../shared/domain/block.ts";
import { asReport, type Caller, may, mayReport } from "../../shared/domain/caller.ts";
import {
  type Cidr,
  InvalidAddressError,
  isBlockable,
  parseCidr,
} from "../../shared/domain/cidr.ts";
import { inOneLine } from "../../shared/domain/reason.ts";
import { type EpochMillis, type Millis, toEpochSeconds } from "../../shared/domain/time.ts";
import { PullError } from "./errors.ts";
import type { Lapi } from "./lapi.ts";
import { planOf, type Wanted } from "./plan.ts";

/** The caller name under which it reports. */
export const CALLER = "crowdsec";

/** A pull's dependencies and settings. */
export type Crowdsec = {
  readonly lapi: Lapi;
  readonly pulls: Pulls;
  readonly callers: Callers;
  readonly budgets: Budgets;
  readonly outstanding: Pick<Outstanding, "read">;
  readonly queue: Pick<Queue, "sendAll">;
  /** The origins whose decisions count, in lower case. */
  readonly origins: readonly string[];
  /** How many blocks may be in force, of all callers together. */
  readonly blockLimit: number;
  readonly log: Pick<Logger, "info" | "warn">;
  readonly clock: () => EpochMillis;
};

/** What a pull did. */
export type Pulled = {
  readonly reported: number;
  readonly withdrawn: number;
  /** What had to be left to the next pull. */
  readonly left: number;
};

/**
 * How often CrowdSec is asked for all that it wants even if nothing has failed: this corrects what it does
 * not report as a change.
 */
const WHOLE_EVERY: Millis = 3_600_000;

/** Messages per part that is sent to the queue: SQS takes 300 calls a second per message group. */
const AT_ONCE = 100;

/** At most this many reports per pull, whatever the caller's limits. */
const MOST = 10_000;

/** A moment that every store and format accepts: in the year 2286. */
const FOREVER = 9_999_999_999;

/**
 * Asks CrowdSec and queues what follows from the answer.
 *
 * CrowdSec remembers what it has said, and says it only once. So each pull marks that it has begun, before
 * it asks, and that it has finished, once everything is queued. A pull that finds an unfinished pull's mark
 * asks for all that CrowdSec wants. Reports are remembered before they are queued, so that what CrowdSec no
 * longer wants is withdrawn, however long nobody has asked.
 *
 * @param deadline when it must have finished
 * @throws PullError, ConflictError while another pull runs
 */
export async function pull(crowdsec: Crowdsec, deadline: EpochMillis): Promise<Pulled> {
  const { lapi, pulls, log, clock } = crowdsec;
  // Check before asking CrowdSec: it says things once, and the worker would drop this caller's reports.
  const caller = (await crowdsec.callers()).get(CALLER);
  if (!caller || !may(caller, "detector"))
    throw new PullError(`There is no caller ${CALLER} that may report: portcullis token new.`);
  const { wholeAt, unfinishedSince } = await pulls.begin(clock(), deadline);
  try {
    const isWhole = unfinishedSince !== undefined || clock() - wholeAt >= WHOLE_EVERY;
    const startedAt = clock();
    const answer = await lapi.decisions(isWhole);
    const now = clock();
    const { wanted, ended } = understood(answer, caller, crowdsec, now);
    const isNothing = !isWhole && wanted.length + ended.length === 0;
    const reported = isNothing ? new Map() : await pulls.reported(now);
    const plan = planOf({ isWhole, wanted, ended }, reported, unfinishedSince, now);
    const granted = await affordable(plan.reports.length, caller, crowdsec, now);

    const pulled = createQueueing(caller, crowdsec, deadline, now);
    await pulled.withdraw(plan.withdrawals);
    // Repeated reports have been paid for.
    const again = await pulled.report(plan.again);
    if (again < plan.again.length)
      throw new PullError("The time was too short to queue everything.");
    const fresh = await pulled.report(plan.reports.slice(0, granted));
    const left = plan.reports.length - fresh;
    if (left > 0) log.warn("Left decisions to the next pull", { left, granted });
    // If anything is left, the next pull asks for everything, as CrowdSec does not say it again.
    await pulls.finish(deadline, left > 0 ? 0 : isWhole ? startedAt : wholeAt);
    return { reported: again + fresh, withdrawn: plan.withdrawals.length, left };
  } catch (error) {
    await pulls.giveUp(deadline).catch(() => {}); // another pull may begin once its time is over
    throw error;
  }
}

/** The part of the answer about addresses that the caller may report; the log counts the others. */
function understood(
  { bans, ended, notUnderstood }: Streamed,
  caller: Caller,
  { origins, log }: Pick<Crowdsec, "origins" | "log">,
  now: EpochMillis,
): { readonly wanted: readonly Wanted[]; readonly ended: readonly Cidr[] } {
  let tooWide = 0;
  let notAddresses = 0;
  const cidrOf = (ip: unknown): readonly Cidr[] => {
    try {
      const cidr = parseCidr(String(ip).slice(0, 65));
      if (isBlockable(cidr) && mayReport(caller, cidr)) return [cidr];
      tooWide++;
    } catch (error) {
      if (!(error instanceof InvalidAddressError)) throw error;
      notAddresses++;
    }
    return [];
  };
  const wanted = bans.flatMap(({ ip, seconds, origin, reason }) =>
    cidrOf(ip).map((cidr) => ({
      cidr,
      until: Math.min(toEpochSeconds(now) + seconds, FOREVER),
      reason: inOneLine(reason),
      isHeeded: origins.includes(origin.toLowerCase()),
    })),
  );
  const all = { wanted, ended: ended.flatMap(cidrOf) };
  if (tooWide + notAddresses + notUnderstood.length > 0) {
    const why = notUnderstood[0];
    const counts = { tooWide, notAddresses, notUnderstood: notUnderstood.length };
    log.warn("Passed over decisions", { ...counts, ...(why && { why }) });
  }
  return all;
}

/** How many of `count` reports the caller may make now. */
async function affordable(
  count: number,
  { name, limits }: Caller,
  { budgets, outstanding, blockLimit }: Pick<Crowdsec, "budgets" | "outstanding" | "blockLimit">,
  now: EpochMillis,
): Promise<number> {
  const asked = Math.min(count, limits.addressesPerMinute, MOST);
  if (asked === 0) return 0;
  const [taken, { own, all }] = await Promise.all([
    budgets.take(name, Math.floor(now / 60_000), asked),
    outstanding.read(name, now),
  ]);
  const inMinute = limits.addressesPerMinute - (taken - asked);
  return Math.max(0, Math.min(asked, inMinute, limits.outstanding - own, blockLimit - all));
}

/** Puts messages on the queue, and remembers what they say. */
function createQueueing(
  caller: Caller,
  { pulls, queue, clock }: Pick<Crowdsec, "pulls" | "queue" | "clock">,
  deadline: EpochMillis,
  now: EpochMillis,
) {
  const requestId = randomUUID();
  const detector = caller.name;

  async function send(messages: readonly Outgoing["message"][]): Promise<void> {
    const stored = await queue.sendAll(
      messages.map((message) => ({
        message,
        // A pull that makes up for a failed one says the same again, and must not pass for a repeat.
        deduplicationId: `${message.kind}#${"cidr" in message ? message.cidr.text : ""}#${requestId}`,
        lane: "detectors",
      })),
    );
    const untaken = stored.filter((isStored) => !isStored).length;
    if (untaken > 0)
      throw new PullError(`The queue did not take ${untaken} of ${stored.length} messages.`);
  }

  /** Does one part at a time, as long as there is time. @returns how many were done */
  async function inParts<T>(all: readonly T[], doPart: (part: readonly T[]) => Promise<void>) {
    let done = 0;
    while (done < all.length && clock() < deadline) {
      const part = all.slice(done, done + AT_ONCE);
      await doPart(part);
      done += part.length;
    }
    return done;
  }

  return {
    async withdraw(cidrs: readonly Cidr[]): Promise<void> {
      const done = await inParts(cidrs, async (part) => {
        await send(
          // Dated before what is reported now: of an address's messages, the later one wins.
          part.map((cidr) => ({
            kind: "withdraw",
            cidr,
            detector,
            withdrawnAt: now - 1,
            requestId,
          })),
        );
        await pulls.forget(part);
      });
      if (done < cidrs.length) throw new PullError("The time was too short to queue everything.");
    },

    report: (wanted: readonly Wanted[]): Promise<number> =>
      inParts(wanted, async (part) => {
        const messages = part.map(({ cidr, until, reason }) => {
          const claim = {
            ...{ cidr, reason, detector, requestId, severity: DEFAULT_SEVERITY, count: 1 },
            ...{ expiresAt: until, reportedAt: now },
          };
          const { expiresAt, severity } = asReport(claim, caller, now);
          return { kind: "block" as const, ...claim, expiresAt, severity };
        });
        await pulls.remember(
          messages.map(({ cidr, expiresAt, reportedAt }, index) => ({
            ...{ cidr, expiresAt, reportedAt },
            until: part[index]?.until ?? expiresAt,
          })),
        );
        await send(messages);
      }),
  };
}
