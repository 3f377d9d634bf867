import { hash } from "node:crypto";
import { LRUCache } from "lru-cache";
import {
  type BlockMessage,
  MAX_COUNT,
  type Queue,
  QueueUnavailableError,
  type UnblockMessage,
} from "../../shared/aws/queue.ts";
import { unannounced } from "./errors.ts";
import type { Unblocks } from "./unblocks.ts";

/** Reports that a warm function remembers. */
const MAX_REMEMBERED = 10_000;

/** What was sent last of an address by a detector. */
type Sent = {
  readonly message: BlockMessage;
  /** How many unblocks there had been by then. */
  readonly unblocks: number;
  /** Reports that have been folded into it since. */
  folded: number;
};

/**
 * Folds repeats before they cost a call: a storm is mostly equal reports of the same addresses. Reports
 * are equal that are the same detector's about the same address, neither for longer nor more severe,
 * within the fold's window and with no unblock in between. SQS folds across functions by deduplication
 * id, a bounded memory in the warm function folds before the send. The next report that is sent carries
 * the count of those folded since. A send that failed is not remembered. While nobody can tell whether
 * there was an unblock, nothing folds.
 */
export function createFold(queue: Queue, unblocks: Unblocks) {
  const lastSent = new LRUCache<string, Sent>({ max: MAX_REMEMBERED });
  const keyOf = ({ cidr, detector }: BlockMessage) => `${cidr.text} ${detector}`;

  /** The message that this one folds into. */
  function earlierThan(message: BlockMessage, unblockCount: number | undefined) {
    const sent = lastSent.get(keyOf(message));
    if (!sent || sent.unblocks !== unblockCount) return undefined;
    if (!foldsInto(message, sent.message)) return undefined;
    sent.folded++;
    return sent.message;
  }

  /** The message with the count of the equal ones folded since the last was sent. */
  function counted(message: BlockMessage, unblockCount: number | undefined): BlockMessage {
    const sent = lastSent.get(keyOf(message));
    const folded = sent && sent.unblocks === unblockCount ? sent.folded : 0;
    return { ...message, count: Math.min(MAX_COUNT, message.count + folded) };
  }

  function remember(message: BlockMessage, unblockCount: number | undefined): void {
    if (unblockCount === undefined) return;
    lastSent.set(keyOf(message), { message, unblocks: unblockCount, folded: 0 });
  }

  return {
    /** Sends the message, or answers the one that it folds into. @throws QueueUnavailableError */
    async send(message: BlockMessage): Promise<BlockMessage> {
      const unblockCount = await unblocks.count();
      const earlier = earlierThan(message, unblockCount);
      if (earlier) return earlier;
      const sent = counted(message, unblockCount);
      await queue.send(sent, deduplicationId(sent, unblockCount));
      remember(sent, unblockCount);
      return sent;
    },

    /** As `send` for each message; undefined in the place of one that the queue could not take. */
    async sendAll(messages: readonly BlockMessage[]): Promise<(BlockMessage | undefined)[]> {
      const unblockCount = await unblocks.count();
      const earlier = messages.map((message) => earlierThan(message, unblockCount));
      const outgoing = messages
        .map((message, index) => ({ index, message: counted(message, unblockCount) }))
        .filter(({ index }) => earlier[index] === undefined);
      const stored = await queue.sendAll(
        outgoing.map(({ message }) => ({
          message,
          deduplicationId: deduplicationId(message, unblockCount),
        })),
      );
      const answers = [...earlier];
      for (const [position, { index, message }] of outgoing.entries()) {
        if (!stored[position]) continue;
        remember(message, unblockCount);
        answers[index] = message;
      }
      return answers;
    },

    /**
     * An unblock never folds. Once this resolves, no report folds into one from before it.
     *
     * @throws QueueUnavailableError where it is not queued, Refusal where not every instance could learn
     *   of it
     */
    async sendUnblock(message: UnblockMessage): Promise<void> {
      // Nothing is queued that could not be announced.
      await unblocks.add().catch((cause) => {
        throw new QueueUnavailableError("The unblock could not be counted.", { cause });
      });
      await queue.send(message, message.requestId);
      // Only now: reports that go by this count are behind the unblock in the queue.
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
 * One id for equal reports in the same window of time, between the same unblocks. A longer duration or a
 * greater severity makes another report.
 *
 * @param unblocks how many there were; undefined for an id that is the message's alone
 * @see https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/using-messagededuplicationid-property.html
 */
export function deduplicationId(message: BlockMessage, unblocks: number | undefined): string {
  if (unblocks === undefined) return message.requestId;
  const { cidr, detector, severity, reportedAt } = message;
  const duration = durationSeconds(message);
  const window = Math.floor(reportedAt / foldWindowMs(duration));
  return hash(
    "sha256",
    JSON.stringify([cidr.text, detector, severity, duration, window, unblocks]),
  );
}

/**
 * How long equal reports fold, in milliseconds: at most a minute, and at most a tenth of the block,
 * so that a fold never outlives its block.
 */
export function foldWindowMs(durationSeconds: number): number {
  return Math.min(60_000, durationSeconds * 100);
}

function durationSeconds({ expiresAt, reportedAt }: BlockMessage): number {
  return expiresAt - Math.floor(reportedAt / 1000);
}
