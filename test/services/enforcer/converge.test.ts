import { beforeEach, describe, expect, test } from "@jest/globals";
import { AclNotFoundError, ThrottledError } from "../../../shared/aws/networkAcl.ts";
import { ConflictError } from "../../../shared/aws/table.ts";
import { SETTLE_MS } from "../../../shared/domain/plan.ts";
import { reportOf } from "../../support/reports.ts";
import { protectAll, World } from "./world.ts";

// What converge does besides the laws, which are in converge.property.test.ts.

/** No two of them are siblings: nothing merges without loss. The first is the strongest. */
const [A, B, C, D, E] = [0, 4, 8, 12, 16].map((last) => `203.0.113.${last}/32`) as [
  string,
  string,
  string,
  string,
  string,
];
const V6 = "2001:db8::1/128";

let world: World;
beforeEach(() => {
  world = new World();
  world.limit = 5;
});
/** Wants the addresses for an hour, the first the most. */
const want = (...cidrs: string[]) => {
  for (const [index, cidr] of cidrs.entries()) wantWith(cidr, 10 - index);
};
const wantWith = (cidr: string, severity: number, seconds = 3_600) =>
  world.report(reportOf(cidr, { reportedAt: world.now, severity, seconds }));
/** Refuses the calls that the condition holds for. */
const refuse = (error: Error, isRefused: (cidr: string | null) => boolean) => {
  world.refuse = ({ cidr }) => (isRefused(cidr) ? error : undefined);
};
const refuseNothing = () => {
  world.refuse = () => undefined;
};
const called = () => world.calls.map(({ kind, cidr }) => `${kind} ${cidr}`);

describe("throttling", () => {
  const throttled = new ThrottledError("Request limit exceeded.");

  /** EC2 takes `seconds` to say that it is throttled, the SDK's retries included, so many times. */
  const throttle = (times: number, seconds = 10) => {
    let asked = 0;
    world.refuse = () => {
      if (++asked > times) return undefined;
      world.now += seconds * 1_000;
      return throttled;
    };
    return () => asked;
  };

  test("is waited for: one converge goes on until all is done, the strongest first", async () => {
    want(A, B, C, D, E);
    throttle(3);
    expect(await world.converge()).toMatchObject({ applied: 5, left: 0, enforced: 5 });
    expect(called()).toEqual([A, B, C, D, E].map((cidr) => `create ${cidr}`));
  });

  test("stops when its time is up; what is left is not lost, nor recorded as done", async () => {
    want(A, B, C, D, E);
    throttle(3, 30);
    expect(await world.converge()).toMatchObject({ applied: 0, left: 5, enforced: 1 });
    expect(world.table.state.slots.ingress).toEqual({ 1: { cidr: A } });
    expect(await world.converge()).toMatchObject({ applied: 5, left: 0 });
    expect(called()).toEqual([A, B, C, D, E].map((cidr) => `create ${cidr}`));
  });

  test("asks EC2 for nothing more in either direction, then begins with the strongest again", async () => {
    world.directions = ["ingress", "egress"];
    want(A, B);
    const asked = throttle(1, 60);
    expect(await world.converge()).toMatchObject({ applied: 0, left: 4 });
    expect(asked()).toBe(1);
  });

  test("what comes meanwhile and is stronger does not wait for the weaker ones", async () => {
    world.limit = 4;
    world.callMs = 1_000;
    want(B, C, D, E);
    world.refuse = ({ cidr }) => {
      if (cidr === B) wantWith(A, 10);
      return undefined;
    };
    expect(await world.converge()).toMatchObject({ applied: 4, left: 0, waiting: 1 });
    expect(called()).toEqual([B, C, A, D].map((cidr) => `create ${cidr}`));
  });

  test("what ends meanwhile leaves, though new blocks keep coming", async () => {
    world.callMs = 1_000;
    wantWith(V6, 1, 60);
    await world.converge();
    world.now += 60_000;
    want(A, B, C, D, E);
    await world.converge();
    expect(called().slice(1, 3)).toEqual([`create ${A}`, "delete null"]);
  });

  test("while the ACL is described fails the converge: Lambda tries again", async () => {
    world.describeFailure = throttled;
    await expect(world.converge()).rejects.toThrow(ThrottledError);
  });

  test("a block that ends meanwhile is not put in later", async () => {
    want(A);
    wantWith(B, 1, 60);
    refuse(throttled, (cidr) => cidr === B);
    await world.converge();
    refuseNothing();
    world.now += 60_000;
    await world.converge();
    expect(world.denied()).toEqual([A]);
    expect(called()).not.toContain(`create ${B}`);
  });
});

