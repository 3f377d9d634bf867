import { SendMessageCommand, type SQSClient } from "@aws-sdk/client-sqs";

/** A message that can never succeed, and why. */
export type DeadLetter = {
  readonly messageId: string;
  /** The message group that it came from, and to which a replay returns it. */
  readonly group: string;
  readonly body: string;
  /** A stable code, for replay by reason. */
  readonly reason: string;
  /** One sentence for the operator. */
  readonly detail: string;
};

export type DeadLetters = {
  /** Resolves once the dead-letter queue has stored it; safe to repeat. @throws on failure */
  put(message: DeadLetter): Promise<void>;
};

const MAX_DETAIL = 256;

export function createDeadLetters(sqs: SQSClient, queueUrl: string): DeadLetters {
  return {
    async put({ messageId, group, body, reason, detail }) {
      await sqs.send(
        new SendMessageCommand({
          QueueUrl: queueUrl,
          MessageBody: body,
          // A group of its own: SQS hides a message while an earlier one of its group is in flight.
          MessageGroupId: messageId,
          MessageDeduplicationId: messageId,
          MessageAttributes: {
            group: { DataType: "String", StringValue: group },
            reason: { DataType: "String", StringValue: reason },
            detail: { DataType: "String", StringValue: printable(detail) },
          },
        }),
      );
    },
  };
}

/** A detail quotes the message, and SQS refuses some characters in attributes; the body has them all. */
function printable(detail: string): string {
  return detail.slice(0, MAX_DETAIL).replace(/[^ -~]/g, "?");
}
