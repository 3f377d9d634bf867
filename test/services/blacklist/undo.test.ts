import { beforeEach, describe, expect, test } from "@jest/globals";
import { MAX_UNDOS } from "../../../shared/aws/table/orders.ts";
import { bearer, queueDown, startEndpoint } from "../../support/endpoint.ts";
import { NOW } from "../../support/reports.ts";
import { OPERATOR_TOKEN } from "../../support/tokens.ts";

let endpoint: ReturnType<typeof startEndpoint>;
beforeEach(() => {
  endpoint = startEndpoint();
});
const undo = (query: string) =>
  endpoint.call("DELETE", `/blacklist?${query}`, { headers: bearer(OPERATOR_TOKEN) });
const HOUR_AGO = NOW / 1000 - 3_600;
const error = (code: string) => ({ error: { code, message: expect.stringMatching(/^[^\n]+\.$/) } });

describe("an undo", () => {
  test.each([
    ["epoch seconds", String(HOUR_AGO)],
    ["ISO 8601", new Date(HOUR_AGO * 1000).toISOString()],
    ["ISO 8601 with an offset", "2027-01-15T09:00:00%2B02:00"],
  ])("is queued among the operators' messages, since a moment in %s", async (_what, since) => {
    const { status, body } = await undo(`detector=suricata&since=${since}`);
    expect(status).toBe(202);
    expect(body).toEqual({
      status: "queued",
      requestId: expect.any(String),
      detector: "suricata",
      since: HOUR_AGO,
    });
    expect(endpoint.queue.sent).toMatchObject([
      {
        lane: "operators",
        message: {
          kind: "undo",
          detector: "suricata",
          since: HOUR_AGO * 1000,
          requestedAt: NOW,
          operator: "night-shift",
          requestId: body.requestId,
        },
      },
    ]);
  });

  test("counts as an unblock: no report folds into one from before", async () => {
    await endpoint.report({ ip: "203.0.113.9" });
    expect(await undo("detector=suricata&since=0")).toMatchObject({ status: 202 });
    await endpoint.report({ ip: "203.0.113.9" });
    const kinds = endpoint.messages().map(({ kind }) => kind);
    expect(kinds).toEqual(["block", "undo", "block"]);
    expect(new Set(endpoint.queue.sent.map(({ deduplicationId }) => deduplicationId)).size).toBe(3);
  });

  test("may be of a caller that is none any more", async () => {
    expect(await undo("detector=revoked&since=0")).toMatchObject({ status: 202 });
  });

  test.each([
    ["no detector", "since=0", "invalid_detector"],
    ["a detector that cannot be", "detector=a%20b&since=0", "invalid_detector"],
    ["no moment", "detector=suricata", "invalid_since"],
    ["a date without a time", "detector=suricata&since=2027-01-15", "invalid_since"],
    ["a time without a zone", "detector=suricata&since=2027-01-15T07:00:00", "invalid_since"],
    ["no number", "detector=suricata&since=yesterday", "invalid_since"],
    ["a moment before 1970", "detector=suricata&since=1969-01-01T00:00:00Z", "invalid_since"],
    ["milliseconds", `detector=suricata&since=${NOW}`, "invalid_since"],
    ["a moment to come", `detector=suricata&since=${NOW / 1000 + 1}`, "invalid_since"],
    ["two moments", "detector=suricata&since=0&since=1", "duplicate_parameter"],
  ])("of %s is refused", async (_what, query, code) => {
    expect(await undo(query)).toMatchObject({ status: 400, body: error(code) });
    expect(endpoint.queue.sent).toEqual([]);
  });

  test("is one of so many that may be in force", async () => {
    const order = { detector: "suricata", since: 0, requestedAt: 0 };
    endpoint.table.undos.push(...Array(MAX_UNDOS - 1).fill(order));
    expect(await undo("detector=suricata&since=0")).toMatchObject({ status: 202 });
    endpoint.table.undos.push(order);
    expect(await undo("detector=suricata&since=0")).toMatchObject({
      status: 429,
      headers: { "retry-after": expect.stringMatching(/^\d+$/) },
      body: error("too_many_undos"),
    });
    expect(endpoint.queue.sent).toHaveLength(1);
  });

  test("is refused while the queue or the table is down", async () => {
    endpoint.queue.failure = queueDown();
    expect(await undo("detector=suricata&since=0")).toMatchObject({ status: 503 });
    endpoint.queue.failure = undefined;
    endpoint.table.isUnreadable = true;
    expect(await undo("detector=suricata&since=0")).toMatchObject({ status: 503 });
    expect(endpoint.queue.sent).toEqual([]);
  });
});
