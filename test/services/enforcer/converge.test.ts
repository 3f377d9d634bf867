import { beforeEach, describe, expect, test } from "@jest/globals";
import { convergeOnce } from "../../../services/enforcer/converge.ts";
import { createLastKnown } from "../../../shared/aws/neverBlock.ts";
import { ConflictError } from "../../../shared/aws/table/items.ts";
import { SETTLE } from "../../../shared/targets/networkAcl/plan.ts";
import {
  RefusedError,
  TargetMissingError,
  TargetNotOursError,
  ThrottledError,
} from "../../../shared/targets/target.ts";
import { createWafIpSetTarget } from "../../../shared/targets/wafIpSet/target.ts";
import { cidrOf } from "../../support/ranges.ts";
import { reportOf } from "../../support/reports.ts";
import { protectAll, slotsIn, World } from "./world.ts";

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
const refusalOf = (code: string, isForAll = false) =>
  new RefusedError(code, isForAll, new Error(`${code}.`));
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

  /** EC2 takes `seconds` to say that it is throttled, the SDK's retries included, that many times. */
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
    expect(await world.converge()).toMatchObject({ applied: 0, left: 5, enforced: 0 });
    expect(world.slots()).toMatchObject({ 1: { cidr: A } });
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
    expect(world.learntLimits).toEqual({
      "ingress/4": { limit: 3, learntAt: world.now },
    });
  });

  test("makes room for a stronger newcomer by a replace", async () => {
    want(C, D, E);
    await world.converge();
    wantWith(A, 10);
    world.now += SETTLE;
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
    world.now += SETTLE;
    expect(await world.converge()).toMatchObject({ applied: 0, left: 0 });
    expect(asked).toBe(0);
  });

  test("counts for its family and direction alone", async () => {
    world.directions = ["ingress", "egress"];
    want(A, B, C, D, V6);
    for (let i = 0; i < 3; i++) {
      world.acl.egress.set(10 + i, { cidr: E, kind: "deny", isPersons: false });
    }
    await world.converge();
    expect(world.denied()).toEqual([V6, A, B, C].toSorted());
    expect(world.denied("egress")).toEqual([V6, E, E, E].toSorted());
    expect(world.learntLimits).toMatchObject({
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
    world.now += SETTLE;
    await world.converge();
    expect(world.denied()).toEqual([A, B]);
  });
});

describe("a target that only a person can mend", () => {
  const gone = new TargetMissingError("The network ACL does not exist.");
  const denied = () => refusalOf("UnauthorizedOperation", true);

  test("gone meanwhile: what was done is recorded, and EC2 is asked for nothing more", async () => {
    want(A, B, C);
    refuse(gone, (cidr) => cidr === B);
    expect(await world.converge()).toMatchObject({ applied: 1, left: 2, problem: "missing" });
    expect(called()).toEqual([`create ${A}`]);
    expect(world.slots()).toEqual({ 1: { cidr: A, confirmedAt: world.now, was: [] } });
    expect(world.state.problem).toBe("missing");
  });

  test.each([
    ["missing", 0, 0, () => gone],
    ["not ours", 0, 0, () => new TargetNotOursError("Its description is another's.")],
    ["refused", 1, 1, denied],
  ] as const)(
    "%s: nothing is done, nothing forgotten, and the next converge goes on",
    async (problem, refused, enforced, failure) => {
      want(A);
      await world.converge();
      const { record, held } = world.state;
      world.describeFailure = failure();
      want(B);
      expect(await world.converge()).toMatchObject({
        ...{ applied: 0, problem, refused, enforced },
        // What EC2 has confirmed still stands where it only refuses to be asked.
        waiting: 2 - enforced,
      });
      expect(world.state).toMatchObject({ record, held, enforced, problem });
      expect(world.state.refused).toEqual(refused ? { [B]: "UnauthorizedOperation" } : {});
      world.describeFailure = undefined;
      expect(await world.converge()).toMatchObject({ enforced: 2, problem: null, refused: 0 });
      expect(world.state.problem).toBeNull();
      expect(world.denied()).toEqual([A, B]);
    },
  );

  test("without a subnet it denies nobody, which is reported; its entries are kept up", async () => {
    world.subnets = 0;
    want(A);
    expect(await world.converge()).toMatchObject({ enforced: 1, problem: "unassociated" });
    expect(world.denied()).toEqual([A]);
    expect(world.state.problem).toBe("unassociated");
    world.subnets = 1;
    expect(await world.converge()).toMatchObject({ problem: null });
  });
});

