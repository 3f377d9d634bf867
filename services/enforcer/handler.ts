import { Logger } from "@aws-lambda-powertools/logger";
import { Metrics } from "@aws-lambda-powertools/metrics";
import { SSMProvider } from "@aws-lambda-powertools/parameters/ssm";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import {
  CreateNetworkAclEntryCommand,
  DeleteNetworkAclEntryCommand,
  DescribeNetworkAclsCommand,
  DescribeVpcsCommand,
  EC2Client,
  ReplaceNetworkAclEntryCommand,
} from "@aws-sdk/client-ec2";
import {
  DynamoDBDocumentClient,
  GetCommand,
  PutCommand,
  QueryCommand,
} from "@aws-sdk/lib-dynamodb";
import ip from "ipaddr.js";
import * as v from "valibot";

const q = new EC2Client({});
const d = DynamoDBDocumentClient.from(new DynamoDBClient({}));
const s = new SSMProvider();
export const handler = async (e: unknown) => {
  new Logger().info(
    JSON.stringify(v.parse(v.object({ a: v.string() }), e)),
    ip.parse("1").toString(),
  );
  new Metrics();
  await s.get("x");
  await d.send(new QueryCommand({ TableName: "x" }));
  await d.send(new PutCommand({ TableName: "x", Item: {} }));
  await d.send(new GetCommand({ TableName: "x", Key: {} }));
  for (const c of [
    DescribeNetworkAclsCommand,
    DescribeVpcsCommand,
    CreateNetworkAclEntryCommand,
    ReplaceNetworkAclEntryCommand,
    DeleteNetworkAclEntryCommand,
  ])
    await q.send(new (c as any)({}) as any);
};
