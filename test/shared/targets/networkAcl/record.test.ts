import { expect, test } from "@jest/globals";
import * as v from "valibot";
import { parseCidr } from "../../../../shared/domain/cidr.ts";
import { aclRecord } from "../../../../shared/targets/networkAcl/record.ts";
import type { Slots } from "../../../../shared/targets/networkAcl/rules.ts";
import { NOW } from "../../../support/reports.ts";

const [A, B] = [parseCidr("203.0.113.1/32"), parseCidr("2001:db8::/48")];
const recordOf = (ingress: Slots) => ({ ...aclRecord.empty, slots: { ingress, egress: {} } });

test.each<[string, Slots]>([
  ["an entry", { 4: { cidr: A, confirmedAt: NOW } }],
  ["one that is to replace another", { 4: { cidr: A, was: [B] } }],
  ["one that has left", { 4: { cidr: null, confirmedAt: NOW, was: [A, B] } }],
  ["a new one", { 4: { cidr: B, was: [] } }],
  ["what was recorded before it said what was there", { 4: { cidr: null }, 5: { cidr: A } }],
])("the record of an ACL is read as it was stored: %s", (_what, slots) => {
  const record = recordOf(slots);
  expect(v.parse(aclRecord.schema, JSON.parse(JSON.stringify(aclRecord.stored(record))))).toEqual(
    record,
  );
});