test("no EC2 call is begun after the deadline; the next converge goes on", async () => {
  world.callMs = 1_000;
  want(A, B, C, D, E);
  expect(await world.converge(undefined, 2_500)).toMatchObject({ applied: 3, left: 2 });
  expect(world.denied()).toEqual([A, B, C].toSorted());
  expect(await world.converge()).toMatchObject({ applied: 2, left: 0 });
});

describe("EC2's quota, met before our own limit", () => {
  beforeEach(() => {
    world.quota = 3;
  });

  test("is learnt, and the same converge plans with it", async () => {
    want(A, B, C, D, E);
    expect(await world.converge()).toMatchObject({ left: 0, enforced: 3, waiting: 2 });
    expect(world.denied()).toEqual([A, B, C].toSorted());
    expect(world.table.state.learntLimits).toEqual({
      "ingress/4": { limit: 3, learntAt: world.now },
    });
  });

  test("makes room for a stronger newcomer by a replace", async () => {
    want(C, D, E);
    await world.converge();
    wantWith(A, 10);
    world.now += SETTLE_MS;
    await world.converge();
    expect(world.denied()).toEqual([A, C, D].toSorted());
    expect(called().at(-1)).toBe(`replace ${A}`);
  });

  test("is not met again and again", async () => {
    want(A, B, C, D, E);
    await world.converge();
    let asked = 0;
    world.refuse = () => {
      asked++;
      return undefined;
    };
    world.now += SETTLE_MS;
    expect(await world.converge()).toMatchObject({ applied: 0, left: 0 });
    expect(asked).toBe(0);
  });

  test("counts for its family and direction alone", async () => {
    world.directions = ["ingress", "egress"];
    want(A, B, C, D, V6);
    for (let i = 0; i < 3; i++) {
      world.acl.egress.set(10 + i, { cidr: E, isPlainDeny: true, isPersons: false });
    }
    await world.converge();
    expect(world.denied()).toEqual([V6, A, B, C].toSorted());
    expect(world.denied("egress")).toEqual([V6, E, E, E].toSorted());
    expect(world.table.state.learntLimits).toMatchObject({
      "ingress/4": { limit: 3 },
      "egress/4": { limit: 0 },
    });
  });

  test("is tried again after ten minutes: it may have been raised", async () => {
    want(A, B, C, D, E);
    await world.converge();
    world.quota = 100;
    world.now += 599_999;
    await world.converge();
    expect(world.denied()).toHaveLength(3);
    world.now += 1;
    await world.converge();
    expect(world.denied()).toHaveLength(5);
  });

  test("never raises our own limit", async () => {
    want(A, B, C, D, E);
    await world.converge();
    world.limit = 2;
    world.now += SETTLE_MS;
    await world.converge();
    expect(world.denied()).toEqual([A, B]);
  });
});

describe("the ACL that is gone", () => {
  const gone = new AclNotFoundError("The network ACL does not exist.");

  test("is told after what was done is recorded, and EC2 is asked for nothing more", async () => {
    want(A, B, C);
    refuse(gone, (cidr) => cidr === B);
    await expect(world.converge()).rejects.toThrow(AclNotFoundError);
    expect(called()).toEqual([`create ${A}`]);
    expect(world.table.state.slots.ingress).toEqual({
      1: { cidr: A, confirmedAt: world.now },
      2: { cidr: B },
    });
  });

  test("is told where it cannot even be described, and nothing is recorded", async () => {
    want(A);
    world.describeFailure = gone;
    await expect(world.converge()).rejects.toThrow(AclNotFoundError);
    expect(world.table.state.version).toBe(0);
  });
});

