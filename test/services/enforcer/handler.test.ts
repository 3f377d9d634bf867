import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import type { Context, DynamoDBStreamEvent, ScheduledEvent, SQSEvent } from "aws-lambda";
import * as clients from "../../../shared/aws/clients.ts";
import * as parameters from "../../../shared/aws/parameters.ts";
import * as additions from "../../../shared/aws/table/additions.ts";
import * as blocks from "../../../shared/aws/table/blocks.ts";
import * as offenders from "../../../shared/aws/table/offenders.ts";
import * as orders from "../../../shared/aws/table/orders.ts";
import * as targetStates from "../../../shared/aws/table/targetStates.ts";
import * as ec2 from "../../../shared/targets/networkAcl/ec2.ts";
import { TargetMissingError, ThrottledError } from "../../../shared/targets/target.ts";
import { blockOf } from "../../support/blocks.ts";
import { captureOutput } from "../../support/output.ts";
import { NOW, reportOf } from "../../support/reports.ts";
import { insertOf, removalOf, TTL } from "../../support/streamRecords.ts";
import { ACL_ID, World } from "./world.ts";

// The function as it is wired, on a world in memory instead of table and ACL.

let world: World;
let output: ReturnType<typeof captureOutput>;
/** What the parameter store fails with. */
let storeFailure: Error | undefined;
/** The wake-ups that were left: after how many seconds they come. */
let wakeUps: (number | undefined)[];

/** A port of the current world, whatever world that is when it is used. */
const portOf = (port: () => object) =>
  new Proxy({}, { get: (_, name) => Reflect.get(port(), name) });
jest.unstable_mockModule("../../../shared/aws/table/blocks.ts", () => ({
  ...blocks,
  createBlocks: () => portOf(() => world.enforcer().blocks),
}));
jest.unstable_mockModule("../../../shared/aws/table/targetStates.ts", () => ({
  ...targetStates,
  createTargetStates: () => portOf(() => world.enforcer().states),
}));
jest.unstable_mockModule("../../../shared/aws/table/offenders.ts", () => ({
  ...offenders,
  createOffenders: () => portOf(() => world.table.offenders),
}));
jest.unstable_mockModule("../../../shared/aws/table/orders.ts", () => ({
  ...orders,
  createOrderBook: () => portOf(() => world.enforcer().orders),
}));
jest.unstable_mockModule("../../../shared/aws/table/sources.ts", () => ({
  createSources: () => portOf(() => world.enforcer().sources),
}));
jest.unstable_mockModule("../../../shared/aws/table/additions.ts", () => ({
  ...additions,
  createAdditions: () => ({ version: async () => 0, items: async () => [] }),
}));
jest.unstable_mockModule("../../../shared/aws/accountAddresses.ts", () => ({
  createAccountAddresses: () => async () => [],
}));
jest.unstable_mockModule("../../../shared/targets/networkAcl/ec2.ts", () => ({
  ...ec2,
  createNetworkAcl: () => portOf(() => world.networkAcl()),
}));
jest.unstable_mockModule("../../../shared/aws/clients.ts", () => ({
  ...clients,
  createSqs: () => ({
    send: async ({ input }: { input: { DelaySeconds?: number } }) => {
      wakeUps.push(input.DelaySeconds);
    },
  }),
}));
jest.unstable_mockModule("../../../shared/aws/parameters.ts", () => ({
  ...parameters,
  createParameters: () => ({
    async get() {
      if (storeFailure) throw storeFailure;
      return "none";
    },
  }),
}));
jest.spyOn(Date, "now").mockImplementation(() => world?.now ?? NOW);
Object.assign(process.env, {
  ACL_ID,
  WAF_IP_SETS: "",
  LEAST_SEVERITY: `${ACL_ID}=3`,
  TABLE_NAME: "blacklist_ip",
  LIST_NAME: "the-list",
  STAGE_NAME: "the-stage",
  WAKE_UP_QUEUE_URL: "https://sqs.example/wake-ups",
  NEVER_BLOCK_PARAMETER: "/never-block",
  MODE: "enforce",
  RULE_LIMIT: "5",
  RULE_NUMBER_FIRST: "1",
  RULE_NUMBER_LAST: "20",
  DIRECTIONS: "ingress",
  MAX_INNOCENTS: "0",
  REPEAT_MEMORY: "86400",
  SCORE_HALF_LIFE: "600",
  POWERTOOLS_METRICS_NAMESPACE: "Portcullis",
});
const { handler } = await import("../../../services/enforcer/handler.ts");