describe("a change that EC2 refuses", () => {
  const refusal = refusalOf("InvalidParameterValue");

  test("does not keep the others out, and is right again once nothing is refused", async () => {
    want(A, B, C);
    refuse(refusal, (cidr) => cidr === A);
    const refused = { applied: 2, left: 1, refused: 1, enforced: 2, waiting: 1 };
    expect(await world.converge()).toMatchObject({ ...refused, problem: "refused" });
    expect(world.denied()).toEqual([B, C]);
    expect(world.state).toMatchObject({
      refused: { [A]: "InvalidParameterValue" },
      problem: "refused",
    });
    refuseNothing();
    await world.converge();
    expect(world.denied()).toEqual([A, B, C].toSorted());
    expect(world.state).toMatchObject({ refused: {}, problem: null, enforced: 3 });
  });

  test("is certainly not done: a number that was free is free, one that was ours is as it was", async () => {
    world.limit = 2;
    want(A, B);
    await world.converge();
    world.now += SETTLE;
    await world.converge();
    const before = world.slots();
    world.blocks.delete(A);
    want(C);
    wantWith(V6, 1);
    refuse(refusal, (cidr) => cidr === C || cidr === V6);
    expect(await world.converge()).toMatchObject({ applied: 0, left: 2, refused: 2, enforced: 2 });
    expect(world.slots()).toEqual(before);
    expect(world.denied()).toEqual([A, B]);
  });

  test("is not counted as enforced, though a person took its entry out", async () => {
    want(A, B);
    await world.converge();
    world.now += SETTLE;
    world.acl.ingress.delete(1);
    refuse(refusal, () => true);
    expect(await world.converge()).toMatchObject({ refused: 1, enforced: 1, waiting: 1 });
    world.now += SETTLE;
    expect(await world.converge()).toMatchObject({ refused: 1, enforced: 1, waiting: 1 });
    expect(world.state.refused).toEqual({ [A]: "InvalidParameterValue" });
    refuseNothing();
    await world.converge();
    expect(world.denied()).toEqual([A, B]);
  });

  test("because the caller may do nothing: EC2 is asked once, and all of them are refused", async () => {
    world.directions = ["ingress", "egress"];
    want(A, B);
    let asked = 0;
    world.refuse = () => {
      asked++;
      return refusalOf("UnauthorizedOperation", true);
    };
    expect(await world.converge()).toMatchObject({ applied: 0, left: 4, refused: 4, enforced: 0 });
    expect(asked).toBe(1);
    expect(world.slots()).toEqual({});
    expect(world.state.refused).toEqual({
      [A]: "UnauthorizedOperation",
      [B]: "UnauthorizedOperation",
    });
    refuseNothing();
    expect(await world.converge()).toMatchObject({ applied: 4, refused: 0, enforced: 2 });
    expect(world.state).toMatchObject({ refused: {}, problem: null });
  });

  test("holds back those that need it: no gap opens", async () => {
    const [left, right] = ["203.0.113.0/32", "203.0.113.1/32"];
    want(left, right, C);
    world.limit = 2;
    await world.converge();
    expect(world.denied()).toEqual(["203.0.113.0/31", C]);
    world.limit = 3;
    world.now += SETTLE;
    refuse(refusal, (cidr) => cidr === left);
    expect(await world.converge()).toMatchObject({ applied: 0, left: 2, refused: 1 });
    expect(world.denied()).toEqual(["203.0.113.0/31", C]);
    refuseNothing();
    await world.converge();
    expect(world.denied()).toEqual([left, right, C]);
    expect(world.broken).toEqual([]);
  });

  test("or that fails otherwise may have been done: the next plan finds out", async () => {
    want(A, B);
    refuse(new Error("socket hang up"), (cidr) => cidr === A);
    expect(await world.converge()).toMatchObject({ applied: 1, left: 1, refused: 0 });
    expect(world.slots()).toEqual({
      1: { cidr: A, was: [] },
      2: { cidr: B, was: [], confirmedAt: world.now },
    });
    expect(world.state).toMatchObject({ refused: {}, problem: null });
  });
});

