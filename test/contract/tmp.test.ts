import { DynamoDBDocumentClient, GetCommand, PutCommand } from "@aws-sdk/lib-dynamodb";
import { test } from "@jest/globals";
import { startTestEngines } from "../infra/local/fixtures.ts";
import { makeTable } from "../support/resources.ts";
import { createTable } from "../../shared/aws/table.ts";
test("x", async () => {
  const aws = await startTestEngines("dynamodb");
  await makeTable(aws.clients, "t");
  const d = DynamoDBDocumentClient.from(aws.clients.dynamodb);
  for (const reason of ["\ud83d", "\uffff", "\0"]) {
    try { await d.send(new PutCommand({ TableName: "t", Item: { aclId: "a", sk: "b", reason } }));
      const r = await d.send(new GetCommand({ TableName: "t", Key: { aclId: "a", sk: "b" } }));
      console.log(JSON.stringify(reason), JSON.stringify(r.Item));
    } catch (e) { console.log(JSON.stringify(reason), String(e)); }
  }
  const table = createTable(d, {tableName:"t", aclId:"acl-1"});
  // expired items in the way
  const N=5000;
  for (let i=0;i<N;i+=100) await Promise.all(Array.from({length:100},(_,j)=>d.send(new PutCommand({TableName:"t",Item:{aclId:"acl-1",sk:`block#${i+j}`,rank:`4#05#001#${i+j}`,expiresAt:4000000000, pad:"x".repeat(300)}}))));
  const t=performance.now();
  await table.readStrongest(4,180,5_000_000_000_000);
  console.log("expired", N, performance.now()-t);
  await aws.stop();
}, 100000);
