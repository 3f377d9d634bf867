import { beforeEach, describe, expect, test } from "@jest/globals";
import type { Converged, Round } from "../../../services/enforcer/converge.ts";
import { type Convergence, createConvergeAll } from "../../../services/enforcer/convergeAll.ts";
import { ThrottledError } from "../../../shared/targets/target.ts";
import { NOW } from "../../support/reports.ts";

// Several targets in one converge, on a clock of the test's own: whoever waits is woken in the order of
// the moments that they wait for.

const SECOND = NOW / 1000;

let now: number;
let sleepers: { at: number; wake: () => void }[];
beforeEach(() => {
  now = NOW;
  sleepers = [];
});

const sleep = (ms: number, signal?: AbortSignal) =>
  new Promise<void>((wake) => {
    const sleeper = { at: now + ms, wake };
    sleepers.push(sleeper);
    signal?.addEventListener("abort", () => {
      sleepers = sleepers.filter((one) => one !== sleeper);
      wake();
    });
  });

/** Lets everybody go on, and the clock with them, until the promise is settled. */
async function run<T>(promise: Promise<T>): Promise<T> {
  let isOver = false;
  const over = () => {
    isOver = true;
  };
  promise.then(over, over);
  for (;;) {
    await new Promise(setImmediate);
    if (isOver) return promise;
    const [next] = sleepers.toSorted((a, b) => a.at - b.at);
    if (!next) throw new Error("Nobody waits, and it does not end.");
    sleepers.splice(sleepers.indexOf(next), 1);
    now = Math.max(now, next.at);
    next.wake();
  }
}

const nothing: Converged = {
  ...{ applied: 0, left: 0, refused: 0, drifted: 0, foreign: 0, enforced: 0, waiting: 0 },
  ...{ shadowed: 0, problem: null, isNeverBlockReadable: true, nextEnd: undefined },
  timesToEntry: [],
};
const roundOf = (
  converged: Partial<Converged> = {},
  rest: Partial<Omit<Round, "converged">> = {},
): Round => ({
  converged: { ...nothing, ...converged },
  isInterrupted: false,
  hasLearnt: false,
  ...rest,
});
/** A target, and the moments at which it was converged, since the beginning. */
function targetOf(id: string, once: Convergence["once"], interval = 0) {
  const at: number[] = [];
  const target = (round: typeof once): Convergence => ({
    ...{ id, interval },
    once(deadline) {
      at.push(now - NOW);
      return round(deadline);
    },
  });
  return { at, ...target(once) };
}
/** It has nothing to do. */
const calm = (id: string, converged: Partial<Converged> = {}, interval = 0) =>
  targetOf(id, async () => roundOf(converged), interval);
/** Each of that many rounds takes ten seconds, in which the target throttles. */
const throttling = (id: string, rounds: number) => {
  let round = 0;
  return targetOf(id, async () => {
    await sleep(10_000);
    return roundOf({ applied: 1, left: 9 }, { isInterrupted: ++round < rounds });
  });
};
const all = (...targets: Convergence[]) => createConvergeAll(targets, () => now, sleep);
const inMinutes = (minutes: number) => NOW + minutes * 60_000;

test("times to the entry of all rounds are taken together", async () => {
  let round = 0;
  const one = targetOf("one", async () =>
    roundOf({ timesToEntry: [++round] }, { isInterrupted: round < 3 }),
  );
  const { converged } = await run(createConvergeAll([one], () => now, sleep)(now + 60_000));
  expect(converged.get("one")?.timesToEntry).toEqual([1, 2, 3]);
});

describe("one target", () => {
  test("is converged once where nothing is left", async () => {
    const one = calm("one", { applied: 3, enforced: 3 });
    const { converged, failed } = await run(all(one)(inMinutes(1)));
    expect(one.at).toEqual([0]);
    expect([...converged]).toEqual([["one", { ...nothing, applied: 3, enforced: 3 }]]);
    expect(failed.size).toBe(0);
  });

  test("that throttles goes on at once; all that it did is counted, the rest is as it was last", async () => {
    const one = throttling("one", 3);
    const { converged } = await run(all(one)(inMinutes(1)));
    expect(one.at).toEqual([0, 10_000, 20_000]);
    expect(converged.get("one")).toMatchObject({ applied: 3, left: 9 });
  });

  test("that throttles for ever ends at the deadline, and is tried again soon", async () => {
    const one = throttling("one", Number.POSITIVE_INFINITY);
    const { wakeUpAt } = await run(all(one)(inMinutes(1)));
    expect(one.at).toHaveLength(6);
    expect(wakeUpAt).toBe(SECOND + 61);
  });

  test("that throttles without taking time is planned a hundred times at most", async () => {
    const one = targetOf("one", async () => roundOf({ left: 1 }, { isInterrupted: true }));
    await run(all(one)(inMinutes(1)));
    expect(one.at).toHaveLength(100);
  });

  test("that met a quota plans again with what it learnt, three times at most", async () => {
    const one = targetOf("one", async () => roundOf({ applied: 1 }, { hasLearnt: true }));
    const { converged } = await run(all(one)(inMinutes(1)));
    expect(one.at).toEqual([0, 0, 0]);
    expect(converged.get("one")?.applied).toBe(3);
  });

  test("is asked to end at the deadline", async () => {
    const deadlines: number[] = [];
    const one = targetOf("one", async (deadline) => {
      deadlines.push(deadline);
      return roundOf();
    });
    await run(all(one)(inMinutes(2)));
    expect(deadlines).toEqual([inMinutes(2)]);
  });
});