describe("a person's allow", () => {
  const allow = (number: number, cidr: string) => {
    world.remember();
    world.acl.ingress.set(number, { cidr, kind: "allow", isPersons: true });
  };
  const places = () => world.ours().map(([number, { cidr }]) => `${number} ${cidr}`);

  test("at number 10: our ranges go below it, those that it overlaps first", async () => {
    world.limit = 15;
    const fillers = Array.from({ length: 11 }, (_, index) => `198.51.100.${2 * index}/32`);
    for (const [index, cidr] of fillers.entries()) wantWith(cidr, 10 - (index % 3));
    wantWith(A, 1);
    await world.converge();
    expect(places()).toContain(`12 ${A}`);
    allow(10, "203.0.113.0/24");
    world.now += SETTLE;
    expect(await world.converge()).toMatchObject({ shadowed: 0, enforced: 12, waiting: 0 });
    expect(world.shadowed()).toEqual([]);
    expect(world.denied()).toEqual([...fillers, A].toSorted());
  });

  test("at number 1 lets in what it overlaps: that waits, shadowed; the rest does not", async () => {
    allow(1, "203.0.113.0/29");
    want(A, B, C);
    const shadowed = { enforced: 1, waiting: 2, shadowed: 2, foreign: 1 };
    expect(await world.converge()).toMatchObject(shadowed);
    expect(places()).toEqual([`2 ${C}`]);
    expect(world.state).toMatchObject({ enforced: 1, waiting: 2 });
    expect(world.state.shadowed.toSorted()).toEqual([A, B]);
  });

  test("of everything, at number 3, leaves room for the two strongest", async () => {
    allow(3, "0.0.0.0/0");
    want(A, B, C, D);
    expect(await world.converge()).toMatchObject({ enforced: 2, waiting: 2, shadowed: 2 });
    expect(world.denied()).toEqual([A, B]);
    expect(world.state.shadowed).toEqual([C, D]);
  });

  test("that comes while it runs: entries move below it, and back into the open when it goes", async () => {
    want(A, B, C);
    await world.converge();
    expect(places()).toEqual([`1 ${A}`, `2 ${B}`, `3 ${C}`]);
    world.acl.ingress.delete(1);
    allow(1, C);
    world.now += SETTLE;
    const shadowed = { enforced: 2, waiting: 1, shadowed: 1 };
    expect(await world.converge()).toMatchObject(shadowed);
    expect(world.denied()).toEqual([A, B]);
    expect(world.shadowed()).toEqual([]);
    expect(world.state.shadowed).toEqual([C]);
    world.acl.ingress.delete(1);
    world.now += SETTLE;
    expect(await world.converge()).toMatchObject({ enforced: 3, waiting: 0, shadowed: 0 });
    expect(world.denied()).toEqual([A, B, C].toSorted());
    expect(world.state.shadowed).toEqual([]);
  });

  test("is reckoned with though EC2 refuses to move our entry: it is not counted as enforced", async () => {
    world.numbers.first = 2;
    want(A, B);
    await world.converge();
    allow(1, A);
    world.now += SETTLE;
    refuse(refusalOf("InvalidParameterValue"), () => true);
    for (let i = 0; i < 2; i++) {
      const refused = { refused: 1, enforced: 1, waiting: 1, shadowed: 1 };
      expect(await world.converge()).toMatchObject(refused);
      world.now += SETTLE;
    }
    expect(world.denied()).toEqual([A, B]);
    refuseNothing();
    expect(await world.converge()).toMatchObject({ applied: 1, enforced: 1, waiting: 1 });
    expect(world.denied()).toEqual([B]);
  });

  test("makes what does not stand yet give way, not what stands", async () => {
    world.limit = 3;
    allow(3, "::/0");
    wantWith(A, 2);
    await world.converge();
    wantWith(B, 2);
    wantWith(C, 2);
    wantWith(V6, 1);
    expect(await world.converge()).toMatchObject({ applied: 3, enforced: 4 });
    expect(called().every((line) => line.startsWith("create"))).toBe(true);
    expect(places()).toContain(`1 ${A}`);
  });

  test("opens no gap where a range moves of which a part is wanted as well", async () => {
    const range = "203.0.113.8/30";
    world.limit = 3;
    allow(2, "::/0");
    wantWith(range, 3);
    wantWith(A, 1);
    await world.converge();
    expect(places()).toContain(`1 ${range}`);
    wantWith("203.0.113.10/32", 4);
    wantWith(V6, 1);
    world.now += SETTLE;
    expect(await world.converge()).toMatchObject({ enforced: 4, waiting: 0 });
    expect(called().slice(2, 4)).toEqual([`create ${range}`, `replace ${V6}`]);
    expect(world.broken).toEqual([]);
  });

  test("moves a range of the other family out of the way, though its own has no room to spare", async () => {
    world.limit = 3;
    wantWith(B, 2);
    wantWith(D, 2);
    await world.converge();
    allow(3, "::/0");
    wantWith(A, 3);
    wantWith(V6, 1);
    world.now += SETTLE;
    expect(await world.converge()).toMatchObject({ enforced: 4, waiting: 0, shadowed: 0 });
    expect(world.denied()).toEqual([V6, A, B, D].toSorted());
    expect(world.broken).toEqual([]);
  });

  test("in one direction shadows there alone", async () => {
    world.directions = ["ingress", "egress"];
    world.acl.egress.set(1, { cidr: A, kind: "allow", isPersons: true });
    want(A, B);
    expect(await world.converge()).toMatchObject({ enforced: 2, shadowed: 1 });
    expect(world.denied("ingress")).toEqual([A, B]);
    expect(world.denied("egress")).toEqual([B]);
  });
});

test("a deny that a person puts where ours has just left is the person's, however long we look", async () => {
  want(A, B);
  await world.converge();
  world.blocks.delete(A);
  await world.converge();
  world.acl.ingress.set(1, { cidr: E, kind: "deny", isPersons: true });
  want(C);
  for (let i = 0; i < 15; i++) {
    world.now += SETTLE;
    expect(await world.converge()).toMatchObject({ enforced: 2, foreign: 1, drifted: 0 });
  }
  expect(world.acl.ingress.get(1)).toMatchObject({ cidr: E });
  expect(world.denied()).toEqual([B, C]);
});

describe("a person who takes a number between the plan and its call", () => {
  const persons = (kind: "allow" | "deny", cidr = E) => ({ cidr, kind, isPersons: true }) as const;
  const meanwhile = (entry: ReturnType<typeof persons>) => {
    world.meanwhile = () => void world.acl.ingress.set(1, entry);
  };

  test.each([persons("allow"), persons("deny"), persons("allow", A)])(
    "keeps it, %j: the same converge works around it",
    async (entry) => {
      want(A, B);
      meanwhile(entry);
      const shadowed = entry.kind === "allow" && entry.cidr === A ? 1 : 0;
      const enforced = 2 - shadowed;
      expect(await world.converge()).toMatchObject({
        applied: enforced,
        left: 0,
        enforced,
        shadowed,
      });
      expect(world.acl.ingress.get(1)).toEqual(entry);
      expect(world.ownedNumbers()).not.toContain(1);
      expect(world.broken).toEqual([]);
    },
  );

  test("keeps it though our own entry has just left that number", async () => {
    want(A, B);
    await world.converge();
    world.blocks.delete(A);
    await world.converge();
    want(C);
    meanwhile(persons("allow"));
    expect(await world.converge()).toMatchObject({ applied: 1, left: 0, enforced: 2 });
    expect(world.acl.ingress.get(1)).toEqual(persons("allow"));
    expect(world.broken).toEqual([]);
  });

  test("keeps it though EC2 does not show it yet: the number is not tried again before it does", async () => {
    world.lagMs = SETTLE - 1;
    want(A, B);
    world.meanwhile = () => {
      world.remember();
      world.acl.ingress.set(1, persons("deny"));
    };
    expect(await world.converge()).toMatchObject({ applied: 1, left: 1, enforced: 1 });
    world.now += 10_000;
    expect(await world.converge()).toMatchObject({ applied: 1, left: 0, enforced: 2 });
    expect(world.acl.ingress.get(1)).toEqual(persons("deny"));
    expect(world.broken).toEqual([]);
  });
});

