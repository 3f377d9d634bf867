import { Logger } from "@aws-lambda-powertools/logger";
import { Metrics } from "@aws-lambda-powertools/metrics";
import { SSMProvider } from "@aws-lambda-powertools/parameters/ssm";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { DynamoDBDocumentClient, GetCommand, QueryCommand } from "@aws-sdk/lib-dynamodb";
import middy from "@middy/core";
import jsonBodyParser from "@middy/http-json-body-parser";
import ip from "ipaddr.js";
import * as v from "valibot";

const q = new SQSClient({});
const d = DynamoDBDocumentClient.from(new DynamoDBClient({}));
const s = new SSMProvider();
export const handler = middy()
  .use(jsonBodyParser())
  .handler(async (e: unknown) => {
    new Logger().info(
      JSON.stringify(v.parse(v.object({ a: v.string() }), e)),
      ip.parse("1").toString(),
    );
    new Metrics();
    await s.get("x");
    await d.send(new QueryCommand({ TableName: "x" }));
    await d.send(new GetCommand({ TableName: "x", Key: {} }));
    return q.send(new SendMessageCommand({ QueueUrl: "x", MessageBody: "" }));
  });
