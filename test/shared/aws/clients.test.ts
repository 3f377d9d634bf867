import { hash } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { DescribeVpcsCommand } from "@aws-sdk/client-ec2";
import { ListQueuesCommand, SendMessageCommand } from "@aws-sdk/client-sqs";
import { GetParameterCommand } from "@aws-sdk/client-ssm";
import { ListIPSetsCommand } from "@aws-sdk/client-wafv2";
import { GetCommand } from "@aws-sdk/lib-dynamodb";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import {
  createDynamo,
  createEc2,
  createSqs,
  createSsm,
  createWaf,
} from "../../../shared/aws/clients.ts";

const SERVICES = ["SQS", "SSM", "DYNAMODB", "EC2", "WAFV2"] as const;
type Service = (typeof SERVICES)[number];

/** Takes every call and answers none. */
let silent: Server;
const calls = new Map<string, number>();

beforeAll(async () => {
  silent = createServer(({ url = "" }) => {
    const service = url.split("/")[1] ?? "";
    calls.set(service, (calls.get(service) ?? 0) + 1);
  });
  await new Promise<void>((listening) => silent.listen(0, "127.0.0.1", listening));
  const url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
  for (const service of SERVICES) process.env[`AWS_ENDPOINT_URL_${service}`] = `${url}/${service}`;
  process.env.AWS_REGION = "us-east-1";
  process.env.AWS_ACCESS_KEY_ID = "local";
  process.env.AWS_SECRET_ACCESS_KEY = "local";
});
afterAll(() => {
  silent.closeAllConnections();
  silent.close();
});

const CASES: [Service, number, () => Promise<unknown>][] = [
  ["SQS", 3, () => createSqs().send(new ListQueuesCommand({}))],
  ["SSM", 3, () => createSsm().send(new GetParameterCommand({ Name: "n" }))],
  ["DYNAMODB", 3, () => createDynamo().send(new GetCommand({ TableName: "t", Key: { k: "v" } }))],
  ["EC2", 4, () => createEc2().send(new DescribeVpcsCommand({}))],
  ["WAFV2", 3, () => createWaf().send(new ListIPSetsCommand({ Scope: "REGIONAL" }))],
];

test("calls of one client at a time keep their own input and their own outcome", async () => {
  const seen: string[] = [];
  const echo = createServer(async (request, response) => {
    const { QueueUrl, MessageBody } = JSON.parse(await text(request));
    seen.push(MessageBody);
    response.setHeader("content-type", "application/x-amz-json-1.0");
    if (MessageBody === "bad") {
      response.statusCode = 400;
      response.end(JSON.stringify({ __type: "QueueDoesNotExist", message: QueueUrl }));
    } else {
      const MD5OfMessageBody = hash("md5", MessageBody);
      response.end(JSON.stringify({ MessageId: MessageBody, MD5OfMessageBody }));
    }
  });
  await new Promise<void>((listening) => echo.listen(0, "127.0.0.1", listening));
  const url = `http://127.0.0.1:${(echo.address() as AddressInfo).port}`;
  const before = process.env.AWS_ENDPOINT_URL_SQS;
  process.env.AWS_ENDPOINT_URL_SQS = url;
  try {
    const sqs = createSqs();
    const bodies = ["a", "bad", "b", "c", "bad", "d"];
    const outcomes = await Promise.allSettled(
      bodies.map((MessageBody) =>
        sqs.send(new SendMessageCommand({ QueueUrl: `${url}/0/q.fifo`, MessageBody })),
      ),
    );
    expect(seen.toSorted()).toEqual(bodies.toSorted());
    expect(outcomes).toMatchObject(
      bodies.map((body) =>
        body === "bad" ? { reason: { name: "QueueDoesNotExist" } } : { value: { MessageId: body } },
      ),
    );
  } finally {
    process.env.AWS_ENDPOINT_URL_SQS = before;
    echo.closeAllConnections();
    echo.close();
  }
});

test("a call that is never answered ends, after its attempts, whatever the service", async () => {
  const outcomes = await Promise.allSettled(CASES.map(([, , call]) => call()));
  expect(outcomes).toMatchObject(CASES.map(() => ({ reason: { name: "TimeoutError" } })));
  expect([...calls].toSorted()).toEqual(CASES.map(([name, count]) => [name, count]).toSorted());
});
