import { type Block, wantingOf } from "../../shared/domain/block.ts";
import { type Cidr, type Family, WIDEST_PREFIX, widen } from "../../shared/domain/cidr.ts";
import type { NeverBlock } from "../../shared/domain/neverBlock.ts";
import type { EpochMillis } from "../../shared/domain/time.ts";
import {
  bestOf,
  type Standing,
  standingOf,
  type TargetView,
  viewOf,
} from "../../shared/targets/standing.ts";
import type { Blacklist, Request } from "./blacklist.ts";
import { badRequest } from "./errors.ts";
import type { Answer } from "./http.ts";
import { addressOf, type Fields, numberOf } from "./request.ts";

const DEFAULT_PAGE = 50;
const MAX_PAGE = 200;

type Shown = Pick<Blacklist, "blocks" | "states" | "targets" | "orderBook" | "neverBlock" | "log">;

/**
 * The wanted blocks, with where each is enforced or waiting, until when and why: one page, strongest first,
 * IPv4 before IPv6; or, with `ip`, the blocks that deny that address.
 *
 * @throws Refusal
 */
export async function list(
  fields: Fields,
  { now }: Pick<Request, "now">,
  shown: Shown,
): Promise<Answer> {
  if (fields.ip !== undefined) {
    const cidr = addressOf(fields.ip);
    // At time 0 no block has ended, so that the address's own block is shown even if expired.
    const own = await shown.blocks.readBlocks([cidr.text], 0);
    return answer([...own, ...(await coveringRanges(cidr, shown.blocks, now))], null, shown, now);
  }
  const limit = numberOf(fields, "limit", {
    min: 1,
    max: MAX_PAGE,
    otherwise: DEFAULT_PAGE,
    code: "invalid_limit",
  });
  const { family, after } = cursorOf(fields);
  const { blocks, next } = await shown.blocks.readPage(family, limit, after);
  const following = next ?? (family === 4 ? "6" : undefined);
  const cursor = following ? Buffer.from(following).toString("base64url") : null;
  return answer(blocks, cursor, shown, now);
}

async function answer(
  blocks: readonly Block[],
  next: string | null,
  { states, targets, orderBook, neverBlock, log }: Shown,
  now: EpochMillis,
): Promise<Answer> {
  const orderedMode = orderBook.read(now).then(
    ({ mode }) => mode,
    (error: Error) => void log.error("The standing orders cannot be read", error),
  );
  const views = await Promise.all(
    targets.map(async ({ id, kind }) => viewOf(id, await states.read(id, kind))),
  );
  const ranges = await neverBlock().catch((error: Error): NeverBlock => {
    log.error("The never-block list cannot be read", error);
    return [];
  });
  const convergedAt = Math.min(...views.map(({ state }) => state.convergedAt));
  return {
    status: 200,
    body: {
      mode: (await orderedMode) ?? views[0]?.state.mode ?? "enforce",
      convergedAt: Number.isFinite(convergedAt) ? convergedAt : 0,
      waiting: Math.max(0, ...views.map(({ state }) => state.waiting)),
      targets: views.map(describeTarget),
      blocks: blocks.map((block) => describeBlock(block, views, ranges, now)),
      next,
    },
  };
}

function describeTarget({ id, state }: TargetView) {
  const { kind, mode, problem, leastSeverity, convergedAt, enforced, waiting, shadowed } = state;
  const refused = Object.keys(state.refused).length;
  const counts = { enforced, waiting, shadowed: shadowed.length, refused };
  return { id, kind, mode, ...(problem && { problem }), leastSeverity, ...counts, convergedAt };
}

/** A cursor is the rank of the previous page's last block, or just the next family. */
function cursorOf({ next }: Fields): { family: Family; after: string | undefined } {
  if (next === undefined) return { family: 4, after: undefined };
  const cursor = typeof next === "string" ? Buffer.from(next, "base64url").toString() : "";
  const [, family, after] = /^([46])(#[0-9a-f#.:/]{1,100})?$/.exec(cursor) ?? [];
  if (!family) throw badRequest("invalid_next", "The parameter next is not one of ours.");
  return { family: family === "4" ? 4 : 6, after: after && cursor };
}

function describeBlock(
  block: Block,
  views: readonly TargetView[],
  neverBlock: NeverBlock,
  now: EpochMillis,
) {
  const { cidr, expiresAt, severity, strikes, hits, reports, reason } = block;
  const { firstSeenAt, lastSeenAt, requestId } = block;
  const standings = views.map((view): [string, Standing] => [
    view.id,
    standingOf(block, view, neverBlock, now),
  ]);
  const best = bestOf(standings.map(([, standing]) => standing));
  return {
    cidr: cidr.text,
    state: best.state,
    ruleNumber: best.ruleNumber ?? null,
    ...(best.coveredBy && { coveredBy: best.coveredBy }),
    targets: Object.fromEntries(standings),
    expiresAt,
    severity,
    strikes,
    hits,
    detectors: wantingOf(reports),
    reason,
    firstSeenAt,
    lastSeenAt,
    requestId,
  };
}

/** The blocks of wider ranges that contain the address. */
export async function coveringRanges(
  cidr: Cidr,
  blocks: Pick<Blacklist["blocks"], "readBlocks">,
  now: EpochMillis,
): Promise<Block[]> {
  const widest = WIDEST_PREFIX[cidr.family];
  const prefixes = Array.from({ length: cidr.prefix - widest }, (_, index) => widest + index);
  if (prefixes.length === 0) return [];
  return blocks.readBlocks(
    prefixes.map((prefix) => widen(cidr, prefix).text),
    now,
  );
}
