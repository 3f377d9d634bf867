import { SendMessageCommand, type SQSClient } from "@aws-sdk/client-sqs";
import type { Logger } from "../../shared/aws/log.ts";
import type { EpochMillis, EpochSeconds, Seconds } from "../../shared/domain/time.ts";

/** SQS's longest delay. A later end is waited for in steps. */
const MAX_DELAY: Seconds = 900;

/**
 * Sends delayed messages to the enforcer itself: the next end of a block wakes it, whether or not TTL has
 * acted. None is sent if an earlier one, or one for the same second, is on its way. A lost message costs at
 * most a minute, until the schedule wakes the enforcer anyway.
 */
export function createWakeUps(
  sqs: SQSClient,
  queueUrl: string,
  log: Pick<Logger, "warn">,
  clock: () => EpochMillis,
) {
  /** The earliest message on its way that this instance knows of: what it is for, and when it arrives. */
  let pending: { readonly at: EpochSeconds; readonly comesAt: EpochMillis } | undefined;

  return async function wakeUpAt(moment: EpochSeconds): Promise<void> {
    const now = clock();
    const delay = Math.min(MAX_DELAY, Math.max(0, Math.ceil(moment - now / 1000)));
    const at = Math.min(moment, Math.floor(now / 1000) + MAX_DELAY);
    if (pending && pending.comesAt > now && pending.at <= at) return;
    try {
      await sqs.send(
        new SendMessageCommand({
          QueueUrl: queueUrl,
          MessageBody: JSON.stringify({ kind: "wakeUp", at: moment }),
          DelaySeconds: delay,
        }),
      );
      pending = { at, comesAt: now + delay * 1000 };
    } catch (error) {
      log.warn("No wake-up could be left; the schedule will do", error as Error);
    }
  };
}
