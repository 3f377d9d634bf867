import type { State } from "../../shared/aws/table.ts";
import type { Block } from "../../shared/domain/block.ts";
import { type Cidr, type Family, WIDEST_PREFIX, widen } from "../../shared/domain/cidr.ts";
import { standingOf } from "../../shared/domain/standing.ts";
import type { Blacklist } from "./blacklist.ts";
import { badRequest } from "./errors.ts";
import type { Answer } from "./http.ts";
import { addressOf, type Fields, numberOf } from "./request.ts";

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

/** The blocks of wider ranges that contain the address. */
export async function coveringRanges(
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
