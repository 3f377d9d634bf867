import type { Callers } from "../../shared/aws/callers.ts";
import type { DeadLetters } from "../../shared/aws/deadLetters.ts";
import type { Logger } from "../../shared/aws/log.ts";
import type { Queue } from "../../shared/aws/queue.ts";
import type { Addresses } from "../../shared/aws/table/addresses.ts";
import type { Blocks } from "../../shared/aws/table/blocks.ts";
import type { OrderBook } from "../../shared/aws/table/orders.ts";
import type { Outstanding } from "../../shared/aws/table/outstanding.ts";
import type { Policy } from "../../shared/domain/decide.ts";
import type { NeverBlock } from "../../shared/domain/neverBlock.ts";
import type { Seconds } from "../../shared/domain/time.ts";

/** The worker's dependencies and settings. */
export type Worker = {
  readonly addresses: Addresses;
  readonly blocks: Pick<Blocks, "readAfter">;
  readonly orders: OrderBook;
  readonly outstanding: Pick<Outstanding, "count">;
  readonly queue: Pick<Queue, "send" | "sendAll">;
  readonly deadLetters: DeadLetters;
  readonly callers: Callers;
  readonly policy: Omit<Policy, "neverBlock" | "orders">;
  /** No event's block lasts longer. */
  readonly maxExpirySeconds: Seconds;
  readonly neverBlock: () => Promise<NeverBlock>;
  readonly log: Logger;
  /** Counts for the alarms. */
  readonly measure: (name: "Outstanding" | "Revoked", count: number) => void;
};