describe("a change that EC2 refuses", () => {
  const refusal = new Error("InvalidParameterValue");

  test("does not keep the others out", async () => {
    want(A, B, C);
    refuse(refusal, (cidr) => cidr === A);
    expect(await world.converge()).toMatchObject({ applied: 2, left: 1 });
    expect(world.denied()).toEqual([B, C]);
    refuseNothing();
    await world.converge();
    expect(world.denied()).toEqual([A, B, C].toSorted());
  });

  test("holds back those that need it: no gap opens", async () => {
    const [left, right] = ["203.0.113.0/32", "203.0.113.1/32"];
    want(left, right, C);
    world.limit = 2;
    await world.converge();
    expect(world.denied()).toEqual(["203.0.113.0/31", C]);
    world.limit = 3;
    world.now += SETTLE_MS;
    refuse(refusal, (cidr) => cidr === left);
    expect(await world.converge()).toMatchObject({ applied: 0, left: 2 });
    expect(world.denied()).toEqual(["203.0.113.0/31", C]);
    refuseNothing();
    await world.converge();
    expect(world.denied()).toEqual([left, right, C]);
    expect(world.broken).toEqual([]);
  });
});

describe("monitor mode", () => {
  beforeEach(() => {
    world.mode = "monitor";
  });

  test("writes nothing to the ACL, and records and logs what would be", async () => {
    want(A, B);
    expect(await world.converge()).toMatchObject({ applied: 0, left: 0, enforced: 2 });
    expect(world.calls).toEqual([]);
    const { mode, slots, monitored } = world.table.state;
    expect({ mode, slots, monitored }).toEqual({
      mode: "monitor",
      slots: { ingress: {}, egress: {} },
      monitored: { ingress: { 1: { cidr: A }, 2: { cidr: B } }, egress: {} },
    });
    expect(world.logged.filter((line) => line === "Would change the ACL")).toHaveLength(2);
  });

  test("shows the strongest only, as if they were enforced", async () => {
    world.limit = 1;
    want(A, B);
    expect(await world.converge()).toMatchObject({ enforced: 1, waiting: 1 });
    expect(world.table.state.monitored.ingress).toEqual({ 1: { cidr: A } });
  });

  test("leaves what was enforced before as it is, and takes it up again afterwards", async () => {
    world.mode = "enforce";
    want(A);
    await world.converge();
    const { slots } = world.table.state;
    world.mode = "monitor";
    world.blocks.delete(A);
    want(B);
    world.now += SETTLE_MS;
    await world.converge();
    expect(world.denied()).toEqual([A]);
    expect(world.table.state.slots).toEqual(slots);
    world.mode = "enforce";
    await world.converge();
    expect(world.denied()).toEqual([B]);
    const { mode, monitored } = world.table.state;
    expect({ mode, monitored }).toEqual({
      mode: "enforce",
      monitored: { ingress: {}, egress: {} },
    });
  });
});

describe("directions", () => {
  test("both deny alike, each with a limit of its own", async () => {
    world.directions = ["ingress", "egress"];
    world.limit = 2;
    want(A, B, C);
    await world.converge();
    expect(world.denied("ingress")).toEqual([A, B]);
    expect(world.denied("egress")).toEqual([A, B]);
  });

  test("back to ingress: our outbound entries go, a person's and the inbound ones stay", async () => {
    world.directions = ["ingress", "egress"];
    const persons = { cidr: E, isPlainDeny: true, isPersons: true };
    world.acl.egress.set(1, persons);
    want(A, B);
    await world.converge();
    const inbound = world.calls.length;
    world.directions = ["ingress"];
    world.now += SETTLE_MS;
    await world.converge();
    expect([...world.acl.egress]).toEqual([[1, persons]]);
    expect(world.denied("ingress")).toEqual([A, B]);
    expect(world.calls.slice(inbound).map(({ direction }) => direction)).toEqual([
      "egress",
      "egress",
    ]);
  });
});

