import { randomUUID } from "node:crypto";
import type { Logger } from "../../shared/aws/log.ts";
import type { State, Table } from "../../shared/aws/table.ts";
import type { Caller } from "../../shared/aws/tokens.ts";
import type { Block } from "../../shared/domain/block.ts";
import {
  type Cidr,
  contains,
  type Family,
  parseCidr,
  WIDEST_PREFIX,
  widen,
} from "../../shared/domain/cidr.ts";
import { type NeverBlock, protectedBy, SPECIAL_RANGES } from "../../shared/domain/neverBlock.ts";
import { standingOf } from "../../shared/domain/standing.ts";
import { badRequest } from "./errors.ts";
import type { createFold } from "./fold.ts";
import type { Answer } from "./http.ts";
import { addressOf, blockableAddressOf, type Fields, numberOf, reasonOf } from "./request.ts";

export type Blacklist = {
  readonly fold: ReturnType<typeof createFold>;
  readonly neverBlock: () => Promise<NeverBlock>;
  readonly expirySeconds: number;
  readonly maxExpirySeconds: number;
  readonly holdSeconds: number;
  readonly table: Pick<Table, "readState" | "readKnown" | "readBlocks" | "readPage">;
  readonly log: Logger;
};

const DEFAULT_SEVERITY = 5;

/**
 * A detector's word that an address attacks: validated, checked against the never-block list and
 * queued. From the answer 202 on it is durable.
 *
 * @throws Refusal for bad input, QueueUnavailableError
 */
export async function block(
  fields: Fields,
  caller: Caller,
  sourceIp: string,
  blacklist: Blacklist,
  now: number,
): Promise<Answer> {
  const cidr = blockableAddressOf(fields);
  const seconds = numberOf(fields, "expiryTime", {
    min: 1,
    max: blacklist.maxExpirySeconds,
    otherwise: blacklist.expirySeconds,
    code: "invalid_expiry",
  });
  const severity = numberOf(fields, "severity", {
    min: 1,
    max: 10,
    otherwise: DEFAULT_SEVERITY,
    code: "invalid_severity",
  });
  const reason = reasonOf(fields);

  const why = contains(cidr, parseCidr(sourceIp))
    ? "the caller's own address"
    : protectedBy(await currentNeverBlock(blacklist), cidr)?.why;
  if (why) {
    blacklist.log.info("Ignored", { cidr: cidr.text, caller: caller.name, why });
    return { status: 200, body: { status: "ignored", cidr: cidr.text, reason: why } };
  }

  const queued = await blacklist.fold.send({
    kind: "block",
    cidr: cidr.text,
    family: cidr.family,
    expiresAt: Math.floor(now / 1000) + seconds,
    reportedAt: now,
    severity,
    reason,
    detector: caller.name,
    weight: caller.weight,
    byOperator: caller.role === "operator",
    requestId: randomUUID(),
  });
  const { requestId, expiresAt } = queued;
  blacklist.log.info("Queued", { cidr: cidr.text, caller: caller.name, requestId, expiresAt });
  return { status: 202, body: { status: "queued", requestId, cidr: cidr.text, expiresAt } };
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

/**
 * An operator's unblock, in order with the blocks. Where a wider range covers the address, the answer
 * says so: that range stays.
 *
 * @throws Refusal, QueueUnavailableError
 */
export async function unblock(
  fields: Fields,
  caller: Caller,
  { fold, table, holdSeconds, maxExpirySeconds, log }: Blacklist,
  now: number,
): Promise<Answer> {
  const cidr = addressOf(fields);
  const seconds = numberOf(fields, "hold", {
    min: 0,
    max: maxExpirySeconds,
    otherwise: holdSeconds,
    code: "invalid_hold",
  });
  const requestId = randomUUID();
  await fold.sendUnblock({
    kind: "unblock",
    cidr: cidr.text,
    requestedAt: now,
    operator: caller.name,
    holdUntil: seconds > 0 ? Math.floor(now / 1000) + seconds : 0,
    requestId,
  });
  log.info("Queued an unblock", { cidr: cidr.text, caller: caller.name, requestId });
  const coveredBy = await coveringRanges(cidr, table, now).catch((error) => {
    log.error("What covers the address cannot be read", error as Error);
    return [];
  });
  return {
    status: 202,
    body: {
      status: "queued",
      requestId,
      cidr: cidr.text,
      ...(coveredBy.length > 0 && { coveredBy: coveredBy.map((block) => block.cidr) }),
    },
  };
}

/** The blocks of wider ranges that contain the address. */
async function coveringRanges(
  cidr: Cidr,
  table: Blacklist["table"],
  now: number,
): Promise<Block[]> {
  const widest = WIDEST_PREFIX[cidr.family];
  const prefixes = Array.from({ length: cidr.prefix - widest }, (_, index) => widest + index);
  if (prefixes.length === 0) return [];
  return table.readBlocks(
    prefixes.map((prefix) => widen(cidr, prefix).text),
    now,
  );
}

const DEFAULT_PAGE = 50;
const MAX_PAGE = 200;

/**
 * What is wanted, what is enforced, what waits, until when and why: one page, strongest first, IPv4
 * before IPv6; or with `ip` the blocks that deny that address.
 *
 * @throws Refusal
 */
export async function list(
  fields: Fields,
  { table }: Pick<Blacklist, "table">,
  now: number,
): Promise<Answer> {
  const state = await table.readState();
  const answer = (blocks: readonly Block[], next: string | null) => ({
    status: 200,
    body: {
      mode: state.mode,
      convergedAt: state.convergedAt,
      waiting: state.waiting,
      learntLimits: state.learntLimits,
      blocks: blocks.map((block) => describeBlock(block, state, now)),
      next,
    },
  });
  if (fields.ip !== undefined) {
    const cidr = addressOf(fields);
    const known = await table.readKnown([cidr.text], now);
    const own = known.get(cidr.text)?.block;
    return answer([...(own ? [own] : []), ...(await coveringRanges(cidr, table, now))], null);
  }
  const limit = numberOf(fields, "limit", {
    min: 1,
    max: MAX_PAGE,
    otherwise: DEFAULT_PAGE,
    code: "invalid_limit",
  });
  const { family, after } = cursorOf(fields);
  const { blocks, next } = await table.readPage(family, limit, after);
  const following = next ?? (family === 4 ? "6" : undefined);
  return answer(blocks, following ? Buffer.from(following).toString("base64url") : null);
}

/** A cursor is the rank of the last block of the page before, or only the next family. */
function cursorOf({ next }: Fields): { family: Family; after: string | undefined } {
  if (next === undefined) return { family: 4, after: undefined };
  const cursor = typeof next === "string" ? Buffer.from(next, "base64url").toString() : "";
  const [, family, after] = /^([46])(#[0-9a-f#.:/]{1,100})?$/.exec(cursor) ?? [];
  if (!family) throw badRequest("invalid_next", "The parameter next is not one of ours.");
  return { family: family === "4" ? 4 : 6, after: after && cursor };
}

function describeBlock(block: Block, state: State, now: number) {
  const { cidr, expiresAt, severity, strikes, hits, detectors, reason } = block;
  const { firstSeenAt, lastSeenAt, requestId } = block;
  const standing = standingOf(block, state.slots.ingress, state.monitored.ingress, now);
  return {
    cidr,
    ...standing,
    expiresAt,
    severity,
    strikes,
    hits,
    detectors,
    reason,
    firstSeenAt,
    lastSeenAt,
    requestId,
  };
}
