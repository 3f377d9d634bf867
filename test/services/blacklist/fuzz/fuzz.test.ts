import { expect, test } from "@jest/globals";
import fc from "fast-check";
import { request } from "./grammar.ts";
import { startOracle } from "./oracle.ts";

const property = (kinds: Set<string>) => {
  const oracle = startOracle();
  return fc.asyncProperty(request, async (event) => {
    kinds.add(await oracle.ask(event));
  });
};

test("2,000 requests: nothing but answers that the oracle expects", async () => {
  await fc.assert(property(new Set()), { numRuns: 2_000 });
}, 60_000);

test("the grammar reaches every answer", async () => {
  const kinds = new Set<string>();
  await fc.assert(property(kinds), { numRuns: 5_000, seed: 1 });
  expect([...kinds].toSorted()).toEqual([
    ...["200 ignored", "200 list", "200 mode", "200 ok", "200 results", "202 queued"],
    ...["202 results", "400 duplicate_parameter", "400 invalid_body", "400 invalid_detector"],
    ...["400 invalid_expiry", "400 invalid_hold", "400 invalid_ip", "400 invalid_ips"],
    ...["400 invalid_json", "400 invalid_limit", "400 invalid_mode", "400 invalid_next"],
    ...["400 invalid_reason", "400 invalid_severity", "400 invalid_since", "400 not_understood"],
    ...["400 range_too_wide", "401 unauthorized", "403 forbidden", "403 forbidden_source"],
    ...["404 not_found", "405 method_not_allowed", "413 too_large"],
    ...["415 unsupported_media_type", "429 over_budget"],
  ]);
}, 60_000);
