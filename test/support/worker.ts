import { Logger } from "@aws-lambda-powertools/logger";
import type { SQSRecord } from "aws-lambda";
import { processBatch } from "../../services/worker/batch.ts";
import type { Worker } from "../../services/worker/worker.ts";
import type { DeadLetter } from "../../shared/aws/deadLetters.ts";
import type { Outgoing, QueueMessage, UnblockMessage } from "../../shared/aws/queue.ts";
import { type Caller, DEFAULT_LIMITS } from "../../shared/domain/caller.ts";
import { parseCidr } from "../../shared/domain/cidr.ts";
import type { Message } from "../../shared/domain/decide.ts";
import { SPECIAL_RANGES } from "../../shared/domain/neverBlock.ts";
import type { EpochMillis, Seconds } from "../../shared/domain/time.ts";
import { createMemoryTable } from "./memoryTable.ts";
import { NOW, type ReportChange, reportOf } from "./reports.ts";

const log = new Logger({ logLevel: "SILENT" });

export const POLICY: Worker["policy"] = {
  escalation: { factor: 1, max: 1 },
  halfLife: 60_000,
  withdrawalGrace: 60,
  corroboration: { threshold: 0, window: 60 },
};

const WEEK: Seconds = 7 * 86_400;

type Own = "addresses" | "blocks" | "orders" | "outstanding";
type Parts = { -readonly [Part in keyof Omit<Worker, Own>]: Worker[Part] } & {
  table: ReturnType<typeof createMemoryTable>;
};

/** A worker over a table in memory. Tests change its parts. */
export function startWorker(change: Partial<Parts> = {}) {
  const deadLettered: DeadLetter[] = [];
  const sent: QueueMessage[] = [];
  const outgoing: Outgoing[] = [];
  const counts: { name: string; count: number }[] = [];
  const callers = new Map<string, Caller>();
  const parts: Parts = {
    table: createMemoryTable(),
    policy: POLICY,
    maxExpirySeconds: WEEK,
    neverBlock: async () => SPECIAL_RANGES,
    log,
    callers: async () => callers,
    queue: {
      async send(message) {
        sent.push(message);
      },
      async sendAll(entries) {
        outgoing.push(...entries);
        sent.push(...entries.map(({ message }) => message));
        return entries.map(() => true);
      },
    },
    measure: (name, count) => counts.push({ name, count }),
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
    blocks: parts.table.blocks,
    orders: parts.table.orders,
    outstanding: parts.table.outstanding,
    deadLettered,
    /** What the worker sent to itself. */
    sent,
    /** The same with lanes and ids, where it was many at once. */
    outgoing,
    counts,
    /** Who may call: whoever a message names, unless the test takes it away. */
    known: callers,

    /** Processes the messages as one batch, and gives the names of those that are handed back. */
    async process(messages: readonly (Message | object | string)[], now: EpochMillis = NOW) {
      const records = recordsOf(messages);
      for (const { body } of records) learnCaller(body, callers);
      const { batchItemFailures } = await processBatch(records, worker, now);
      return batchItemFailures.map(({ itemIdentifier }) => itemIdentifier);
    },
    /** The addresses that the table holds blocks of. */
    blocked: () => [...worker.table.blockItems.keys()].toSorted(),
  };
  return worker;
}

type SaidBy = { detector: string; operator: string; weight: number; byOperator: boolean };

/** The caller that a message names, with the weight and the role that it claims. */
function learnCaller(body: string, callers: Map<string, Caller>): void {
  const message: Partial<SaidBy> = saidIn(body) ?? {};
  const { operator, weight = 1, byOperator = operator !== undefined } = message;
  const name = operator ?? message.detector;
  if (name === undefined || callers.get(name)?.role === "reader") return;
  const role = byOperator ? "operator" : "detector";
  callers.set(name, callerOf(name, { role, weight }));
}

function saidIn(body: string): Partial<SaidBy> | null {
  try {
    return JSON.parse(body);
  } catch {
    return null;
  }
}

export const callerOf = (name: string, change: Partial<Caller> = {}): Caller => ({
  name,
  role: "detector",
  weight: 1,
  from: [],
  limits: DEFAULT_LIMITS[change.role ?? "detector"],
  ...change,
});

let requests = 0;

/** A report by a request of its own. */
export const blockMessage = (
  cidr: string,
  change: ReportChange = {},
): Extract<Message, { kind: "block" }> => ({
  kind: "block",
  ...reportOf(cidr, { requestId: `request-${++requests}`, ...change }),
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

/** A detector takes its own reports back. */
export const withdrawMessage = (
  cidr: string,
  withdrawnAt: EpochMillis = NOW,
  detector = "suricata",
): Extract<Message, { kind: "withdraw" }> => ({
  kind: "withdraw",
  cidr: parseCidr(cidr),
  withdrawnAt,
  detector,
  requestId: `withdrawal-${withdrawnAt - NOW}`,
});

/** Who says it. */
export const callerIn = (message: Message): string =>
  message.kind === "unblock" ? message.operator : message.detector;

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
