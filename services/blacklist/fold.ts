import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { BlockMessage, Queue, UnblockMessage } from "../../shared/aws/queue.ts";

/** How many addresses a warm function remembers. */
const MAX_REMEMBERED = 10_000;

/** SQS remembers a deduplication id for five minutes. */
const SQS_MEMORY_MS = 300_000;

/**
 * Folds repeats before they cost a call: a storm is mostly the same words about the same addresses.
 * The same word is the same detector about the same address, neither for longer nor more severe,
 * within the fold's window. SQS folds across functions by deduplication id, a bounded memory in the
 * warm function folds before the send. A send that failed is not remembered.
 *
 * After an unblock the same word is a new one: the address must be blocked again.
 */
export function createFold(queue: Queue) {
  const words = new LRUCache<string, BlockMessage>({ max: MAX_REMEMBERED });
  const unblocks = new LRUCache<string, string>({ max: MAX_REMEMBERED, ttl: SQS_MEMORY_MS });
  const keyOf = ({ cidr, detector }: BlockMessage) => `${cidr} ${detector}`;

  return {
    /** Sends the message, or answers the one that it folds into. @throws QueueUnavailableError */
    async send(message: BlockMessage): Promise<BlockMessage> {
      const key = keyOf(message);
      const earlier = words.get(key);
      const after = unblocks.get(message.cidr);
      if (earlier && foldsInto(message, earlier)) return earlier;
      await queue.send(message, deduplicationId(message, after));
      words.set(key, message);
      return message;
    },

    /** As `send` for each message; undefined in the place of one that the queue could not take. */
    async sendAll(messages: readonly BlockMessage[]): Promise<(BlockMessage | undefined)[]> {
      const answers = new Map<BlockMessage, BlockMessage | undefined>();
      const fresh: BlockMessage[] = [];
      for (const message of messages) {
        const earlier = words.get(keyOf(message));
        if (earlier && foldsInto(message, earlier)) answers.set(message, earlier);
        else fresh.push(message);
      }
      const stored = await queue.sendAll(
        fresh.map((message) => ({
          message,
          deduplicationId: deduplicationId(message, unblocks.get(message.cidr)),
        })),
      );
      for (const [index, message] of fresh.entries()) {
        if (!stored[index]) continue;
        words.set(keyOf(message), message);
        answers.set(message, message);
      }
      return messages.map((message) => answers.get(message));
    },

    /** @throws QueueUnavailableError */
    async sendUnblock(message: UnblockMessage): Promise<void> {
      await queue.send(message, message.requestId);
      unblocks.set(message.cidr, message.requestId);
      for (const [key, word] of words.entries()) if (word.cidr === message.cidr) words.delete(key);
    },
  };
}

/** By the messages' own times: a function that Lambda freezes meanwhile may have lost count. */
function foldsInto(message: BlockMessage, earlier: BlockMessage): boolean {
  return (
    durationSeconds(message) <= durationSeconds(earlier) &&
    message.severity <= earlier.severity &&
    message.reportedAt - earlier.reportedAt < foldWindowMs(durationSeconds(earlier))
  );
}

/**
 * One id for the same word in the same window of time. A longer duration or a greater severity is
 * another word.
 *
 * @see https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/using-messagededuplicationid-property.html
 */
export function deduplicationId(message: BlockMessage, after?: string): string {
  const { cidr, detector, severity, reportedAt } = message;
  const duration = durationSeconds(message);
  const window = Math.floor(reportedAt / foldWindowMs(duration));
  return createHash("sha256")
    .update(JSON.stringify([cidr, detector, severity, duration, window, after]))
    .digest("hex");
}

/**
 * How long the same word folds, in milliseconds: at most a minute, and at most a tenth of the block,
 * so that a fold never outlives its block.
 */
export function foldWindowMs(durationSeconds: number): number {
  return Math.min(60_000, durationSeconds * 100);
}

function durationSeconds({ expiresAt, reportedAt }: BlockMessage): number {
  return expiresAt - Math.floor(reportedAt / 1000);
}