describe("several targets, while one throttles for two minutes", () => {
  test("keep up with the list: they look again every half second, until it is done", async () => {
    const [busy, one, two] = [throttling("busy", 12), calm("one"), calm("two")];
    const { converged } = await run(all(busy, one, two)(inMinutes(10)));
    expect(busy.at).toHaveLength(12);
    expect(one.at.slice(0, 4)).toEqual([0, 500, 1_000, 1_500]);
    expect(two.at).toEqual(one.at);
    expect(Math.min(100 * 500, 119_500) - 500).toBeLessThanOrEqual(one.at.at(-1) ?? 0);
    expect([...converged.keys()]).toEqual(["busy", "one", "two"]);
  });

  test("end as well where it ends without being done", async () => {
    const hasty = targetOf("hasty", async () => roundOf({ left: 1 }, { isInterrupted: true }));
    await run(all(hasty, calm("one"))(inMinutes(10)));
    expect(hasty.at).toHaveLength(100);
    expect(now - NOW).toBeLessThanOrEqual(500);
  });

  test("end soon after it has: nobody is looked at for nothing", async () => {
    const [busy, one] = [throttling("busy", 2), calm("one")];
    await run(all(busy, one)(inMinutes(10)));
    expect(one.at.at(-1)).toBeLessThanOrEqual(20_000);
    expect(now - NOW).toBeLessThanOrEqual(20_500);
  });

  test("put in what comes meanwhile, and count all that they did", async () => {
    const busy = throttling("busy", 3);
    const one = targetOf("one", async () => roundOf({ applied: now === NOW + 5_000 ? 2 : 0 }));
    const { converged } = await run(all(busy, one)(inMinutes(10)));
    expect(converged.get("one")?.applied).toBe(2);
  });

  test("end at the deadline with it", async () => {
    const [busy, one] = [throttling("busy", Number.POSITIVE_INFINITY), calm("one")];
    await run(all(busy, one)(NOW + 15_000));
    expect(busy.at).toEqual([0, 10_000]);
    expect(one.at.every((at) => at <= 15_000)).toBe(true);
    expect(now - NOW).toBeLessThanOrEqual(20_000);
  });

  test("are not held up by one that fails and one that is gone, nor are these", async () => {
    const busy = throttling("busy", 2);
    const failure = new ThrottledError("Request limit exceeded.");
    const failing = targetOf("failing", async () => {
      throw failure;
    });
    const gone = calm("gone", { problem: "missing" });
    const one = calm("one", { enforced: 4 });
    const { converged, failed } = await run(all(failing, gone, busy, one)(inMinutes(10)));
    expect([...failed]).toEqual([["failing", failure]]);
    expect(converged.get("gone")?.problem).toBe("missing");
    expect(converged.get("one")?.enforced).toBe(4);
    expect(converged.get("busy")?.applied).toBe(2);
    expect(one.at.slice(0, 2)).toEqual([0, 500]);
  });
});

test("a target that fails once and then does not has not failed: it is converged again at once", async () => {
  let round = 0;
  const one = targetOf("one", async () => {
    if (++round === 1) throw new Error("Once.");
    return roundOf({ enforced: 1 });
  });
  const { converged, failed } = await run(all(one)(inMinutes(1)));
  expect(one.at).toEqual([0, 0]);
  expect(failed.size).toBe(0);
  expect(converged.get("one")?.enforced).toBe(1);
});

test("where none throttles, each is converged once, one that fails three times, and it ends with the last of them", async () => {
  const failing = targetOf("failing", async () => {
    throw new Error("No.");
  });
  const slow = targetOf("slow", async () => {
    await sleep(120);
    return roundOf();
  });
  const one = calm("one");
  await run(all(failing, one, slow)(inMinutes(1)));
  expect([failing.at, one.at, slow.at]).toEqual([[0, 0, 0], [0], [0]]);
  expect(now - NOW).toBe(120);
});

