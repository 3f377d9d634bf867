import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { run } from "./campaign.ts";
import { type Lane, startLane } from "./lane.ts";
import { SCENARIOS } from "./scenarios.ts";

// The short form of npm run faults: one lane, and of each kind of fault one.

const CHOSEN = [
  "CreateNetworkAclEntry, runner killed after",
  "SendMessage, runner killed after",
  "PutItem block, runner killed after",
  "PutItem state, runner killed after",
  "UpdateIPSet, runner killed after",
  "endpoint → table, engine down",
  "worker → table, engine down",
  "enforcer → EC2, answer lost after the effect",
  "enforcer → WAF, blocks end while answers are lost",
  "enforcer → WAF, blocks end before they take effect",
  "queue → worker, duplicated delivery",
  "queue → worker, poison messages",
];

let lane: Lane;
beforeAll(async () => {
  lane = await startLane();
}, 120_000);
afterAll(() => lane?.stop());

test.each(CHOSEN)(
  "%s: all that was accepted is there, and nothing else",
  async (name) => {
    const number = SCENARIOS.findIndex(({ hop, fault }) => `${hop}, ${fault}` === name);
    const scenario = SCENARIOS[number];
    if (!scenario) throw new Error("There is no such scenario.");
    const { accepted, lost, wrong } = await run(lane, scenario, number);
    // What is lost does not say why; the function that it came to last may.
    if (lost.length + wrong.length > 0) console.error(lane.cloud().log("worker").slice(-3_000));
    expect({ lost, wrong }).toEqual({ lost: [], wrong: [] });
    expect(accepted).toBeGreaterThan(100);
  },
  180_000,
);
