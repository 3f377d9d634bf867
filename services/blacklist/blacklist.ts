import type { Logger } from "../../shared/aws/log.ts";
import type { Origin } from "../../shared/aws/queue.ts";
import type { Blocks } from "../../shared/aws/table/blocks.ts";
import type { OrderBook } from "../../shared/aws/table/orders.ts";
import type { TargetStates } from "../../shared/aws/table/targetStates.ts";
import type { Caller } from "../../shared/domain/caller.ts";
import type { Cidr } from "../../shared/domain/cidr.ts";
import type { NeverBlock } from "../../shared/domain/neverBlock.ts";
import type { EpochMillis, Seconds } from "../../shared/domain/time.ts";
import type { TargetKind } from "../../shared/targets/target.ts";
import type { DetectorActivity } from "./activity.ts";
import type { Budget } from "./budget.ts";
import type { createFold } from "./fold.ts";
import type { StandingOrders } from "./orders.ts";
import type { Refusals } from "./refusals.ts";
import type { CallerSources } from "./sources.ts";

/** What the alarms count. */
export type Metric =
  | "Unauthorized"
  | "Forbidden"
  | "OverBudget"
  | "MalformedParameter"
  | "ParameterUnreadable";

export type Measure = (metric: Metric) => void;

/** The endpoint's dependencies and settings. */
export type Blacklist = {
  readonly fold: ReturnType<typeof createFold>;
  /** The orders as every report reads them, and the book that they are written to. */
  readonly orders: Pick<StandingOrders, "current">;
  readonly orderBook: Pick<OrderBook, "read" | "hold" | "lift" | "setMode">;
  readonly budget: Budget;
  readonly sources: CallerSources;
  readonly activity: DetectorActivity;
  readonly neverBlock: () => Promise<NeverBlock>;
  readonly expirySeconds: Seconds;
  readonly maxExpirySeconds: Seconds;
  readonly holdSeconds: Seconds;
  readonly blocks: Pick<Blocks, "readBlocks" | "readPage">;
  readonly states: Pick<TargetStates, "read">;
  readonly targets: readonly { readonly id: string; readonly kind: TargetKind }[];
  readonly log: Logger;
  readonly refusals: Refusals;
  readonly measure: Measure;
};

/** Who asks, from where, and when. */
export type Request = {
  readonly caller: Caller;
  readonly source: Cidr;
  readonly now: EpochMillis;
  /** What the messages that result from the request say about it. */
  readonly origin: Origin;
  /** What every log line says about the request. */
  readonly trace: Origin & { readonly caller: string };
};
