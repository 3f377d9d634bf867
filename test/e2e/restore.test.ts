import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { lose, recover } from "../support/recovered.ts";
import { eventually, startTestCloud, type TestCloud } from "./cloud.ts";
import { operatorOf } from "./operator.ts";

// The table is lost, and there is a copy of it, as point-in-time recovery makes one: the way back.

const WAF = "edge";
const COPY = "recovered";
const PERSONS = "198.51.100.7/32";
/** No two of them are neighbours. */
const BLOCKED = ["203.0.113.10", "203.0.113.20", "203.0.113.30", "203.0.113.40"];
const HELD = "203.0.113.50";

let cloud: TestCloud;
let operator: ReturnType<typeof operatorOf>;
let dynamo: DynamoDBClient;
let before: string;
let entered: string[];
let token: string;
beforeAll(async () => {
  cloud = await startTestCloud({ WAF_IP_SETS: WAF, RECONCILE_SECONDS: "2" });
  operator = operatorOf(cloud, WAF);
  dynamo = new DynamoDBClient({
    endpoint: cloud.stack.endpoints.dynamodb,
    region: cloud.stack.region,
    credentials: { accessKeyId: "local", secretAccessKey: "local" },
  });
  await operator.deny(PERSONS);
  before = await operator.described();

  // A stage in use: blocks of both families, a hold, a caller and a range that operators have added.
  token = (await operator.run("token", "new", "zeek")).out.trim();
  await operator.run("never-block", "add", "192.0.2.0/28", "--why", "office");
  await cloud.block({ ips: [...BLOCKED, "2001:db8::1"], severity: 8, expiryTime: 3_600 });
  const asOperator = { token: cloud.stack.operatorToken };
  await cloud.call(`/blacklistip?ip=${HELD}&hold=3600`, { method: "DELETE", ...asOperator });
  await eventually("all are denied", 30, async () => (await cloud.denied()).length === 6);
  await eventually("in the set as well", 30, async () =>
    (await operator.described()).includes('"203.0.113.40/32"'),
  );
  entered = (await cloud.denied()).toSorted();
  await recover(dynamo, cloud.stack.tableName, COPY);
}, 240_000);
afterAll(async () => {
  dynamo?.destroy();
  await cloud?.stop();
});

const restore = async (...args: string[]) => {
  const { code, out, err } = await operator.run("restore", "--from-table", COPY, "--json", ...args);
  if (out === "") throw new Error(err);
  const { restored } = JSON.parse(out) as {
    restored: { what: string; copied: number; known: number; over: number }[];
  };
  const counts = restored.map(({ what, copied, known, over }) => [what, [copied, known, over]]);
  return { code, err, counts: Object.fromEntries(counts) as Record<string, number[]> };
};
const isEntered = async () =>
  JSON.stringify((await cloud.denied()).toSorted()) === JSON.stringify(entered);

describe("a lost table that has been used since", () => {
  test("what is ours is nobody's then: entries stay, and a new block stands beside an old one", async () => {
    // What is ours first: where the table is gone, nothing takes our entries out.
    await lose(dynamo, cloud.stack.tableName, (list) => list.endsWith("#targets"));
    await lose(dynamo, cloud.stack.tableName);
    await eventually("the list is empty", 20, async () => (await cloud.list()).blocks.length === 0);
    await cloud.block({ ip: BLOCKED[0], severity: 9 }); // a lesser report would fold into the lost one
    await eventually("it is denied twice", 20, async () => {
      const denied = await cloud.denied();
      return denied.length === 7 && denied.filter((one) => one === `${BLOCKED[0]}/32`).length === 2;
    });
  }, 90_000);

  test("restored, the enforcer makes the targets by itself what they were", async () => {
    const { code, err, counts } = await restore();
    expect([code, err]).toEqual([0, ""]);
    expect(counts).toEqual({
      callers: [1, 0, 0],
      "never-block ranges": [1, 0, 0],
      unblocks: [1, 0, 0],
      holds: [1, 0, 0],
      undos: [0, 0, 0],
      withdrawals: [0, 0, 0],
      withdrawers: [0, 0, 0],
      mode: [0, 0, 0],
      offenders: [0, 0, 0],
      [`entries of ${cloud.stack.aclId}`]: [5, 0, 0],
      [`entries of ${WAF}`]: [5, 0, 0],
      blocks: [4, 1, 0],
    });
    await eventually("each is denied once", 20, isEntered);
    await eventually("and is known to be", 20, async () => {
      const { targets } = await cloud.list();
      return targets.every(({ enforced, waiting }) => enforced === 5 && waiting === 0);
    });
  }, 90_000);

  test("so are callers, ranges and orders", async () => {
    await eventually("the token is known, and the office's range", 15, async () => {
      const call = cloud.call("/blacklistip?ip=192.0.2.1", { method: "POST", token });
      return (await call).status === 200; // ignored; it would be 202, or 401
    });
    await cloud.block({ ip: HELD, severity: 9 });
    await cloud.block({ ip: "203.0.113.60", severity: 9 });
    await eventually("a later report is denied", 20, async () =>
      (await cloud.denied()).includes("203.0.113.60/32"),
    );
    expect(await cloud.denied()).not.toContain(`${HELD}/32`);
    const asOperator = { token: cloud.stack.operatorToken };
    await cloud.call("/blacklistip?ip=203.0.113.60", { method: "DELETE", ...asOperator });
    await eventually("it has left", 20, isEntered);
  }, 90_000);

  test("restored once more, nothing changes", async () => {
    const { code, counts } = await restore();
    expect(code).toBe(0);
    for (const [copied] of Object.values(counts)) expect(copied).toBe(0);
    expect(counts.blocks).toEqual([0, 5, 0]);
    expect(await isEntered()).toBe(true);
  }, 60_000);

  test("drained, the targets are byte for byte what they were before the first block", async () => {
    expect(await operator.run("drain")).toMatchObject({ code: 0 });
    expect(await operator.described()).toBe(before);
    await operator.run("mode", "default");
    await eventually("they are denied again", 20, isEntered);
  }, 90_000);
});

test("blocks that somebody has deleted come back, and with them the entries", async () => {
  await lose(dynamo, cloud.stack.tableName, (_, sk) => sk.startsWith("block#"));
  await eventually("the entries have left", 20, async () => (await cloud.denied()).length === 1);
  const { out, code } = await operator.run("restore", "--from-table", COPY, "--only", "blocks");
  expect([code, out]).toEqual([0, expect.stringMatching(/blocks +│ +5 +│ +0 +│ +0 +│ +0/)]);
  await eventually("they are denied again", 20, isEntered);
}, 90_000);

test("what cannot be restored is said in a sentence, with 1, and what is not understood with 2", async () => {
  const from = (name: string) => operator.run("restore", "--from-table", name);
  expect(await from("none-such")).toMatchObject({
    ...{
      code: 1,
      err: expect.stringContaining("There is no table none-such in the stage's region."),
    },
  });
  expect(await from(cloud.stack.tableName)).toMatchObject({
    ...{ code: 2, err: expect.stringContaining("is the live table itself.") },
  });
  expect(await operator.run("restore")).toMatchObject({ code: 2 });
  expect(await operator.run("restore", "--from-table", COPY, "--only", "all")).toMatchObject({
    code: 2,
  });
}, 60_000);