describe("a create of ours whose answer is lost", () => {
  beforeEach(() => {
    want(A);
    // The SDK asks again, and is told that the number is taken.
    world.meanwhile = () => {
      world.remember();
      world.acl.ingress.set(1, { cidr: A, kind: "deny", isPersons: false });
    };
  });

  test("is done", async () => {
    expect(await world.converge()).toMatchObject({ applied: 1, left: 0, enforced: 1 });
    expect(world.calls).toEqual([]);
    expect(world.denied()).toEqual([A]);
  });

  test("stays on record though EC2 does not show it yet: it leaves with its block", async () => {
    world.lagMs = SETTLE - 1;
    expect(await world.converge()).toMatchObject({ applied: 0, left: 1, enforced: 0 });
    expect(world.denied()).toEqual([A]);
    world.blocks.delete(A);
    world.now += SETTLE;
    await world.converge();
    expect(world.denied()).toEqual([]);
  });

  test("stays on record though EC2 then shows nothing of the ACL any more", async () => {
    const { meanwhile } = world;
    world.meanwhile = () => {
      meanwhile?.();
      world.describeFailure = refusalOf("UnauthorizedOperation");
    };
    expect(await world.converge()).toMatchObject({ applied: 0, left: 1, enforced: 0 });
    world.describeFailure = undefined;
    world.meanwhile = undefined;
    world.blocks.delete(A);
    await world.converge();
    expect(world.denied()).toEqual([]);
  });

  test("makes way for what is wanted by then", async () => {
    world.lagMs = SETTLE - 1;
    await world.converge();
    world.lagMs = 0;
    world.blocks.delete(A);
    want(B);
    const shown = world.acl.ingress.get(1);
    world.acl.ingress.delete(1);
    world.meanwhile = () => void (shown && world.acl.ingress.set(1, shown));
    expect(await world.converge()).toMatchObject({ applied: 1, left: 0, enforced: 1 });
    expect(called()).toEqual([`replace ${B}`]);
    expect(world.denied()).toEqual([B]);
  });
});

describe("monitor mode", () => {
  const WOULD = "Would change the target";
  const monitored = () => slotsIn(world.state.monitored).ingress;

  beforeEach(() => {
    world.mode = "monitor";
  });

  test("writes nothing to the ACL, and records and logs what would be", async () => {
    want(A, B);
    const nothing = { applied: 0, left: 0, enforced: 0, waiting: 2 };
    expect(await world.converge()).toMatchObject(nothing);
    expect(world.calls).toEqual([]);
    expect(world.state).toMatchObject({ mode: "monitor", enforced: 0, waiting: 2 });
    expect(world.slots()).toEqual({});
    expect(monitored()).toEqual({ 1: { cidr: A, confirmedAt: 0 }, 2: { cidr: B, confirmedAt: 0 } });
    expect(world.logged.filter((line) => line === WOULD)).toHaveLength(2);
  });

  test("says what would change once, not at each converge", async () => {
    want(A);
    await world.converge();
    world.now += SETTLE;
    await world.converge();
    expect(world.logged.filter((line) => line === WOULD)).toHaveLength(1);
  });

  test("shows the strongest only, and keeps up with the list", async () => {
    world.limit = 1;
    want(A, B);
    await world.converge();
    expect(monitored()).toEqual({ 1: { cidr: A, confirmedAt: 0 } });
    world.blocks.delete(A);
    await world.converge();
    expect(monitored()).toEqual({ 1: { cidr: B, confirmedAt: 0 } });
    expect(world.calls).toEqual([]);
  });

  test("takes our own entries out, and leaves a person's", async () => {
    world.mode = "enforce";
    want(A, B);
    await world.converge();
    world.mode = "monitor";
    world.acl.ingress.set(7, { cidr: E, kind: "deny", isPersons: true });
    world.now += SETTLE;
    const taken = { applied: 2, enforced: 0, waiting: 2, foreign: 1, drifted: 0 };
    expect(await world.converge()).toMatchObject(taken);
    expect([...world.acl.ingress.keys()]).toEqual([7]);
    expect(Object.values(monitored()).map(({ cidr }) => cidr)).toEqual([A, B]);
  });

  test("enforces what it showed once the mode is enforce, and shows nothing more", async () => {
    want(A);
    await world.converge();
    world.mode = "enforce";
    expect(await world.converge()).toMatchObject({ applied: 1, enforced: 1, waiting: 0 });
    expect(world.denied()).toEqual([A]);
    expect(world.state).toMatchObject({ mode: "enforce", monitored: null });
  });
});

