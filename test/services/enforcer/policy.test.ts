import { expect, test } from "@jest/globals";
import { wantedIn } from "../../../services/enforcer/policy.ts";
import { blockOf } from "../../support/blocks.ts";

const WANTED = ["203.0.113.1/32", "203.0.113.2/32"].map((cidr) => blockOf(cidr));

test("enforce: all that the list wants, in its order", () => {
  expect(wantedIn.enforce(WANTED)).toEqual(WANTED);
});

test("monitor: nothing, so that what was enforced leaves", () => {
  expect(wantedIn.monitor(WANTED)).toEqual([]);
});
