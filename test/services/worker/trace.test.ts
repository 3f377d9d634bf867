import { inspect } from "node:util";
import { Logger } from "@aws-lambda-powertools/logger";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { processBatch } from "../../../services/worker/batch.ts";
import { captureOutput, linesIn } from "../../support/output.ts";
import { NOW } from "../../support/reports.ts";
import { blockMessage, recordsOf, startWorker, withdrawMessage } from "../../support/worker.ts";

// The endpoint writes no line of what it queues: the worker's line of what became of a report is the one
// by which a stolen token is traced.

const A = "203.0.113.1/32";
const origin = { sourceIp: "198.51.100.7", gatewayRequestId: "JKJaXmPLvHcESHA=" };

let output: ReturnType<typeof captureOutput>;
beforeEach(() => {
  output = captureOutput();
});
afterEach(() => output.restore());

const start = () => startWorker({ log: new Logger({ logLevel: "INFO" }) });
const lines = () => linesIn(output.text());

test("each message is one line that says where the request came from", async () => {
  const worker = start();
  const elsewhere = { ...origin, sourceIp: "2001:db8::7" };
  await worker.process([
    { ...blockMessage(A), origin },
    { ...blockMessage(A), origin: elsewhere },
    { ...withdrawMessage(A, NOW + 1), origin },
  ]);
  expect(lines()).toMatchObject([
    { message: "Blocked", cidr: A, detector: "suricata", ...origin },
    { message: "Extended a block", cidr: A, ...elsewhere },
    { message: "Withdrew a detector's report", cidr: A, ...origin },
  ]);
  await worker.process([{ ...blockMessage("10.0.0.1/32"), origin }]);
  expect(lines().at(-1)).toMatchObject({ message: "Refused a never-block address", ...origin });
  expect(inspect(worker.table.blockItems, { depth: 9 })).not.toContain(origin.sourceIp);
});

test("a message that is dropped says so too", async () => {
  const old = blockMessage(A, { reportedAt: NOW - 60_000, detector: "nobody" });
  await processBatch(recordsOf([{ ...old, origin }]), start(), NOW);
  expect(lines()).toMatchObject([{ level: "WARN", caller: "nobody", ...origin }]);
});

test("one from before messages said where they came from is taken all the same", async () => {
  await start().process([blockMessage(A)]);
  const [line] = lines();
  expect(line).toMatchObject({ message: "Blocked", cidr: A });
  expect(line).not.toHaveProperty("sourceIp");
});
