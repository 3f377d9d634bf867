import { hash } from "node:crypto";
import { LRUCache } from "lru-cache";
import {
  type BlockMessage,
  type Queue,
  QueueUnavailableError,
  type UnblockMessage,
} from "../../shared/aws/queue.ts";
import { unannounced } from "./errors.ts";
import type { Unblocks } from "./unblocks.ts";

/** How many words a warm function remembers. */
const MAX_REMEMBERED = 10_000;

/** What was sent, and how many unblocks there had been by then. */
type Word = { readonly message: BlockMessage; readonly unblocks: number };

/**
 * Folds repeats before they cost a call: a storm is mostly the same words about the same addresses.
 * The same word is the same detector about the same address, neither for longer nor more severe,
 * within the fold's window and with no unblock in between. SQS folds across functions by deduplication
 * id, a bounded memory in the warm function folds before the send. A send that failed is not
 * remembered. While nobody can tell whether there was an unblock, nothing folds.
 */
export function createFold(queue: Queue, unblocks: Unblocks) {
  const words = new LRUCache<string, Word>({ max: MAX_REMEMBERED });
  const keyOf = ({ cidr, detector }: BlockMessage) => `${cidr} ${detector}`;

  /** The message that this one folds into. */
  function earlierThan(message: BlockMessage, count: number | undefined): BlockMessage | undefined {
    const earlier = words.get(keyOf(message));
    if (!earlier || earlier.unblocks !== count) return undefined;
    return foldsInto(message, earlier.message) ? earlier.message : undefined;
  }

  function remember(message: BlockMessage, count: number | undefined): void {
    if (count !== undefined) words.set(keyOf(message), { message, unblocks: count });
  }

  return {
    /** Sends the message, or answers the one that it folds into. @throws QueueUnavailableError */
    async send(message: BlockMessage): Promise<BlockMessage> {
      const count = await unblocks.count();
      const earlier = earlierThan(message, count);
      if (earlier) return earlier;
      await queue.send(message, deduplicationId(message, count));
      remember(message, count);
      return message;
    },

    /** As `send` for each message; undefined in the place of one that the queue could not take. */
    async sendAll(messages: readonly BlockMessage[]): Promise<(BlockMessage | undefined)[]> {
      const count = await unblocks.count();
      const answers = new Map<BlockMessage, BlockMessage | undefined>();
      const fresh: BlockMessage[] = [];
      for (const message of messages) {
        const earlier = earlierThan(message, count);
        if (earlier) answers.set(message, earlier);
        else fresh.push(message);
      }
      const stored = await queue.sendAll(
        fresh.map((message) => ({ message, deduplicationId: deduplicationId(message, count) })),
      );
      for (const [index, message] of fresh.entries()) {
        if (!stored[index]) continue;
        remember(message, count);
        answers.set(message, message);
      }
      return messages.map((message) => answers.get(message));
    },

    /**
     * An unblock never folds. Once this resolves, no report folds into one from before it.
     *
     * @throws QueueUnavailableError where it is not queued, Refusal where not every instance could be
     *   told of it
     */
    async sendUnblock(message: UnblockMessage): Promise<void> {
      // Nothing is queued that could not be announced.
      await unblocks.add().catch((cause) => {
        throw new QueueUnavailableError("The unblock could not be counted.", { cause });
      });
      await queue.send(message, message.requestId);
      // Only now: words that go by this count are behind the unblock in the queue.
      await unblocks.announce().catch((cause) => {
        throw unannounced(cause);
      });
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
 * One id for the same word in the same window of time, between the same unblocks. A longer duration or a
 * greater severity is another word.
 *
 * @param unblocks how many there were; undefined for an id that is the message's alone
 * @see https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/using-messagededuplicationid-property.html
 */
export function deduplicationId(message: BlockMessage, unblocks: number | undefined): string {
  if (unblocks === undefined) return message.requestId;
  const { cidr, detector, severity, reportedAt } = message;
  const duration = durationSeconds(message);
  const window = Math.floor(reportedAt / foldWindowMs(duration));
  return hash("sha256", JSON.stringify([cidr, detector, severity, duration, window, unblocks]));
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
