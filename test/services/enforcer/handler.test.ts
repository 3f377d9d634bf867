import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import type { Context, DynamoDBStreamEvent, ScheduledEvent } from "aws-lambda";
import * as networkAcl from "../../../shared/aws/networkAcl.ts";
import * as tableModule from "../../../shared/aws/table.ts";
import { captureOutput } from "../../support/output.ts";
import { NOW, reportOf } from "../../support/reports.ts";
import { insertOf, removalOf, TTL } from "../../support/streamRecords.ts";
import { World } from "./world.ts";

// The function as it is wired, on a world in memory instead of table and ACL.

let world: World;
let output: ReturnType<typeof captureOutput>;

/** What the current world has, by whatever name it is asked for. */
const partOf = (part: "table" | "acl") =>
  new Proxy({}, { get: (_, name) => Reflect.get(world.enforcer()[part], name) });
jest.unstable_mockModule("../../../shared/aws/table.ts", () => ({
  ...tableModule,
  createTable: () => partOf("table"),
}));
jest.unstable_mockModule("../../../shared/aws/networkAcl.ts", () => ({
  ...networkAcl,
  createNetworkAcl: () => partOf("acl"),
}));
jest.unstable_mockModule("../../../shared/aws/parameters.ts", () => ({
  createParameters: () => ({ get: async () => "none" }),
}));
jest.spyOn(Date, "now").mockImplementation(() => world?.now ?? NOW);
Object.assign(process.env, {
  ACL_ID: "acl-0123456789abcdef0",
  TABLE_NAME: "blacklist_ip",
  NEVER_BLOCK_PARAMETER: "/never-block",
  MODE: "enforce",
  RULE_LIMIT: "5",
  RULE_NUMBER_FIRST: "1",
  RULE_NUMBER_LAST: "20",
  DIRECTIONS: "ingress",
  MAX_INNOCENTS: "0",
  REPEAT_MEMORY: "86400",
  POWERTOOLS_METRICS_NAMESPACE: "Portcullis",
});
const { handler } = await import("../../../services/enforcer/handler.ts");

const [A, B] = ["203.0.113.1/32", "203.0.113.5/32"] as const;
const SECOND = NOW / 1000;

beforeEach(() => {
  world = new World();
  output = captureOutput();
});
afterEach(() => output.restore());

const want = (cidr: string) => world.report(reportOf(cidr, { seconds: 600 }));
const context = (remainingMs = 60_000) =>
  ({ getRemainingTimeInMillis: () => remainingMs }) as unknown as Context;
const wake = (...Records: DynamoDBStreamEvent["Records"]) => handler({ Records }, context());
const schedule = { "detail-type": "Scheduled Event" } as ScheduledEvent;
const endedOf = (cidr: string, strikes: number) => ({
  ...{ cidr, strikes, firstSeenAt: NOW - 60_000, expiresAt: SECOND - 1 },
});
/** The metrics that were published, by name. */
const metrics = () =>
  Object.assign(
    {},
    ...output
      .text()
      .split("\n")
      .filter((line) => line.includes('"_aws"'))
      .map((line) => JSON.parse(line)),
  );

describe("whatever wakes it, it converges", () => {
  test.each<[string, () => Promise<void>]>([
    ["a record of the stream", () => wake(insertOf({ cidr: A }))],
    ["the schedule", () => handler(schedule, context())],
    ["records that it cannot read", () => wake({ eventName: "REMOVE" })],
  ])("%s", async (_what, woken) => {
    want(A);
    await woken();
    expect(world.denied()).toEqual([A]);
  });

  test("and tells what it did in metrics", async () => {
    world.acl.ingress.set(7, { cidr: B, isPlainDeny: true, isPersons: true });
    want(A);
    await handler(schedule, context());
    expect(metrics()).toMatchObject({
      Enforced: 1,
      Waiting: 0,
      Foreign: 1,
      ChangesApplied: 1,
      ChangesLeft: 0,
      DriftRepaired: 0,
      NeverBlockUnreadable: 0,
    });
  });

  test("and begins no EC2 call that might not end in time", async () => {
    want(A);
    await handler(schedule, context(15_000));
    expect(world.denied()).toEqual([]);
    expect(metrics()).toMatchObject({ ChangesApplied: 0, ChangesLeft: 1 });
  });
});

describe("a block that left the table", () => {
  test("is remembered where its time was over, and only there", async () => {
    await wake(
      removalOf(endedOf(A, 3), SECOND, TTL),
      removalOf({ ...endedOf(B, 2), expiresAt: SECOND + 60 }, SECOND),
    );
    expect([...world.table.strikes]).toEqual([[A, 3]]);
  });

  test("is remembered though the ACL cannot be described", async () => {
    world.describeFailure = new networkAcl.ThrottledError("Request limit exceeded.");
    await expect(wake(removalOf(endedOf(A, 3), SECOND, TTL))).rejects.toThrow("Request limit");
    expect([...world.table.strikes]).toEqual([[A, 3]]);
  });

  test("that cannot be remembered now is delivered again, and keeps nothing from being enforced", async () => {
    world.table.rememberOffender = async () => {
      throw new Error("The table is down.");
    };
    // Meanwhile the event loop turns, so that a promise that nobody awaits yet would be noticed.
    const { state } = world.table;
    world.table.readState = () => new Promise((resolve) => setImmediate(resolve, state));
    want(B);
    const woken = wake(removalOf(endedOf(A, 3), SECOND, TTL));
    await expect(woken).rejects.toThrow("The table is down.");
    expect(world.denied()).toEqual([B]);
  });
});

describe("an ACL that is gone", () => {
  beforeEach(() => {
    world.describeFailure = new networkAcl.AclNotFoundError("The network ACL does not exist.");
  });

  test("is an alarm, not a loop of errors", async () => {
    await handler(schedule, context());
    expect(metrics()).toMatchObject({ AclMissing: 1 });
    expect(output.text()).toContain("The network ACL does not exist");
  });

  test("makes nobody forget an offender", async () => {
    await wake(removalOf(endedOf(A, 3), SECOND, TTL));
    expect([...world.table.strikes]).toEqual([[A, 3]]);
  });
});

test("any other failure is told to Lambda, which tries again", async () => {
  world.table.isUnreadable = true;
  await expect(handler(schedule, context())).rejects.toThrow("The table is down.");
});
