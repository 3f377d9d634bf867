import type { UndoMessage } from "../../shared/aws/queue.ts";
import type { Policy } from "../../shared/domain/decide.ts";
import { isUndone } from "../../shared/domain/orders.ts";
import type { Shift } from "../../shared/domain/outstanding.ts";
import type { EpochMillis } from "../../shared/domain/time.ts";
import type { Worker } from "./worker.ts";
import { settleAddress } from "./write.ts";

/** Blocks that one message looks at; meanwhile the other messages of the operators' lane wait. */
const PAGE = 200;

/** Addresses per read. */
const MAX_READ = 20;

/**
 * Takes back what a detector reported in a span of time: handles one page of the list, then sends itself a
 * message for the next. Each may be delivered again.
 */
export async function takeBack(
  message: UndoMessage,
  policy: Policy,
  worker: Worker,
  now: EpochMillis,
): Promise<readonly Shift[]> {
  const { detector, since, requestedAt, operator, requestId, after } = message;
  const undo = { detector, since, requestedAt };
  // This comes first, so that reports still on their way are dropped from now on.
  if (after === undefined) {
    await worker.orders.undo(undo);
    await worker.orders.countUnblock();
  }
  const { blocks, next } = await worker.blocks.readAfter(after, PAGE);
  const affected = blocks.filter(({ reports }) => {
    const own = reports[detector];
    return own !== undefined && isUndone([undo], detector, own.reportedAt);
  });
  const obeying = {
    ...policy,
    orders: { ...policy.orders, undos: [...policy.orders.undos, undo] },
  };
  const shifts: Shift[] = [];
  for (let start = 0; start < affected.length; start += MAX_READ) {
    const some = affected.slice(start, start + MAX_READ);
    const known = await worker.addresses.read(
      some.map(({ cidr }) => cidr.text),
      now,
    );
    const settled = await Promise.all(
      some.map(({ cidr }) => {
        const one = known.get(cidr.text);
        return one ? settleAddress(cidr, one, obeying, worker, now) : [];
      }),
    );
    shifts.push(...settled.flat());
  }
  worker.log.info("Took back a detector's reports", {
    ...{ detector, since, operator, requestId, takenBack: affected.length },
    isDone: next === undefined,
  });
  if (next !== undefined) {
    await worker.queue.send(
      { ...message, after: next },
      `${requestId}#${next}`.slice(-128),
      "operators",
    );
  }
  return shifts;
}
