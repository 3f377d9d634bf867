import { gzipSync } from "node:zlib";
import { describe, expect, test } from "@jest/globals";
import { linesOf, NoLogLinesError, rejectedIn } from "../../../services/flow-logs/records.ts";
import { flowLogEvent, record } from "../../support/flowLogs.ts";

const packetsIn = (...lines: string[]) =>
  rejectedIn(lines).rejected.map(({ source, packets }) => [source.text, packets]);

describe("rejectedIn", () => {
  test("counts the rejected packets of each source", () => {
    expect(
      packetsIn(
        record("203.0.113.9", { packets: 3 }),
        record("203.0.113.9", { packets: 4, to: 443 }),
        record("2001:db8::5", { packets: 1 }),
        record("198.51.100.1", { action: "ACCEPT" }),
      ),
    ).toEqual([
      ["203.0.113.9/32", 7],
      ["2001:db8::5/128", 1],
    ]);
  });

  test.each([
    [
      "AWS's own example",
      "2 123456789010 eni-1235b8ca 172.31.9.69 172.31.9.12 49761 3389 6 20 4249 1418530010 1418530070 REJECT OK",
      1,
      0,
    ],
    ["no data", "2 123456789010 eni-1235b8ca - - - - - - - 1431280876 1431280934 - NODATA", 0, 0],
    [
      "skipped data",
      "2 123456789010 eni-1111 - - - - - - - 1431280876 1431280934 - SKIPDATA",
      0,
      0,
    ],
    ["another format", "5 REJECT 203.0.113.9 10.0.0.5 443", 0, 1],
    ["a fifteenth field", `${record("203.0.113.9")} vpc-1`, 0, 1],
    ["no address", record("203.0.113.999"), 0, 1],
    ["no count", record("203.0.113.9", { packets: "many" }), 0, 1],
    ["less than none", record("203.0.113.9", { packets: -1 }), 0, 1],
    ["a head of a file", "version account-id interface-id srcaddr", 0, 1],
    ["nothing", "", 0, 1],
  ])("of %s", (_what, line, sources, notUnderstood) => {
    const records = rejectedIn([line]);
    expect([records.rejected.length, records.notUnderstood]).toEqual([sources, notUnderstood]);
  });
});

describe("linesOf", () => {
  test("takes apart what CloudWatch Logs sends", () => {
    const lines = [record("203.0.113.9"), record("203.0.113.10")];
    expect(linesOf(flowLogEvent(lines))).toEqual(lines);
  });

  test("says nothing where CloudWatch Logs only asks whether somebody is there", () => {
    expect(linesOf(flowLogEvent(["CWL CONTROL MESSAGE"], "CONTROL_MESSAGE"))).toEqual([]);
  });

  const wrapped = (data: string) => ({ awslogs: { data } });
  test.each<[string, unknown]>([
    ["another event", { Records: [] }],
    ["no base64", wrapped("%%%")],
    ["no gzip", wrapped(Buffer.from("{}").toString("base64"))],
    ["no JSON", wrapped(gzipSync("{").toString("base64"))],
    ["another document", wrapped(gzipSync("{}").toString("base64"))],
    ["a bomb", wrapped(gzipSync(Buffer.alloc(70 * 1_048_576)).toString("base64"))],
  ])("refuses %s", (_what, event) => {
    expect(() => linesOf(event)).toThrow(NoLogLinesError);
  });
});