test.each([
  [13_000, false],
  [11_000, true],
])(
  "what would be in monitor mode is recorded only where the item has room: %d names each",
  async (names, isRecorded) => {
    world.table.states.write = async (id, state) => {
      const written = { ...state, version: state.version + 1 };
      world.table.targetStates.set(id, written);
      return written;
    };
    const sets = {
      read: async () => ({ addresses: [], lockToken: "token" }),
      update: async () => {},
    };
    const target = createWafIpSetTarget(sets, { id: "edge", leastSeverity: 1 });
    const record = { ...target.record, ours: () => Array.from({ length: names }, () => A) };
    world.mode = "monitor";
    want(A);
    await convergeOnce(world.enforcer(), { ...target, record }, world.now + 60_000);
    expect(world.table.targetStates.get("edge")?.monitored !== null).toBe(isRecorded);
  },
);

describe("a holder", () => {
  const held = () => world.state.held;
  const challenge = (count: number, extra = {}) => {
    for (let i = 0; i < count; i++) {
      const cidr = `198.51.100.${2 * i}/32`;
      const change = { reportedAt: world.now, severity: 5, seconds: 3_600, ...extra };
      world.report(reportOf(cidr, change));
    }
  };

  beforeEach(async () => {
    world.limit = 1;
    world.margin = 10_000;
    wantWith(A, 5);
    await world.converge();
    // A later report scores higher: by as much as it is later.
    world.now += 20_000;
  });

  test("stays though ninety that score more by less than the margin push it out of what is read", async () => {
    world.margin = 30_000;
    challenge(90);
    for (let i = 0; i < 3; i++) await world.converge();
    expect(world.denied()).toEqual([A]);
    expect(held()).toEqual([A]);
  });

  test("goes where it is outscored by more than the margin, or by a higher severity", async () => {
    challenge(90);
    await world.converge();
    expect(world.denied()).toHaveLength(1);
    expect(world.denied()).not.toEqual([A]);
    const [holder] = world.denied();
    expect(held()).toEqual([holder]);
    wantWith(B, 6);
    await world.converge();
    expect(world.denied()).toEqual([B]);
  });

  test("is not recorded where there is no margin, and goes to any that scores more", async () => {
    world.margin = 0;
    await world.converge();
    expect(held()).toEqual([]);
    challenge(90);
    await world.converge();
    expect(world.denied()).not.toEqual([A]);
  });

  test("of a merged range is each block in it", async () => {
    const [left, right] = ["203.0.113.0/32", "203.0.113.1/32"];
    wantWith(right, 5);
    await world.converge();
    expect(world.denied()).toEqual(["203.0.113.0/31"]);
    expect(held().toSorted()).toEqual([left, right]);
  });

  test("in monitor mode is one that would hold a place", async () => {
    world.mode = "monitor";
    await world.converge();
    challenge(90, { reportedAt: world.now - 15_000 });
    await world.converge();
    expect(held()).toEqual([A]);
  });

  test("goes where it ends or is unblocked, however large the margin", async () => {
    world.margin = 3_600_000;
    challenge(90);
    world.blocks.delete(A);
    await world.converge();
    expect(world.denied()).not.toContain(A);
    expect(world.denied()).toHaveLength(1);
  });

  test("goes where the target is no longer for blocks of its severity", async () => {
    expect(held()).toEqual([A]);
    world.leastSeverity = 6;
    expect(await world.converge()).toMatchObject({ enforced: 0, waiting: 0 });
    expect(world.denied()).toEqual([]);
    expect(world.state).toMatchObject({ leastSeverity: 6, held: [] });
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
    const persons = { cidr: E, kind: "deny", isPersons: true } as const;
    world.acl.egress.set(1, persons);
    want(A, B);
    await world.converge();
    const inbound = world.calls.length;
    world.directions = ["ingress"];
    world.now += SETTLE;
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
  test("of everything takes all of our entries out at the next converge, and no person's", async () => {
    want(A, B, V6);
    world.acl.ingress.set(7, { cidr: E, kind: "deny", isPersons: true });
    await world.converge();
    world.neverBlock = protectAll(["0.0.0.0/0", "::/0"]);
    world.now += SETTLE;
    expect(await world.converge()).toMatchObject({ enforced: 0, waiting: 3 });
    expect([...world.acl.ingress.keys()]).toEqual([7]);
    world.neverBlock = [];
    world.now += SETTLE;
    await world.converge();
    expect(world.denied()).toEqual([V6, A, B].toSorted());
  });

  test("that cannot be read from a cold start on is what it was: new blocks are enforced, the listed are not", async () => {
    world.table.ownersList = { value: B, readAt: world.now - 86_400_000 };
    const failing = {
      get: async () => {
        throw new Error("Rate exceeded");
      },
    };
    const log = { warn: () => {}, error: () => {} };
    const { states } = world.table;
    world.lastKnown = createLastKnown(
      failing,
      "never-block",
      async () => [],
      async () => ({ ranges: new Map(), isCurrent: true }),
      states,
      log as never,
      () => world.now,
    );
    want(A, B);
    expect(await world.converge()).toMatchObject({ enforced: 1, isNeverBlockReadable: false });
    expect(world.denied()).toEqual([A]);
    world.now += 1;
    want(C);
    await world.converge();
    expect(world.denied()).toEqual([A]); // a day is over: nothing new
  });

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
    expect(world.state.ownRanges).toEqual(world.vpcCidrs);
  });

  test("that cannot be read: nothing new is blocked, what is blocked stays, and expiries still leave", async () => {
    wantWith(A, 10, 60);
    want(B);
    await world.converge();
    world.neverBlock = undefined;
    want(C);
    world.now += 60_000;
    expect(await world.converge()).toMatchObject({ isNeverBlockReadable: false, waiting: 1 });
    expect(world.denied()).toEqual([B]);
    world.neverBlock = [];
    expect(await world.converge()).toMatchObject({ isNeverBlockReadable: true, waiting: 0 });
    expect(world.denied()).toEqual([B, C]);
  });

  describe("while EC2 does not show the VPC", () => {
    test("its ranges are what they were, and new blocks are denied", async () => {
      world.vpcCidrs = ["203.0.113.0/29"];
      want(C);
      await world.converge();
      world.vpcCidrs = undefined;
      want(A, D);
      expect(await world.converge()).toMatchObject({ isNeverBlockReadable: false, enforced: 2 });
      expect(world.denied()).toEqual([C, D].toSorted());
      expect(world.state.ownRanges).toEqual(["203.0.113.0/29"]);
    });

    test("and never has: nothing is blocked until it does", async () => {
      world.vpcCidrs = undefined;
      want(A);
      expect(await world.converge()).toMatchObject({ isNeverBlockReadable: false, waiting: 1 });
      world.vpcCidrs = ["10.0.0.0/16"];
      expect(await world.converge()).toMatchObject({ isNeverBlockReadable: true, enforced: 1 });
    });
  });
});