const [A, B] = ["203.0.113.1/32", "203.0.113.5/32"] as const;
const SECOND = NOW / 1000;

beforeEach(() => {
  world = new World();
  wakeUps = [];
  storeFailure = undefined;
  output = captureOutput();
});
afterEach(() => output.restore());

const want = (cidr: string) => world.report(reportOf(cidr, { seconds: 600 }));
const context = (remainingMs = 60_000) =>
  ({ getRemainingTimeInMillis: () => remainingMs }) as unknown as Context;
const wake = (...Records: DynamoDBStreamEvent["Records"]) => handler({ Records }, context());
const schedule = { "detail-type": "Scheduled Event" } as ScheduledEvent;
const wakeUp = { Records: [{ messageId: "1", body: '{"kind":"wakeUp"}' }] } as SQSEvent;
const endedOf = (cidr: string, strikes: number) => ({
  ...{ cidr, strikes, score: NOW, firstSeenAt: NOW - 60_000, expiresAt: SECOND - 1 },
});
/** The lines of metrics that were published. */
const published = (): object[] =>
  output
    .text()
    .split("\n")
    .filter((line) => line.includes('"_aws"'))
    .map((line) => JSON.parse(line));
/** The metrics that were published, by name. */
const metrics = () => Object.assign({}, ...published());

describe("while the parameter store cannot be read", () => {
  beforeEach(() => {
    storeFailure = new Error("Rate exceeded");
  });

  // First of all that read the list in this process, which has read none yet.
  test("the list that was read last holds, and an alarm hears of it", async () => {
    world.table.ownersList = { value: A, readAt: NOW - 3_600_000 };
    want(A);
    want(B);
    await handler(schedule, context());
    expect(world.denied()).toEqual([B]);
    expect(metrics()).toMatchObject({ NeverBlockUnreadable: 1 });
  });
});

describe("whatever wakes it, it converges", () => {
  test.each<[string, () => Promise<void>]>([
    ["a record of the stream", () => wake(insertOf({ cidr: A }))],
    ["the schedule", () => handler(schedule, context())],
    ["a wake-up", () => handler(wakeUp, context())],
    ["records that it cannot read", () => wake({ eventName: "REMOVE" })],
  ])("%s", async (_what, woken) => {
    want(A);
    await woken();
    expect(world.denied()).toEqual([A]);
  });

  test("and says what it did in metrics", async () => {
    world.acl.ingress.set(7, { cidr: B, kind: "deny", isPersons: true });
    want(A);
    await handler(schedule, context());
    expect(metrics()).toMatchObject({
      Enforced: 1,
      Waiting: 0,
      Foreign: 1,
      ChangesApplied: 1,
      ChangesLeft: 0,
      DriftRepaired: 0,
      ChangesRefused: 0,
      NeverBlockUnreadable: 0,
      TargetMissing: 0,
      TargetFailed: 0,
      OffendersForgotten: 0,
    });
    const [ofTarget, ofAll] = published().slice(-2);
    expect(ofTarget).toMatchObject({ stage: "the-stage", target: ACL_ID, Enforced: 1 });
    expect(ofAll).toMatchObject({ stage: "the-stage", Converges: 1 });
    expect(ofAll).not.toHaveProperty("target");
  });

  test("but with nothing that is less severe than the target is for", async () => {
    world.report(reportOf(A, { severity: 2 }));
    world.report(reportOf(B, { severity: 3 }));
    await handler(schedule, context());
    expect(world.denied()).toEqual([B]);
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
    world.describeFailure = new ThrottledError("Request limit exceeded.");
    await expect(wake(removalOf(endedOf(A, 3), SECOND, TTL))).rejects.toThrow("Request limit");
    expect([...world.table.strikes]).toEqual([[A, 3]]);
  });

  test("that cannot be remembered is forgotten, which is counted, and keeps nothing from being enforced", async () => {
    const { remember } = world.table.offenders;
    world.table.offenders.remember = async (ended, memory) => {
      if (ended.cidr.text === A) throw new Error("The table is down.");
      await remember(ended, memory);
    };
    want(B);
    await wake(
      removalOf(endedOf(A, 3), SECOND, TTL),
      removalOf(endedOf("203.0.113.9/32", 2), SECOND, TTL),
    );
    expect(world.denied()).toEqual([B]);
    expect([...world.table.strikes]).toEqual([["203.0.113.9/32", 2]]);
    expect(metrics()).toMatchObject({ OffendersForgotten: 1 });
    expect(output.text()).toContain("Offenders are forgotten");
  });
});

