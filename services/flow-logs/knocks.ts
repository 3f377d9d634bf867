import { randomUUID } from "node:crypto";
import type { Logger } from "../../shared/aws/log.ts";
import type { Outgoing, Queue } from "../../shared/aws/queue.ts";
import type { Blocks } from "../../shared/aws/table/blocks.ts";
import type { TargetStates } from "../../shared/aws/table/targetStates.ts";
import { type Block, wantingOf } from "../../shared/domain/block.ts";
import { DEFAULT_LIMITS, mayReport } from "../../shared/domain/caller.ts";
import { type Cidr, WIDEST_PREFIX, widen } from "../../shared/domain/cidr.ts";
import { type EpochMillis, type Seconds, toEpochSeconds } from "../../shared/domain/time.ts";
import { entriesOf, entryFor } from "../../shared/targets/state.ts";
import { type Rejected, rejectedIn } from "./records.ts";

/** The caller name under which it reports. */
export const CALLER = "flow-logs";

/** What processing flow-log records needs. */
export type FlowLogs = {
  /** The network ACLs. */
  readonly aclIds: readonly string[];
  readonly states: Pick<TargetStates, "read">;
  readonly log: Pick<Logger, "info" | "warn">;
  /** Extends the blocks of sources that knock; absent if the deployment does not ask for it. */
  readonly extend?: (sources: readonly Cidr[], now: EpochMillis) => Promise<void>;
};

/** How many knocking sources the log names, and how many have their blocks extended at a time. */
const SHOWN = 10;
const EXTENDED = 50;

/**
 * Counts the rejected packets from sources that our entries deny: blocked attackers that still knock.
 *
 * @returns how many packets
 */
export async function countKnocks(
  lines: readonly string[],
  { aclIds, states, log, extend }: FlowLogs,
  now: EpochMillis,
): Promise<number> {
  const { rejected, notUnderstood } = rejectedIn(lines);
  if (notUnderstood > 0)
    log.warn("Passed over lines that are not of the default format", { notUnderstood });
  if (rejected.length === 0) return 0;
  const read = await Promise.all(aclIds.map((id) => states.read(id, "networkAcl")));
  const entries = read.flatMap((state) => (state.mode === "enforce" ? entriesOf(state) : []));
  const knocking = rejected
    .filter(({ source }) => entryFor(source, entries))
    .toSorted((a, b) => b.packets - a.packets);
  if (knocking.length === 0) return 0;
  const packets = knocking.reduce((sum, one) => sum + one.packets, 0);
  log.info("Blocked addresses still knock", {
    ...{ packets, sources: knocking.length },
    most: knocking.slice(0, SHOWN).map(shown),
  });
  await extend?.(
    knocking.slice(0, EXTENDED).map(({ source }) => source),
    now,
  );
  return packets;
}

const shown = ({ source, packets }: Rejected) => ({ cidr: source.text, packets });

/** How long equal extensions fold: SQS remembers a deduplication id for five minutes. */
const FOLD_MS = 300_000;

/**
 * Reports again the blocks that cover the sources, once less than half of the extension is left of them.
 * Such a report adds nothing to the rank, and does not begin a block anew if it has ended meanwhile.
 */
export function createExtend(
  blocks: Pick<Blocks, "readBlocks">,
  queue: Pick<Queue, "sendAll">,
  seconds: Seconds,
  log: Pick<Logger, "error">,
): NonNullable<FlowLogs["extend"]> {
  return async (sources, now) => {
    const ranges = new Set(sources.flatMap(rangesAround));
    const until = toEpochSeconds(now) + seconds;
    const due = (await blocks.readBlocks([...ranges], now)).filter(
      (block) => block.expiresAt < until - seconds / 2 && isWantedByOthers(block),
    );
    const requestId = randomUUID();
    const messages = due.map(
      ({ cidr }): Outgoing => ({
        message: {
          ...{ kind: "block", cidr, expiresAt: until, reportedAt: now, severity: 1, reason: "" },
          ...{ detector: CALLER, requestId, count: 0 },
        },
        deduplicationId: `${CALLER}#${cidr.text}#${Math.floor(now / FOLD_MS)}`,
        lane: "detectors",
      }),
    );
    const stored = await queue.sendAll(messages);
    const untaken = stored.filter((isStored) => !isStored).length;
    if (untaken > 0) log.error("The queue did not take all extensions", { untaken });
  };
}

/** A block that all others have withdrawn must not be prolonged. */
const isWantedByOthers = ({ cidr, reports }: Block) =>
  wantingOf(reports).some((name) => name !== CALLER) &&
  mayReport({ limits: DEFAULT_LIMITS.detector }, cidr);

/** The address, and all ranges around it that may be blocked. */
function rangesAround(source: Cidr): string[] {
  const widest = WIDEST_PREFIX[source.family];
  return Array.from(
    { length: source.prefix - widest + 1 },
    (_, index) => widen(source, widest + index).text,
  );
}
