import { describe, expect, it } from "@jest/globals";
import { mainQueues } from "../cloud.ts";

const arn = (name: string) => `arn:aws:sqs:us-east-1:000000000000:${name}`;
const mapping = (name: string) => ({
  functionName: "fn",
  queueArn: arn(name),
  batchSize: 10,
  reportsBatchItemFailures: false,
});
const FIFO = { FifoQueue: "true" };
const names = ["wake", "main.fifo", "dead.fifo", "wake-dead"];
const created = {
  queues: Object.fromEntries(
    names.map((name) => [name, { url: `http://q/${name}`, arn: arn(name) }]),
  ),
};
const queues = [
  { name: "wake", attributes: {}, redrive: { deadLetterQueue: "wake-dead", maxReceiveCount: 3 } },
  { name: "dead.fifo", attributes: FIFO },
  {
    name: "main.fifo",
    attributes: FIFO,
    redrive: { deadLetterQueue: "dead.fifo", maxReceiveCount: 5 },
  },
  { name: "wake-dead", attributes: {} },
];

describe("the main queue", () => {
  it("is the FIFO queue with a dead-letter queue, whatever else feeds a function", () => {
    const queueMappings = ["wake", "dead.fifo", "main.fifo"].map(mapping);
    expect(mainQueues({ queues, queueMappings }, created)).toEqual({
      queueUrl: "http://q/main.fifo",
      deadLetterQueueUrl: "http://q/dead.fifo",
    });
  });

  it("must be there", () => {
    const queueMappings = [mapping("wake")];
    expect(() => mainQueues({ queues, queueMappings }, created)).toThrow("FIFO queue");
  });
});
