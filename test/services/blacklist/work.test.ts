import type { GetParameterCommand, SSMClient } from "@aws-sdk/client-ssm";
import { beforeEach, describe, expect, test } from "@jest/globals";
import { createParameters } from "../../../shared/aws/parameters.ts";
import { bearer, json, startEndpoint } from "../../support/endpoint.ts";
import { NOW } from "../../support/reports.ts";
import { CALLER_LIST, DETECTOR_TOKEN, signatureHeaders, TOKEN_LIST } from "../../support/tokens.ts";

// What a request may cost: nothing grows faster than what was sent, and little is done for callers who are
// not known.

const SIGNED = { method: "POST", url: "/blacklistip", timestamp: NOW / 1000 };

let endpoint: ReturnType<typeof startEndpoint>;
beforeEach(() => {
  endpoint = startEndpoint();
});

// How long each of these takes, beside harmless ones: npm run bench hostile.

test.each([
  ["of blanks", `application/json${" ".repeat(10_000)}x`, 415],
  ["of blanks before a parameter", `application/json${" ".repeat(10_000)};charset=utf-8`, 202],
  ["of tabs", `application/json${"\t".repeat(10_000)}x`, 415],
])("a content type with 10 kB %s is read like any other", async (_what, type, status) => {
  const headers = { ...bearer(DETECTOR_TOKEN), "content-type": type };
  const body = '{"ip":"203.0.113.9"}';
  const answer = await endpoint.call("POST", "/blacklistip", { headers, body });
  expect(answer.status).toBe(status);
});

test("a long reason is not looked at to its end", async () => {
  const ips = Array.from({ length: 100 }, (_, index) => `203.0.113.${index}`);
  const reason = `${"\u0000 ".repeat(20_000)}port scan`;
  expect((await endpoint.report({ ips, reason })).status).toBe(202);
  for (const message of endpoint.messages()) expect(message).toMatchObject({ reason: "" });
});

test("a long text in the place of an address is cut", async () => {
  const { body } = await endpoint.report({ ip: "/".repeat(900_000) });
  expect(body.error.code).toBe("invalid_ip");
  expect(body.error.message.length).toBeLessThan(200);
});

describe("a thousand requests", () => {
  /** The names of the parameters that were read, and what the table was asked for. */
  const thousand = async (headers: Record<string, string>) => {
    const read: string[] = [];
    const values: Record<string, string> = { "/tokens": TOKEN_LIST, "/callers": CALLER_LIST };
    const ssm = {
      async send({ input: { Name = "" } }: GetParameterCommand) {
        read.push(Name);
        return { Parameter: { Value: values[Name] } };
      },
    };
    endpoint = startEndpoint({ store: createParameters(ssm as unknown as SSMClient) });
    for (let time = 0; time < 1_000; time++) {
      const call = { headers: { ...json, ...headers }, body: { ip: "203.0.113.9" } };
      expect((await endpoint.call("POST", "/blacklistip", call)).status).toBe(401);
    }
    return { read, taken: endpoint.budgets.calls, sources: endpoint.sources.reads };
  };

  test("without a token read no parameter at all", async () => {
    expect(await thousand({})).toEqual({ read: [], taken: 0, sources: 0 });
  });

  test.each([
    ["with an unknown token", bearer("unknown")],
    ["with a signature that is wrong", signatureHeaders("suricata", "wrong", SIGNED)],
  ])("%s read each list once in five seconds", async (_what, headers) => {
    const { read, ...others } = await thousand(headers);
    expect(read.length).toBeLessThanOrEqual(4);
    expect(new Set(read)).toEqual(new Set(["/tokens", "/callers"]));
    expect(others).toEqual({ taken: 0, sources: 0 });
  });
});
