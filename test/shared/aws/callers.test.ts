import { expect, test } from "@jest/globals";
import { createCallers, detectorsNamed } from "../../../shared/aws/callers.ts";
import type { Addition } from "../../../shared/aws/table/additions.ts";
import { DEFAULT_LIMITS } from "../../../shared/domain/caller.ts";

/** What is known of GuardDuty, where the deployment knows it by itself. */
async function guardDuty(parameter: object[], added: Addition[] = []) {
  const parameters = { get: async () => JSON.stringify(parameter) };
  const log = { error: () => undefined } as never;
  const builtIn = detectorsNamed(["guardduty"]);
  const callers = createCallers(parameters, "/callers", async () => added, log, Date.now, builtIn);
  return (await callers()).get("guardduty");
}

const addition = (caller: object | null) => ({ sk: "caller#guardduty", caller }) as Addition;

test("a detector that a deployment knows by itself may what any detector may", async () => {
  expect(await guardDuty([])).toEqual({
    name: "guardduty",
    role: "detector",
    weight: 1,
    from: [],
    limits: DEFAULT_LIMITS.detector,
  });
});

test("the parameter may say more about it, and operators more than that", async () => {
  const entry = { name: "guardduty", role: "detector", longest: 60, weight: 0 };
  expect(await guardDuty([entry])).toMatchObject({ weight: 0, limits: { longest: 60 } });
  const added = addition({ ...entry, longest: 90 });
  expect(await guardDuty([entry], [added])).toMatchObject({ limits: { longest: 90 } });
});

test("and operators may revoke it", async () => {
  expect(await guardDuty([], [addition(null)])).toBeUndefined();
});
