import { describe, expect, test } from "@jest/globals";
import { bearer, startEndpoint } from "../../support/endpoint.ts";
import { NOW } from "../../support/reports.ts";
import { callerListOf, OPERATOR_TOKEN } from "../../support/tokens.ts";

// How far a report of a caller goes.

const limited = (limits: object) => startEndpoint({ callerList: () => callerListOf(limits) });
const DAY = 86_400;

describe("a range", () => {
  test.each([
    ["203.0.113.0/24", 202],
    ["203.0.112.0/23", 400],
    ["2001:db8::/56", 202],
    ["2001:db8::/55", 400],
  ])("%s of a detector, by default", async (ip, status) => {
    const { status: answered, body } = await startEndpoint().report({ ip });
    expect(answered).toBe(status);
    if (status === 400) {
      expect(body.error.code).toBe("range_too_wide");
      expect(body.error.message).toMatch(/wider than \/(24|56), the widest range that this token/);
    }
  });

  test.each([
    [{ leastPrefix4: 32 }, "203.0.113.8/31", 400],
    [{ leastPrefix4: 16 }, "203.0.0.0/16", 202],
    [{ leastPrefix6: 128 }, "2001:db8::/127", 400],
  ])("is as wide as the list says: %j", async (limits, ip, status) => {
    expect((await limited(limits).report({ ip })).status).toBe(status);
  });

  test("may be an operator's where it is wider", async () => {
    const headers = bearer(OPERATOR_TOKEN);
    const endpoint = startEndpoint();
    expect((await endpoint.report({ ip: "203.0.0.0/16" }, { headers })).status).toBe(202);
    expect((await endpoint.report({ ip: "203.0.0.0/15" }, { headers })).status).toBe(400);
  });
});

test("a greater severity than the caller's counts as the caller's greatest", async () => {
  const endpoint = limited({ mostSeverity: 3 });
  expect((await endpoint.report({ ip: "203.0.113.9", severity: 10 })).status).toBe(202);
  expect((await endpoint.report({ ip: "203.0.113.8", severity: 2 })).status).toBe(202);
  expect(endpoint.messages()).toMatchObject([{ severity: 3 }, { severity: 2 }]);
});

describe("a longer expiry", () => {
  test("than the caller's is the caller's longest, and the answer says so", async () => {
    const endpoint = startEndpoint();
    const { status, body } = await endpoint.report({ ip: "203.0.113.9", expiryTime: 30 * DAY });
    expect([status, body.expiresAt]).toEqual([202, NOW / 1000 + 7 * DAY]);
    expect(endpoint.messages()).toMatchObject([{ expiresAt: NOW / 1000 + 7 * DAY }]);
  });

  test("than the default is lowered too", async () => {
    const endpoint = limited({ longest: 60 });
    expect((await endpoint.report({ ip: "203.0.113.9" })).body.expiresAt).toBe(NOW / 1000 + 60);
  });

  test("than any may be is refused, whoever asks", async () => {
    const answer = await startEndpoint().report({ ip: "203.0.113.9", expiryTime: 30 * DAY + 1 });
    expect([answer.status, answer.body.error.code]).toEqual([400, "invalid_expiry"]);
  });
});
