import { expect, test } from "@jest/globals";
import type { Statement } from "./policies.ts";
import { refused, unneeded } from "./proof.ts";
import type { Request } from "./requests.ts";

const TABLE = "arn:aws:dynamodb:us-east-1:000000000000:table/blocks";
const QUEUES = ["one", "two"].map((name) => `arn:aws:sqs:us-east-1:000000000000:${name}`);

const statements: Statement[] = [
  {
    Effect: "Allow",
    Action: ["dynamodb:GetItem", "dynamodb:PutItem"],
    Resource: [TABLE],
    Condition: { "ForAllValues:StringEquals": { "dynamodb:LeadingKeys": ["list", "list#orders"] } },
  },
  { Effect: "Allow", Action: ["sqs:SendMessage"], Resource: QUEUES },
];

const item = (action: string, ...partitions: string[]): Request => ({
  action: `dynamodb:${action}`,
  resource: TABLE,
  context: { "dynamodb:LeadingKeys": partitions },
});
const message = (queue = ""): Request => ({
  action: "sqs:SendMessage",
  resource: queue,
  context: {},
});
const all = [item("GetItem", "list"), item("PutItem", "list#orders"), ...QUEUES.map(message)];

test("what is granted is not refused", async () => {
  expect(await refused({ statements }, all)).toEqual([]);
});

test.each([
  ["another action", item("DeleteItem", "list")],
  ["another partition", item("GetItem", "list#tokens")],
  ["another partition beside one that is granted", item("GetItem", "list", "list#tokens")],
  ["another resource", message(`${QUEUES[0]}-dead`)],
])("%s is refused", async (_what, request) => {
  expect(await refused({ statements }, [...all, request])).toEqual([request]);
});

test("nothing is granted in vain where each action, resource and partition is needed", async () => {
  expect(await unneeded({ statements }, all)).toEqual({ takenOut: 8, unneeded: [] });
});

test.each([
  [0, "dynamodb:GetItem"],
  [1, "dynamodb:PutItem"],
  [3, `sqs:SendMessage on ${QUEUES[1]}`],
])("without call %i, what it needed is granted in vain", async (index, what) => {
  const { unneeded: found } = await unneeded({ statements }, all.toSpliced(index, 1));
  expect(found).toContain(what);
});

test("a role that denies is none that can be taken apart", async () => {
  const deny = { Effect: "Deny", Action: ["sqs:SendMessage"], Resource: ["*"] };
  await expect(unneeded({ statements: [deny] }, all)).rejects.toThrow("denies");
});
