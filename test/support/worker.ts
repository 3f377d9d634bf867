import { Logger } from "@aws-lambda-powertools/logger";
import type { SQSRecord } from "aws-lambda";
import { processBatch, type Worker } from "../../services/worker/batch.ts";
import type { DeadLetter } from "../../shared/aws/deadLetters.ts";
import type { BlockMessage, UnblockMessage } from "../../shared/aws/queue.ts";
import { parseCidr } from "../../shared/domain/cidr.ts";
import type { Message, Policy } from "../../shared/domain/decide.ts";
import { SPECIAL_RANGES } from "../../shared/domain/neverBlock.ts";
import type { EpochMillis, Seconds } from "../../shared/domain/time.ts";
import { createMemoryTable } from "./memoryTable.ts";
import { NOW, type ReportChange, reportOf } from "./reports.ts";

const log = new Logger({ logLevel: "SILENT" });

export const POLICY: Omit<Policy, "neverBlock"> = {
  escalation: { factor: 1, max: 1 },
  halfLife: 60_000,
  corroboration: { threshold: 0, window: 60 },
};

type Parts = { -readonly [Part in keyof Omit<Worker, "addresses">]: Worker[Part] } & {
  table: ReturnType<typeof createMemoryTable>;
};

/** A worker over a table in memory. Tests change its parts. */
export function startWorker(change: Partial<Parts> = {}) {
  const deadLettered: DeadLetter[] = [];
  const parts: Parts = {
    table: createMemoryTable(),
    policy: POLICY,
    neverBlock: async () => SPECIAL_RANGES,
    log,
    deadLetters: {
      async put(message: DeadLetter) {
        deadLettered.push(message);
      },
    },
    ...change,
  };
  const worker = {
    ...parts,
    addresses: parts.table.addresses,
    deadLettered,

    /** Processes the messages as one batch, and gives the names of those that are handed back. */
    async process(messages: readonly (Message | object | string)[], now: EpochMillis = NOW) {
      const { batchItemFailures } = await processBatch(recordsOf(messages), worker, now);
      return batchItemFailures.map(({ itemIdentifier }) => itemIdentifier);
    },
    /** The addresses that the table holds blocks of. */
    blocked: () => [...worker.table.blockItems.keys()].toSorted(),
  };
  return worker;
}

export const blockMessage = (cidr: string, change: ReportChange = {}): BlockMessage => ({
  kind: "block",
  ...reportOf(cidr, change),
});

/** An operator's unblock, with a hold of that many seconds. */
export const unblockMessage = (
  cidr: string,
  requestedAt: EpochMillis = NOW,
  hold: Seconds = 0,
): UnblockMessage => ({
  kind: "unblock",
  cidr: parseCidr(cidr),
  requestedAt,
  operator: "night-shift",
  holdUntil: hold > 0 ? Math.floor(requestedAt / 1000) + hold : 0,
  requestId: `unblock-${requestedAt - NOW}`,
});

/** The message as the queue holds it: with its address as text. */
export const wireOf = (message: Message) => ({ ...message, cidr: message.cidr.text });

/** A batch of messages, named 0, 1, 2 …: those of the domain, others as they are, or bare texts. */
export const recordsOf = (messages: readonly (Message | object | string)[]) =>
  messages.map((message, index) => ({
    messageId: String(index),
    body: typeof message === "string" ? message : JSON.stringify(onWire(message)),
    attributes: { MessageGroupId: "the-list" },
  })) as SQSRecord[];

const onWire = (message: object) =>
  "cidr" in message && typeof message.cidr === "object" ? wireOf(message as Message) : message;
