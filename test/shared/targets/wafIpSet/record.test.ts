import { describe, expect, test } from "@jest/globals";
import * as v from "valibot";
import { parseCidr } from "../../../../shared/domain/cidr.ts";
import { wafRecord } from "../../../../shared/targets/wafIpSet/record.ts";
import { recordOf } from "./sets.ts";

const A = "203.0.113.1/32";
const SIX = "2001:db8::/48";
const roundTrip = (record: typeof wafRecord.empty) =>
  v.parse(wafRecord.schema, wafRecord.stored(record));

describe("the record of a pair of IP sets", () => {
  test.each([
    ["nothing", recordOf([])],
    ["what is confirmed", recordOf([A, SIX])],
    ["what is to come", recordOf([], [A, SIX])],
    ["some of both", recordOf([A], [SIX])],
  ])("is read as it was stored: %s", (_what, record) => {
    expect(roundTrip(record)).toEqual(record);
  });

  test("is empty at first, and stored so", () => {
    expect(wafRecord.empty).toEqual(recordOf([]));
    expect(roundTrip(wafRecord.empty)).toEqual(wafRecord.empty);
  });

  test("is small: ten thousand neighbours take a few kilobytes", () => {
    const texts = Array.from({ length: 10_000 }, (_, i) => `20.0.${i >> 8}.${i & 255}/32`);
    const sizes = Object.values(wafRecord.stored(recordOf(texts))).map(({ length }) => length);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(50_000);
  });

  test("has the confirmed ranges as entries, without numbers", () => {
    expect(wafRecord.entries(recordOf([A], [SIX]))).toEqual([{ cidr: parseCidr(A) }]);
  });

  test.each<[string, unknown]>([
    ["null", null],
    ["without its parts", {}],
    ["of texts", { ours: [A], unconfirmed: [] }],
    ["of a network ACL", { slots: { ingress: {}, egress: {} } }],
  ])("that is %s cannot be read", (_what, stored) => {
    expect(v.is(wafRecord.schema, stored)).toBe(false);
  });

  test("that is no archive, or one of more than two megabytes, cannot be read", () => {
    expect(() => v.parse(wafRecord.schema, { ours: Buffer.from("x"), unconfirmed: [] })).toThrow();
    const endless = wafRecord.stored({
      ours: new Set(["0".repeat(2_000_001)]),
      confirmed: new Set(),
    });
    expect(() => v.parse(wafRecord.schema, endless)).toThrow();
  });
});
