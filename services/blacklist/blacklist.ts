import type { Logger } from "../../shared/aws/log.ts";
import type { Table } from "../../shared/aws/table.ts";
import type { Caller } from "../../shared/aws/tokens.ts";
import type { NeverBlock } from "../../shared/domain/neverBlock.ts";
import type { createFold } from "./fold.ts";

/** What the endpoint works with. */
export type Blacklist = {
  readonly fold: ReturnType<typeof createFold>;
  readonly neverBlock: () => Promise<NeverBlock>;
  readonly expirySeconds: number;
  readonly maxExpirySeconds: number;
  readonly holdSeconds: number;
  readonly table: Pick<Table, "readState" | "readKnown" | "readBlocks" | "readPage">;
  readonly log: Logger;
};

/** Who asks, from where, and when (epoch milliseconds). */
export type Request = { readonly caller: Caller; readonly sourceIp: string; readonly now: number };
