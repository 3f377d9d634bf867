import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import { EventBridgeClient, PutEventsCommand } from "@aws-sdk/client-eventbridge";
import { SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { eventually, startTestCloud, type TestCloud } from "./cloud.ts";

// Findings of GuardDuty and Security Hub, put onto the bus that the deployed rules listen to.

const CLI = new URL("../../services/cli/portcullis.ts", import.meta.url).pathname;
const FIXTURES = new URL("../services/blacklist/detectors/fixtures/", import.meta.url);

type Json = Record<string, unknown>;
type Service = "guardduty" | "securityhub";

/** An event's detail from the fixtures, its attackers replaced by these. */
function detailOf(service: Service, what: string, ...ips: string[]): Json {
  const cases = JSON.parse(readFileSync(new URL(`${service}.json`, FIXTURES), "utf8")) as {
    what: string;
    document: { detail: Json };
  }[];
  const detail = cases.find((one) => one.what === what)?.document.detail;
  if (!detail) throw new Error(`No fixture: ${what}`);
  const replaced = ips.reduce(
    (text, ip, index) => text.replaceAll(`"203.0.113.${9 + index}"`, `"${ip}"`),
    JSON.stringify(detail),
  );
  return JSON.parse(replaced);
}

const DETAIL_TYPES = {
  guardduty: "GuardDuty Finding",
  securityhub: "Security Hub Findings - Imported",
};

let cloud: TestCloud;
let events: EventBridgeClient;
let sqs: SQSClient;
beforeAll(async () => {
  cloud = await startTestCloud();
  const { region, endpoints } = cloud.stack;
  const credentials = { accessKeyId: "local", secretAccessKey: "local" };
  events = new EventBridgeClient({ region, endpoint: endpoints.events, credentials });
  sqs = new SQSClient({ region, endpoint: endpoints.sqs, credentials });
}, 120_000);
afterAll(async () => {
  events?.destroy();
  sqs?.destroy();
  await cloud?.stop();
});

async function put(service: Service, detail: Json): Promise<void> {
  const { FailedEntryCount } = await events.send(
    new PutEventsCommand({
      Entries: [
        {
          Source: `aws.${service}`,
          DetailType: DETAIL_TYPES[service],
          Detail: JSON.stringify(detail),
        },
      ],
    }),
  );
  expect(FailedEntryCount).toBe(0);
}

/** Runs a command of the operator's on this cloud. */
async function operate(...args: string[]) {
  const { stdout } = await promisify(execFile)(process.execPath, [CLI, ...args, "--json"], {
    env: { ...process.env, NODE_OPTIONS: "", PORTCULLIS_LOCAL_DIR: cloud.dir },
    timeout: 60_000,
  });
  return JSON.parse(stdout);
}

const areDenied = (...ips: string[]) =>
  eventually(`${ips.join(", ")} denied`, 20, async () => {
    const denied = await cloud.denied();
    return ips.every((ip) => denied.includes(`${ip}/${ip.includes(":") ? 128 : 32}`));
  });

test("whom a finding names is denied: a brute force, all of a port probe, Security Hub's", async () => {
  await put("guardduty", detailOf("guardduty", "an inbound connection", "198.51.100.1"));
  await put(
    "guardduty",
    detailOf("guardduty", "an inbound connection of IPv6, the weakest there is"),
  );
  const probe = detailOf("guardduty", "a port probe by three, of whom one is not named");
  const { action } = probe.service as { action: { portProbeAction: { portProbeDetails: Json[] } } };
  action.portProbeAction.portProbeDetails = ["198.51.100.5", "198.51.100.9"].map((ip) => ({
    remoteIpDetails: { ipAddressV4: ip },
  }));
  await put("guardduty", probe);
  const hub = detailOf("securityhub", "a finding of GuardDuty without an action", "198.51.100.13");
  await put("securityhub", hub);
  await areDenied("198.51.100.1", "2001:db8::5", "198.51.100.5", "198.51.100.9", "198.51.100.13");

  const { blocks } = await cloud.list("?ip=198.51.100.1");
  expect(blocks).toMatchObject([
    { severity: 5, reason: "GuardDuty UnauthorizedAccess:EC2/SSHBruteForce" },
  ]);
}, 60_000);

test("archived ones, samples and what we do ourselves block nobody and are no dead letters", async () => {
  const before = await cloud.denied();
  for (const what of [
    "an outbound connection",
    "a connection of our own instance's",
    "an archived finding",
    "a sample",
    "a sample that only its text says is one",
  ]) {
    await put("guardduty", detailOf("guardduty", what));
  }
  for (const what of ["outbound connections", "archived, suppressed and resolved ones", "samples"])
    await put("securityhub", detailOf("securityhub", what));
  // The last in the same lane: then the others are done.
  const last = detailOf("guardduty", "an inbound connection", "198.51.100.33");
  await put("guardduty", last);
  await areDenied("198.51.100.33");
  await eventually("samples are in the log", 10, async () =>
    /Dropped an event: it names nobody to block.*securityhub/.test(cloud.log("worker")),
  );
  expect((await cloud.denied()).toSorted()).toEqual([...before, "198.51.100.33/32"].toSorted());
  expect(await operate("dead-letters", "list")).toEqual({ total: 0, items: [] });
}, 60_000);

test("what is not understood is a dead letter with its reason; mended and replayed, it blocks", async () => {
  const detail = detailOf("guardduty", "an inbound connection", "198.51.100.77");
  const { action } = detail.service as { action: { networkConnectionAction: Json } };
  const { remoteIpDetails, ...rest } = action.networkConnectionAction;
  action.networkConnectionAction = rest;
  await put("guardduty", detail);
  await eventually("it is put aside", 20, async () => {
    return (await operate("dead-letters", "list")).total === 1;
  });
  const { items } = await operate("dead-letters", "list");
  expect(items).toMatchObject([
    {
      reason: "not_understood",
      detail:
        "detail.service.action.networkConnectionAction.remoteIpDetails: no ipAddressV4 or ipAddressV6 was found.",
      group: "portcullis-local.guardduty",
    },
  ]);
  // Once an adapter understands it, as it is; here by hand.
  const [{ id, body }] = items;
  const message = JSON.parse(body);
  message.event.detail.service.action.networkConnectionAction.remoteIpDetails = remoteIpDetails;
  const mended = JSON.stringify(message);
  expect(await operate("dead-letters", "replay", "--id", id, "--body", mended)).toMatchObject({
    replayed: 1,
    left: 0,
  });
  await areDenied("198.51.100.77");
}, 90_000);

test("what is no event at all is a dead letter, and holds up no other", async () => {
  await sqs.send(
    new SendMessageCommand({
      QueueUrl: cloud.stack.queueUrl,
      MessageBody: '{"kind":"guardduty","event":{"detail-type":"GuardDuty Finding"}}',
      MessageGroupId: "portcullis-local.guardduty",
    }),
  );
  await put("guardduty", detailOf("guardduty", "an inbound connection", "198.51.100.81"));
  await areDenied("198.51.100.81");
  expect(await operate("dead-letters", "list")).toMatchObject({
    total: 1,
    items: [{ reason: "invalid_message", detail: expect.stringContaining("event.id") }],
  });
}, 60_000);
