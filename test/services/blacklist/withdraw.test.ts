import { beforeEach, describe, expect, test } from "@jest/globals";
import { createFold } from "../../../services/blacklist/fold.ts";
import type { BlockMessage } from "../../../shared/aws/queue.ts";
import {
  bearer,
  GATEWAY_REQUEST,
  ordersOver,
  queueDown,
  SOURCE_IP,
  startEndpoint,
} from "../../support/endpoint.ts";
import { NOW } from "../../support/reports.ts";
import { callerListOf, DETECTOR_TOKEN } from "../../support/tokens.ts";

// A detector takes its own reports back.

const URL = "/blacklistip?ip=203.0.113.9";
const asDetector = { headers: bearer(DETECTOR_TOKEN) };

let endpoint = startEndpoint();
beforeEach(() => {
  endpoint = startEndpoint();
});
const report = () => endpoint.report({ ip: "203.0.113.9" });
const reported = async () => {
  await report();
  return endpoint.queue.sent.at(-1) as { message: BlockMessage };
};
const withdraw = () => endpoint.call("DELETE", URL, asDetector);

describe("a withdrawal", () => {
  test("is queued in the detector's own lane, behind what it has reported", async () => {
    await report();
    const { status, body } = await withdraw();
    expect([status, body.status]).toEqual([202, "queued"]);
    expect(endpoint.messages().at(-1)).toEqual({
      kind: "withdraw",
      cidr: "203.0.113.9/32",
      detector: "suricata",
      withdrawnAt: NOW,
      requestId: body.requestId,
      origin: { sourceIp: SOURCE_IP, gatewayRequestId: GATEWAY_REQUEST },
    });
    expect(endpoint.queue.sent.map(({ lane }) => lane)).toEqual(["detectors", "detectors"]);
  });

  test("is followed by reports that fold into nothing from before it", async () => {
    await report();
    await withdraw();
    endpoint.now += 1_000;
    await report();
    const kinds = endpoint.messages().map(({ kind }) => kind);
    expect(kinds).toEqual(["block", "withdraw", "block"]);
    const ids = endpoint.queue.sent.map(({ deduplicationId }) => deduplicationId);
    expect(new Set(ids).size).toBe(3);
  });

  test("and by reports of other instances that fold into nothing either", async () => {
    const { instance } = ordersOver(endpoint.table.orders);
    const [one, other] = [instance(), instance()];
    const fold = createFold(endpoint.queue, other);
    const { message } = await reported();
    await fold.send(message, await other.current(), "detectors");
    expect(fold.earlier(message, await other.current())).toBeDefined();
    await one.letWithdraw("suricata", await one.current());
    expect(fold.earlier(message, await other.current())).toBeUndefined();
  });

  test("waits for other instances the first time only", async () => {
    await withdraw();
    const { until } = endpoint.table.withdrawers.get("suricata") ?? { until: 0 };
    expect(until * 1000).toBeGreaterThan(NOW);
    endpoint.now += 86_400_000;
    await withdraw();
    // Known well enough: nothing is written.
    expect(endpoint.table.withdrawers.get("suricata")?.until).toBe(until);
    endpoint.now += 20 * 86_400_000;
    await withdraw();
    expect(endpoint.table.withdrawers.get("suricata")?.until).toBeGreaterThan(until);
  });

  test("costs as much as a report, and is taken however many blocks are in force", async () => {
    endpoint = startEndpoint({
      callerList: () => callerListOf({ addressesPerMinute: 2, outstanding: 1 }),
    });
    await endpoint.table.outstanding.count(
      [{ caller: "suricata", span: `m${Math.floor(NOW / 60_000) + 9}`, by: 1 }],
      NOW,
    );
    expect((await report()).body.error.code).toBe("too_many_blocks");
    expect((await withdraw()).status).toBe(202);
    expect((await withdraw()).status).toBe(202);
    expect((await withdraw()).body.error.code).toBe("over_budget");
  });

  test("is refused while the queue is down, or nobody can be told", async () => {
    endpoint.queue.failure = queueDown();
    expect((await withdraw()).status).toBe(503);
    endpoint = startEndpoint();
    endpoint.table.isUnreadable = true;
    expect((await withdraw()).status).toBe(503);
    expect(endpoint.messages()).toEqual([]);
  });

  test("needs an address", async () => {
    const { status, body } = await endpoint.call("DELETE", "/blacklistip", asDetector);
    expect([status, body.error.code]).toEqual([400, "invalid_ip"]);
  });
});