describe("more of the strongest than are read may have no place", () => {
  /** Twice as many as one reading finds, in a range of their own. */
  const inTheWay = Array.from({ length: 50 }, (_, index) => `198.51.100.${2 * index}/32`);
  beforeEach(() => {
    for (const cidr of inTheWay) wantWith(cidr, 9);
    want(A, B, C, D, E);
  });

  test("because they are on the never-block list: the places are the others'", async () => {
    await world.converge();
    expect(world.denied()).not.toContain(E);
    world.neverBlock = protectAll(["198.51.100.0/24"]);
    expect(await world.converge()).toMatchObject({ enforced: 5 });
    expect(world.denied()).toEqual([A, B, C, D, E].toSorted());
  });

  test("because a person's allow shadows them: the places are the others'", async () => {
    world.acl.ingress.set(1, { cidr: "198.51.100.0/24", kind: "allow", isPersons: true });
    expect(await world.converge()).toMatchObject({ enforced: 5, shadowed: 3 });
    expect(world.denied()).toEqual([A, B, C, D, E].toSorted());
  });

  test("and some of them still find one below the allow", async () => {
    world.acl.ingress.set(3, { cidr: "198.51.100.0/24", kind: "allow", isPersons: true });
    expect(await world.converge()).toMatchObject({ enforced: 5 });
    expect(world.denied().filter((cidr) => inTheWay.includes(cidr))).toHaveLength(2);
  });
});

test("a list without end of protected blocks is not read to its end", async () => {
  for (let index = 0; index < 3_000; index++)
    wantWith(`198.18.${index >> 7}.${2 * (index & 127)}/32`, 9);
  want(A);
  world.neverBlock = protectAll(["198.18.0.0/15"]);
  const { readStrongest } = world.table.blocks;
  let most = 0;
  world.table.blocks.readStrongest = async (family, wanted, now) => {
    most = Math.max(most, wanted.count);
    return readStrongest(family, wanted, now);
  };
  await world.converge();
  expect(most).toBe(5 * 5 * 64);
});

describe("the record", () => {
  test("of an entry that was not there to delete outlasts whoever may still be making it", async () => {
    want(A);
    await world.converge(1); // recorded, while another enforcer's create waits for EC2's grant
    world.blocks.delete(A);
    expect(await world.converge()).toMatchObject({ applied: 1, left: 0 });
    world.now += 55_000;
    await world.converge();
    world.remember();
    world.acl.ingress.set(1, { cidr: A, kind: "deny", isPersons: false });
    world.now += SETTLE;
    await world.converge();
    expect(world.denied()).toEqual([]);
    world.now += 60_000 + SETTLE;
    await world.converge();
    expect(world.slots()).toEqual({});
  });

  test("is written before EC2 is asked: a second writer asks EC2 for nothing", async () => {
    want(A);
    const { read } = world.table.states;
    world.table.states.read = async (id, kind) => {
      const state = await read(id, kind);
      world.table.targetStates.set(id, { ...state, version: state.version + 1 });
      return state;
    };
    await expect(world.converge()).rejects.toThrow(ConflictError);
    expect(world.calls).toEqual([]);
  });

  test("is not written where it says nothing new, but for every half minute", async () => {
    want(A);
    await world.converge();
    world.now += SETTLE;
    await world.converge();
    const { version, convergedAt } = world.state;
    world.now = convergedAt + 29_999;
    await world.converge();
    expect(world.state.version).toBe(version);
    world.now = convergedAt + 30_000;
    await world.converge();
    expect(world.state).toMatchObject({ version: version + 1, convergedAt: world.now });
  });

  test("is written at once where only what waits has changed", async () => {
    world.limit = 1;
    want(A);
    await world.converge();
    wantWith(B, 1);
    await world.converge();
    expect(world.state.waiting).toBe(1);
  });
});