describe("never-block", () => {
  test("an address that is put on the list is unblocked at the next converge", async () => {
    want(A, B);
    await world.converge();
    world.neverBlock = protectAll([A]);
    await world.converge();
    expect(world.denied()).toEqual([B]);
  });

  test("the VPC's own ranges, as EC2 shows them, are never denied, and are recorded", async () => {
    world.vpcCidrs = ["203.0.113.0/29", "2001:db8::/64"];
    want(A, C, V6);
    await world.converge();
    expect(world.denied()).toEqual([C]);
    expect(world.table.state.vpcCidrs).toEqual(world.vpcCidrs);
  });

  describe.each<[string, (isReadable: boolean) => void]>([
    [
      "the list",
      (isReadable) => {
        world.neverBlock = isReadable ? [] : undefined;
      },
    ],
    [
      "the VPC",
      (isReadable) => {
        world.vpcCidrs = isReadable ? ["10.0.0.0/16"] : undefined;
      },
    ],
  ])("while %s cannot be read", (_what, setReadable) => {
    test("nothing new is blocked, what is blocked stays, and expiries still leave", async () => {
      setReadable(true);
      wantWith(A, 10, 60);
      want(B);
      await world.converge();
      const { vpcCidrs } = world.table.state;
      setReadable(false);
      want(C);
      world.now += 60_000;
      expect(await world.converge()).toMatchObject({ isNeverBlockReadable: false, waiting: 1 });
      expect(world.denied()).toEqual([B]);
      expect(world.table.state.vpcCidrs).toEqual(vpcCidrs);
      setReadable(true);
      expect(await world.converge()).toMatchObject({ isNeverBlockReadable: true, waiting: 0 });
      expect(world.denied()).toEqual([B, C]);
    });
  });
});

describe("the record", () => {
  test("is written before EC2 is asked: a second writer asks EC2 for nothing", async () => {
    want(A);
    world.table.readState = async () => {
      const read = world.table.state;
      world.table.state = { ...read, version: read.version + 1 };
      return read;
    };
    await expect(world.converge()).rejects.toThrow(ConflictError);
    expect(world.calls).toEqual([]);
  });

  test("is not written where it says nothing new, but for every half minute", async () => {
    want(A);
    await world.converge();
    world.now += SETTLE_MS;
    await world.converge();
    const { version, convergedAt } = world.table.state;
    world.now = convergedAt + 29_999;
    await world.converge();
    expect(world.table.state.version).toBe(version);
    world.now = convergedAt + 30_000;
    await world.converge();
    expect(world.table.state).toMatchObject({ version: version + 1, convergedAt: world.now });
  });

  test("is written at once where only what waits has changed", async () => {
    world.limit = 1;
    want(A);
    await world.converge();
    wantWith(B, 1);
    await world.converge();
    expect(world.table.state.waiting).toBe(1);
  });
});

describe("what is told", () => {
  test("how many wait: those that no entry covers", async () => {
    world.limit = 2;
    want("203.0.113.0/32", "203.0.113.1/32", C, D, E, V6);
    expect(await world.converge()).toMatchObject({ enforced: 3, waiting: 2 });
    expect(world.denied()).toEqual([V6, "203.0.113.0/31", C].toSorted());
    expect(world.table.state.waiting).toBe(2);
  });

  test("what a person changed of ours, which is repaired, and what a person put beside it", async () => {
    want(A, B);
    await world.converge();
    world.now += SETTLE_MS;
    world.acl.ingress.delete(1);
    world.acl.ingress.set(5, { cidr: E, isPlainDeny: true, isPersons: true });
    expect(await world.converge()).toMatchObject({ drifted: 1, foreign: 1, applied: 1 });
    expect(world.denied()).toEqual([A, B]);
  });
});

describe("expired blocks in the way", () => {
  const ended = (length: number) => {
    for (let i = 0; i < length; i++) wantWith(`198.51.100.${i}/32`, 10, 1);
    world.now += 1_000;
  };

  test("are removed, a hundred at each converge, and the live ones behind them are enforced", async () => {
    ended(150);
    wantWith(A, 1);
    await world.converge();
    expect(world.denied()).toEqual([A]);
    expect(world.blocks.size).toBe(51);
    await world.converge();
    expect([...world.blocks.keys()]).toEqual([A]);
  });

  test("that cannot be removed now hold nothing up", async () => {
    world.limit = 1;
    ended(20);
    wantWith(A, 1);
    world.table.failures.set("198.51.100.3/32", new ConflictError("Another writer was faster."));
    await world.converge();
    expect(world.denied()).toEqual([A]);
    expect([...world.blocks.keys()]).toEqual(["198.51.100.3/32", A]);
  });

  test("that cost no further read are left to DynamoDB", async () => {
    ended(2);
    wantWith(A, 1);
    await world.converge();
    expect(world.blocks.size).toBe(3);
  });
});