test("where one takes its time but does not throttle, the others keep up as well", async () => {
  const slow = targetOf("slow", async () => {
    await sleep(1_200);
    return roundOf();
  });
  const one = calm("one");
  await run(all(slow, one)(inMinutes(1)));
  expect(one.at).toEqual([0, 500, 1_000]);
});

describe("beside something else that the function does", () => {
  test("keeps up with the list every half second, until that is done", async () => {
    const one = calm("one", { enforced: 1 });
    const { converged } = await run(all(one)(inMinutes(1), sleep(1_200)));
    expect(one.at).toEqual([0, 500, 1_000]);
    expect(now - NOW).toBe(1_200);
    expect(converged.get("one")?.enforced).toBe(1);
  });

  test("ends where that fails, and at the deadline where it never ends", async () => {
    const one = calm("one");
    const failing = sleep(700).then(() => {
      throw new Error("No.");
    });
    await run(all(one)(inMinutes(1), failing));
    expect(one.at).toEqual([0, 500]);
    const deadline = now + 900;
    await run(all(calm("two"))(deadline, new Promise(() => {})));
    expect(now).toBeLessThanOrEqual(deadline + 500);
  });

  test("looks once where that is done already", async () => {
    const one = calm("one");
    await run(all(one)(inMinutes(1), Promise.resolve()));
    expect(one.at).toEqual([0]);
  });
});

describe("when to look again", () => {
  const wakeUpAt = async (...targets: Convergence[]) =>
    (await run(all(...targets)(inMinutes(1)))).wakeUpAt;

  test("never, where no block holds a place", async () => {
    expect(await wakeUpAt(calm("one"), calm("two"))).toBeUndefined();
  });

  test("when the first block ends, in whatever target it holds a place", async () => {
    const [one, two] = [calm("one", { nextEnd: SECOND + 90 }), calm("two")];
    const three = calm("three", { nextEnd: SECOND + 70 });
    expect(await wakeUpAt(one, two, three)).toBe(SECOND + 70);
  });

  test("in ten seconds, where changes were left or a target failed", async () => {
    const left = calm("one", { left: 2, refused: 1, nextEnd: SECOND + 90 });
    expect(await wakeUpAt(left)).toBe(SECOND + 10);
    const failing = targetOf("one", async () => {
      throw new Error("No.");
    });
    expect(await wakeUpAt(failing)).toBe(SECOND + 10);
  });

  test("not for what is refused: a person must mend that", async () => {
    expect(await wakeUpAt(calm("one", { left: 2, refused: 2, problem: "refused" }))).toBe(
      undefined,
    );
  });

  test("in whole seconds, and never too early", async () => {
    now += 1;
    expect(await wakeUpAt(calm("one", { left: 1 }))).toBe(SECOND + 11);
  });
});

describe("an interval between two looks", () => {
  test("defers the next converge, which a wake-up makes up for", async () => {
    const one = calm("one", { enforced: 1 }, 1_500);
    const converge = all(one);
    expect((await run(converge(inMinutes(1)))).wakeUpAt).toBeUndefined();
    now += 1_000;
    const deferred = await run(converge(inMinutes(1)));
    expect(one.at).toEqual([0]);
    expect(deferred.wakeUpAt).toBe(SECOND + 2);
    expect([deferred.converged.size, deferred.failed.size]).toEqual([0, 0]);
    now += 500;
    await run(converge(inMinutes(1)));
    expect(one.at).toEqual([0, 1_500]);
  });

  test("holds while another one throttles, too", async () => {
    const [busy, one] = [throttling("busy", 1), calm("one", {}, 3_000)];
    await run(all(busy, one)(inMinutes(1)));
    expect(one.at).toEqual([0, 3_000, 6_000, 9_000]);
  });

  test("holds for one that throttles itself: it comes back later", async () => {
    const one = targetOf("one", async () => roundOf({ left: 1 }, { isInterrupted: true }), 5_000);
    const { wakeUpAt } = await run(all(one)(inMinutes(1)));
    expect(one.at).toEqual([0]);
    expect(wakeUpAt).toBe(SECOND + 5);
  });

  test("defers that target alone", async () => {
    const [one, two] = [calm("one", {}, 60_000), calm("two")];
    const converge = all(one, two);
    await run(converge(inMinutes(1)));
    now += 1_000;
    await run(converge(inMinutes(1)));
    expect([one.at, two.at]).toEqual([[0], [0, 1_000]]);
  });
});
