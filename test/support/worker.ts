import { Logger } from "@aws-lambda-powertools/logger";
import type { SQSRecord } from "aws-lambda";
import { type Worker, workOff } from "../../services/worker/batch.ts";
import type { DeadLetter } from "../../shared/aws/deadLetters.ts";
import type { BlockMessage, UnblockMessage } from "../../shared/aws/queue.ts";
import { SPECIAL_RANGES } from "../../shared/domain/neverBlock.ts";
import { createMemoryTable } from "./memoryTable.ts";
import { NOW, reportOf } from "./reports.ts";

const log = new Logger({ logLevel: "SILENT" });

type Parts = { -readonly [Part in keyof Omit<Worker, "table">]: Worker[Part] } & {
  table: ReturnType<typeof createMemoryTable>;
};

/** A worker over a table in memory. Tests change its parts. */
export function startWorker(change: Partial<Parts> = {}) {
  const letters: DeadLetter[] = [];
  const parts: Parts = {
    table: createMemoryTable(),
    escalation: { factor: 1, maxSeconds: 1 },
    corroboration: { threshold: 0, windowSeconds: 60 },
    neverBlock: async () => SPECIAL_RANGES,
    log,
    deadLetters: {
      async put(letter: DeadLetter) {
        letters.push(letter);
      },
    },
    ...change,
  };
  const worker = {
    ...parts,
    letters,

    /** Works the messages off as one batch, and gives the names of those that are handed back. */
    async work(messages: readonly (object | string)[], now = NOW): Promise<string[]> {
      const { batchItemFailures } = await workOff(recordsOf(messages), worker, now);
      return batchItemFailures.map(({ itemIdentifier }) => itemIdentifier);
    },
    /** The addresses that the table holds blocks of. */
    blocked: () => [...worker.table.blocks.keys()].toSorted(),
  };
  return worker;
}

type Change = Parameters<typeof reportOf>[1];

export const blockMessage = (cidr: string, change: Change = {}): BlockMessage => ({
  kind: "block",
  ...reportOf(cidr, change),
});

/** An operator's unblock, with a hold of so many seconds. */
export const unblockMessage = (
  cidr: string,
  requestedAt = NOW,
  holdSeconds = 0,
): UnblockMessage => ({
  kind: "unblock",
  cidr,
  requestedAt,
  operator: "night-shift",
  holdUntil: holdSeconds > 0 ? Math.floor(requestedAt / 1000) + holdSeconds : 0,
  requestId: `unblock-${requestedAt - NOW}`,
});

/** A batch of messages, named 0, 1, 2 … */
export const recordsOf = (messages: readonly (object | string)[]) =>
  messages.map((message, index) => ({
    messageId: String(index),
    body: typeof message === "string" ? message : JSON.stringify(message),
    attributes: { MessageGroupId: "acl-0123456789abcdef0" },
  })) as SQSRecord[];
