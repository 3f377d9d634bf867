import { describe, expect, test } from "@jest/globals";
import * as v from "valibot";
import { parseCidr } from "../../../shared/domain/cidr.ts";
import { aclRecord } from "../../../shared/targets/networkAcl/record.ts";
import {
  entriesOf,
  entryFor,
  newTargetState,
  placesOf,
  type TargetState,
  targetState,
} from "../../../shared/targets/state.ts";
import { wafRecord } from "../../../shared/targets/wafIpSet/record.ts";
import { NOW } from "../../support/reports.ts";

const A = parseCidr("203.0.113.1/32");
const B = parseCidr("203.0.113.2/32");
const WIDE = parseCidr("203.0.113.0/24");

const acl = (ingress: object, egress: object = {}) =>
  aclRecord.stored({ slots: { ingress, egress }, learntLimits: {} } as typeof aclRecord.empty);
const waf = (ours: string[], confirmed: string[]) =>
  wafRecord.stored({ ours: new Set(ours), confirmed: new Set(confirmed) });

describe("a target's state", () => {
  test.each(["networkAcl", "wafIpSet"] as const)("of a new %s is one that can be read", (kind) => {
    expect(v.parse(targetState, newTargetState(kind))).toEqual(newTargetState(kind));
  });

  test("is read though only what is for the operator is broken", () => {
    const record = acl({ 4: { cidr: A, confirmedAt: NOW } });
    const broken = {
      mode: 1,
      held: null,
      shadowed: "all",
      refused: [7],
      problem: "?",
      waiting: {},
    };
    const item = { version: 3, kind: "networkAcl", record, ...broken };
    expect(v.parse(targetState, item)).toEqual({
      ...newTargetState("networkAcl"),
      version: 3,
      record,
    });
  });

  test.each([{ version: undefined }, { version: "1" }, { kind: undefined }, { kind: "firewall" }])(
    "is not read where it does not say what it is: %j",
    (change) => {
      expect(v.is(targetState, { ...newTargetState("networkAcl"), ...change })).toBe(false);
    },
  );
});

describe("the entries of a target", () => {
  const stateOf = (kind: TargetState["kind"], change: Partial<TargetState>): TargetState => ({
    ...newTargetState(kind),
    ...change,
  });
  const CONFIRMED = { cidr: A, confirmedAt: NOW };

  test("are the confirmed slots of an ACL, with their numbers", () => {
    const record = acl({ 4: CONFIRMED, 5: { cidr: B }, 6: { cidr: null, confirmedAt: NOW } });
    expect(entriesOf(stateOf("networkAcl", { record }))).toEqual([{ cidr: A, ruleNumber: 4 }]);
  });

  test("are the outbound ones where there are no inbound ones", () => {
    const record = acl({}, { 4: CONFIRMED });
    expect(entriesOf(stateOf("networkAcl", { record }))).toEqual([{ cidr: A, ruleNumber: 4 }]);
  });

  test("are the confirmed ranges of a pair of IP sets, without numbers", () => {
    const record = waf([A.text, B.text], [A.text]);
    expect(entriesOf(stateOf("wafIpSet", { record }))).toEqual([{ cidr: A }]);
  });

  test("are those that monitor mode would have, and not those that are there", () => {
    const change = {
      mode: "monitor" as const,
      record: acl({ 4: CONFIRMED }),
      monitored: acl({ 7: { cidr: B, confirmedAt: NOW } }),
    };
    expect(entriesOf(stateOf("networkAcl", change))).toEqual([{ cidr: B, ruleNumber: 7 }]);
    expect(entriesOf(stateOf("networkAcl", { ...change, monitored: null }))).toEqual([]);
    expect(entriesOf(stateOf("networkAcl", { ...change, mode: "enforce" }))).toMatchObject([
      { ruleNumber: 4 },
    ]);
  });

  test.each<[string, TargetState["kind"], unknown]>([
    ["there is no record yet", "networkAcl", null],
    ["there is no record of the sets yet", "wafIpSet", null],
    ["the record is another kind's", "networkAcl", waf([A.text], [A.text])],
    ["the record is an ACL's", "wafIpSet", acl({ 4: CONFIRMED })],
    ["a slot cannot be read", "networkAcl", { slots: { ingress: { 4: { cidr: 7 } }, egress: {} } }],
  ])("are none where %s", (_what, kind, record) => {
    expect(entriesOf(stateOf(kind, { record }))).toEqual([]);
  });
});

describe("the places of a target that are ours, or may be", () => {
  const state = (kind: TargetState["kind"], record: unknown) => ({
    ...newTargetState(kind),
    record,
  });

  test("are none in a new one", () => {
    expect(placesOf(newTargetState("networkAcl"))).toBe(0);
    expect(placesOf(newTargetState("wafIpSet"))).toBe(0);
  });

  test("are entries that EC2 has confirmed, and changes that it has not, deletions included", () => {
    const slots = { 1: { cidr: A, confirmedAt: NOW }, 2: { cidr: B }, 3: { cidr: null } };
    const gone = { 4: { cidr: null, confirmedAt: NOW } };
    expect(placesOf(state("networkAcl", acl(slots, gone)))).toBe(3);
  });

  test("are addresses of a set, confirmed or not", () => {
    expect(placesOf(state("wafIpSet", waf([A.text, B.text], [A.text])))).toBe(2);
  });

  test("are not guessed where the record cannot be read", () => {
    expect(() => placesOf(state("networkAcl", { slots: 7 }))).toThrow(v.ValiError);
  });
});

describe("the entry for a range", () => {
  const own = { cidr: A, ruleNumber: 7 };
  const wide = { cidr: WIDE, ruleNumber: 4 };

  test("is its own before a wider one", () => {
    expect(entryFor(A, [wide, own])).toBe(own);
    expect(entryFor(B, [wide, own])).toBe(wide);
  });

  test("is none where only a part of it is denied", () => {
    expect(entryFor(WIDE, [own])).toBeUndefined();
    expect(entryFor(parseCidr("2001:db8::/48"), [wide])).toBeUndefined();
  });
});