test("what begins while many are remembered does not wait for that", async () => {
  let isBegun = () => {};
  const begun = new Promise<void>((resolve) => {
    isBegun = resolve;
  });
  let deniedMeanwhile: string[] = [];
  world.table.offenders.remember = async () => {
    await begun;
    await new Promise((resolve) => setTimeout(resolve, 900));
    deniedMeanwhile = world.denied();
  };
  const woken = wake(removalOf(endedOf(A, 3), SECOND, TTL));
  await new Promise(setImmediate);
  want(B);
  isBegun();
  await woken;
  expect(deniedMeanwhile).toEqual([B]);
});

describe("a target that is gone", () => {
  beforeEach(() => {
    world.describeFailure = new TargetMissingError("The network ACL does not exist.");
  });

  test("is an alarm, not a loop of errors", async () => {
    await handler(schedule, context());
    expect(metrics()).toMatchObject({ TargetMissing: 1, TargetFailed: 0 });
    expect(output.text()).toContain("The network ACL does not exist");
  });

  test("makes nobody forget an offender", async () => {
    await wake(removalOf(endedOf(A, 3), SECOND, TTL));
    expect([...world.table.strikes]).toEqual([[A, 3]]);
  });
});

// The clock of the process never goes back: these are last, each later than the one before.
describe("a wake-up", () => {
  test("is left for the next end of a block", async () => {
    world.now += 3_600_000;
    world.report(reportOf(A, { reportedAt: world.now, seconds: 600 }));
    world.report(reportOf(B, { reportedAt: world.now, seconds: 60 }));
    await handler(schedule, context());
    expect(wakeUps).toEqual([60]);
  });

  test("is left for the next second where expired blocks are left to be removed", async () => {
    world.now += 1.5 * 3_600_000;
    const { now } = world;
    for (let i = 0; i < 60; i++) {
      const change = { reportedAt: now - 61_000, seconds: 60 };
      world.blocks.set(`198.51.100.${i}/32`, blockOf(`198.51.100.${i}/32`, change));
    }
    world.table.sweptPage = 10;
    const { removeExpired } = world.table.blocks;
    world.table.blocks.removeExpired = async (from, at) => {
      await new Promise(setImmediate);
      world.now += 400;
      return removeExpired(from, at);
    };
    await handler(schedule, context());
    expect(wakeUps).toEqual([1]);
    expect(world.blocks.size).toBe(30);
    wakeUps = [];
    await handler(schedule, context());
    expect([world.blocks.size, wakeUps]).toEqual([0, [1]]);
    await handler(schedule, context());
    expect([world.blocks.size, wakeUps]).toEqual([0, [1]]);
  });

  test("is not left where nothing is to come", async () => {
    world.now += 2 * 3_600_000;
    await handler(schedule, context());
    expect(wakeUps).toEqual([]);
  });

  test("is left where the converge failed, though Lambda, to whom the failure goes, tries again", async () => {
    world.now += 3 * 3_600_000;
    world.table.isUnreadable = true;
    await expect(handler(schedule, context())).rejects.toThrow("The table is down.");
    expect(metrics()).toMatchObject({ TargetFailed: 1 });
    expect(wakeUps).toEqual([10]);
  });
});

test("how long a block took from its acceptance to its entry is a metric", async () => {
  world.now += 4 * 3_600_000;
  await handler(schedule, context());
  world.report(reportOf(A, { reportedAt: world.now, seconds: 600 }));
  world.now += 700;
  await wake(insertOf({ cidr: A }));
  expect(metrics()).toMatchObject({ stage: "the-stage", target: ACL_ID, TimeToEntry: 700 });
});