describe("what is reported", () => {
  test("how many wait: those that no entry covers", async () => {
    world.limit = 2;
    want("203.0.113.0/32", "203.0.113.1/32", C, D, E, V6);
    expect(await world.converge()).toMatchObject({ enforced: 3, waiting: 2 });
    expect(world.denied()).toEqual([V6, "203.0.113.0/31", C].toSorted());
    expect(world.state.waiting).toBe(2);
  });

  test("not those that the entry of a wider block covers", async () => {
    world.limit = 1;
    want("203.0.113.0/24", A, B, "2001:db8::/56", V6);
    expect(await world.converge()).toMatchObject({ enforced: 2, waiting: 0 });
  });

  test("what a person changed of ours, which is repaired, and what a person put beside it", async () => {
    want(A, B);
    await world.converge();
    world.now += SETTLE;
    world.acl.ingress.delete(1);
    world.acl.ingress.set(5, { cidr: E, kind: "deny", isPersons: true });
    expect(await world.converge()).toMatchObject({ drifted: 1, foreign: 1, applied: 1 });
    expect(world.denied()).toEqual([A, B]);
  });
});

describe("expired blocks in the way", () => {
  const ended = (length: number, severity = 10) => {
    for (let i = 0; i < length; i++)
      wantWith(`198.51.${100 + (i >> 7)}.${2 * (i & 127)}/32`, severity, 1);
  };

  test("are named to be swept, from the strongest on, and the live ones behind them are enforced", async () => {
    ended(26);
    world.now += 1_000;
    wantWith(A, 1);
    await world.converge();
    expect(world.denied()).toEqual([A]);
    expect(world.swept).toHaveLength(1);
    expect(world.swept[0]).toMatch(/^4#10#/);
  });

  test("that cost no further read are left to DynamoDB", async () => {
    ended(2);
    world.now += 1_000;
    wantWith(A, 1);
    await world.converge();
    expect(world.swept).toEqual([]);
  });

  describe("so many that the rest of their level is not read", () => {
    beforeEach(async () => {
      world.limit = 2;
      wantWith(B, 10);
      await world.converge();
      ended(world.table.passed);
      world.now += 1_000;
    });

    test("hide no block of a weaker level", async () => {
      wantWith(A, 9);
      await world.converge();
      expect(world.denied()).toEqual([A, B]);
    });

    test.each([0, 10_000])(
      "let none go that holds a place, with a margin of %d",
      async (margin) => {
        world.margin = margin;
        await world.converge();
        wantWith(A, 9);
        await world.converge();
        expect(world.denied()).toEqual([A, B]);
        expect(world.calls.filter(({ kind }) => kind !== "create")).toEqual([]);
      },
    );

    test("nor one that holds a place within a merged range", async () => {
      const [left, right] = ["203.0.113.32/32", "203.0.113.33/32"];
      world.margin = 0;
      wantWith(left, 10);
      wantWith(right, 10);
      await world.converge();
      const merged = [B, "203.0.113.32/31"].toSorted();
      expect(world.denied().toSorted()).toEqual(merged);
      ended(world.table.passed);
      world.now += 1_000;
      await world.converge();
      expect(world.denied().toSorted()).toEqual(merged);
    });

    describe("in a pair of IP sets, which records no holders", () => {
      const sets = { "edge-v4": [] as string[], "edge-v6": [] as string[] };
      type Name = keyof typeof sets;
      let fails: boolean;
      beforeEach(() => {
        sets["edge-v4"] = [];
        fails = false;
        // The record of a pair of sets is no JSON, which is what the table in memory copies.
        world.table.states.write = async (id, state) => {
          const written = { ...state, version: state.version + 1 };
          world.table.targetStates.set(id, written);
          return written;
        };
      });
      const converge = () => {
        const target = createWafIpSetTarget(
          {
            read: async (name) => ({
              addresses: sets[name as Name].map(cidrOf),
              lockToken: "token",
            }),
            async update(name, addresses) {
              sets[name as Name] = [...addresses];
              if (fails) throw new Error("socket hang up");
            },
          },
          { id: "edge", leastSeverity: 1 },
        );
        return convergeOnce(world.enforcer(), target, world.now + 60_000);
      };
      /** So many that the strongest live one is hidden from this target too. */
      const flood = () => {
        for (let i = 0; i < world.table.passed; i++) wantWith(`45.0.0.${i}/32`, 10, 1);
        world.now += 1_000;
      };

      test("they let none go that stands there, as long as it is wanted", async () => {
        for (const { cidr } of world.blocks.values())
          if (cidr.text !== B) world.blocks.delete(cidr.text);
        wantWith(C, 10);
        await converge();
        expect(sets["edge-v4"].toSorted()).toEqual([B, C].toSorted());
        flood();
        wantWith(D, 9);
        expect((await converge()).converged).toMatchObject({ enforced: 3 });
        expect(sets["edge-v4"].toSorted()).toEqual([B, C, D].toSorted());
        world.blocks.delete(C);
        await converge();
        expect(sets["edge-v4"].toSorted()).toEqual([B, D].toSorted());
      });

      test("nor one that WAF has taken without saying so", async () => {
        for (const { cidr } of world.blocks.values())
          if (cidr.text !== B) world.blocks.delete(cidr.text);
        fails = true;
        await converge();
        fails = false;
        flood();
        await converge();
        expect(sets["edge-v4"]).toEqual([B]);
      });
    });

    test("do not keep one that has ended, or that is unblocked", async () => {
      world.blocks.delete(B);
      await world.converge();
      expect(world.denied()).toEqual([]);
    });
  });
});

describe("an operator's order", () => {
  const order = (mode: "enforce" | "monitor" | "off" | undefined) =>
    world.table.orders.setMode(mode);
  const person = { cidr: E, kind: "deny", isPersons: true } as const;

  beforeEach(async () => {
    world.directions = ["ingress", "egress"];
    want(A, B, V6);
    world.acl.ingress.set(7, person);
    await world.converge();
    world.now += SETTLE;
  });

  test("off: all of our entries leave, a person's stay, and enforce brings ours back", async () => {
    await order("off");
    expect(await world.converge()).toMatchObject({ enforced: 0, waiting: 3, nextEnd: undefined });
    expect([...world.acl.ingress]).toEqual([[7, person]]);
    expect([...world.acl.egress]).toEqual([]);
    expect(world.state).toMatchObject({ mode: "off", enforced: 0, held: [], monitored: null });
    await order("enforce");
    world.now += SETTLE;
    expect(await world.converge()).toMatchObject({ enforced: 3, waiting: 0 });
    expect(world.denied("ingress")).toEqual([V6, A, B].toSorted());
    expect(world.denied("egress")).toEqual([V6, A, B].toSorted());
  });

  test("stands above the deployment's own mode, either way, until it is taken back", async () => {
    await order("monitor");
    await world.converge();
    expect([world.denied(), world.state.mode]).toEqual([[], "monitor"]);
    world.mode = "monitor";
    await order("enforce");
    await world.converge();
    expect([world.denied().length, world.state.mode]).toEqual([3, "enforce"]);
    await order(undefined);
    await world.converge();
    expect([world.denied(), world.state.mode]).toEqual([[], "monitor"]);
  });

  test("that cannot be read fails the converge: nothing changes meanwhile", async () => {
    world.table.orders.read = async () => {
      throw new Error("The table is down.");
    };
    world.blocks.delete(A);
    await expect(world.converge()).rejects.toThrow("The table is down.");
    expect(world.denied()).toContain(A);
  });

  test("is shown by a target that cannot be read, too", async () => {
    await order("off");
    world.describeFailure = new TargetMissingError("The network ACL does not exist.");
    await world.converge();
    expect(world.state).toMatchObject({ mode: "off", problem: "missing" });
  });
});

describe("who is spared in merges", () => {
  const [left, right] = ["203.0.113.4/32", "203.0.113.6/32"];
  const BETWEEN = "203.0.113.5/32";
  const hold = (cidr: string, seconds = 60) =>
    world.table.orders.hold({
      cidr: cidrOf(cidr),
      requestedAt: world.now,
      until: world.now / 1000 + seconds,
    });

  beforeEach(() => {
    world.limit = 1;
    world.maxInnocents = 16;
    want(left, right);
  });

  test("nobody, where nobody is known", async () => {
    await world.converge();
    expect(world.denied()).toEqual(["203.0.113.4/30"]);
  });

  test("an address under a hold, until its end: then the range splits no more", async () => {
    await hold(BETWEEN);
    await world.converge();
    expect(world.denied()).toEqual([left]);
    world.now += 60_000;
    await world.converge();
    expect(world.denied()).toEqual(["203.0.113.4/30"]);
  });

  test("an address that a caller calls from, although its range stands already", async () => {
    await world.converge();
    world.sources = { recent: async () => [cidrOf(BETWEEN)] };
    world.now += SETTLE;
    await world.converge();
    expect(world.denied()).toEqual([left]);
  });

  test("but what is wanted itself is blocked all the same: an operator may", async () => {
    await hold(left);
    world.sources = { recent: async () => [cidrOf(left)] };
    await world.converge();
    expect(world.denied()).toEqual(["203.0.113.4/30"]);
  });

  test("everybody, while it is not known who called: nothing else is kept up", async () => {
    world.sources = {
      recent: async () => {
        throw new Error("The table is down.");
      },
    };
    expect(await world.converge()).toMatchObject({ enforced: 1, waiting: 1 });
    expect(world.denied()).toEqual([left]);
    expect(world.logged.join()).toContain("no merged range covers innocents");
  });
});

describe("an operator's block", () => {
  const byOperator = (cidr: string, severity: number) =>
    world.report(
      reportOf(cidr, { reportedAt: world.now, severity, seconds: 3_600, byOperator: true }),
    );

  test("stands above all that detectors want", async () => {
    world.limit = 1;
    wantWith(A, 10);
    byOperator(B, 1);
    await world.converge();
    expect(world.denied()).toEqual([B]);
  });

  test("is for every target, whatever severity it is for, and is held there", async () => {
    world.leastSeverity = 6;
    world.limit = 1;
    world.margin = 10_000;
    byOperator(B, 1);
    wantWith(A, 5);
    await world.converge();
    expect(world.denied()).toEqual([B]);
    // It is no longer among what is read, and yet compared.
    world.table.blocks.readStrongest = async () => ({
      strongest: [],
      expiredFrom: [],
      isPartial: false,
    });
    await world.converge();
    expect(world.denied()).toEqual([B]);
  });
});
