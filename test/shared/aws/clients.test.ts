import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { DescribeVpcsCommand } from "@aws-sdk/client-ec2";
import { ListQueuesCommand } from "@aws-sdk/client-sqs";
import { GetParameterCommand } from "@aws-sdk/client-ssm";
import { GetCommand } from "@aws-sdk/lib-dynamodb";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { createDynamo, createEc2, createSqs, createSsm } from "../../../shared/aws/clients.ts";

/** Takes every call and answers none. */
let silent: Server;
let calls = 0;

beforeAll(async () => {
  silent = createServer(() => {
    calls++;
  });
  await new Promise<void>((listening) => silent.listen(0, "127.0.0.1", listening));
  const url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
  for (const name of ["SQS", "SSM", "DYNAMODB", "EC2"])
    process.env[`AWS_ENDPOINT_URL_${name}`] = url;
  process.env.AWS_REGION = "us-east-1";
  process.env.AWS_ACCESS_KEY_ID = "local";
  process.env.AWS_SECRET_ACCESS_KEY = "local";
});
afterAll(() => {
  silent.closeAllConnections();
  silent.close();
});

test.each([
  ["SQS", 3, () => createSqs().send(new ListQueuesCommand({}))],
  ["SSM", 3, () => createSsm().send(new GetParameterCommand({ Name: "n" }))],
  ["DynamoDB", 3, () => createDynamo().send(new GetCommand({ TableName: "t", Key: { k: "v" } }))],
  ["EC2", 4, () => createEc2().send(new DescribeVpcsCommand({}))],
])(
  "a call to %s that is never answered ends, after its attempts",
  async (_name, attempts, call) => {
    calls = 0;
    await expect(call()).rejects.toMatchObject({ name: "TimeoutError" });
    expect(calls).toBe(attempts);
  },
);
