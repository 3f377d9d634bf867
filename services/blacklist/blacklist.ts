import type { Logger } from "../../shared/aws/log.ts";
import type { Blocks } from "../../shared/aws/table/blocks.ts";
import type { TargetStates } from "../../shared/aws/table/targetStates.ts";
import type { Caller } from "../../shared/aws/tokens.ts";
import type { NeverBlock } from "../../shared/domain/neverBlock.ts";
import type { EpochMillis, Seconds } from "../../shared/domain/time.ts";
import type { TargetKind } from "../../shared/targets/target.ts";
import type { createFold } from "./fold.ts";

/** What the endpoint works with. */
export type Blacklist = {
  readonly fold: ReturnType<typeof createFold>;
  readonly neverBlock: () => Promise<NeverBlock>;
  readonly expirySeconds: Seconds;
  readonly maxExpirySeconds: Seconds;
  readonly holdSeconds: Seconds;
  readonly blocks: Pick<Blocks, "readBlocks" | "readPage">;
  readonly states: Pick<TargetStates, "read">;
  readonly targets: readonly { readonly id: string; readonly kind: TargetKind }[];
  readonly log: Logger;
};

/** Who asks, from where, and when. */
export type Request = {
  readonly caller: Caller;
  readonly sourceIp: string;
  readonly now: EpochMillis;
};
