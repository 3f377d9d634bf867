import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  CreateIPSetCommand,
  DeleteIPSetCommand,
  GetIPSetCommand,
  ListIPSetsCommand,
  UpdateIPSetCommand,
  WAFV2Client,
  WAFV2ServiceException,
} from "@aws-sdk/client-wafv2";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { startWafv2, type Wafv2Options } from "../engines/wafv2/server.ts";

// What only the emulator does: throttling, orders to fail, state on disk. The rest is in the
// contract suite.

type Server = { url: string; stop(): Promise<void> };
type Set = { Name: string; Id: string; LockToken: string };

const MAIN = new URL("../engines/wafv2/main.ts", import.meta.url).pathname;

let directory: string;
let server: Server | undefined;
let client: WAFV2Client;
let nowMs: number;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "wafv2-"));
  nowMs = 1_000_000;
});
afterEach(async () => {
  client?.destroy();
  await server?.stop();
  server = undefined;
  rmSync(directory, { recursive: true, force: true });
});

async function start(options: Wafv2Options = {}): Promise<void> {
  server = await startWafv2({ throttle: false, now: () => nowMs, ...options });
  client = clientOf(server.url);
}

function clientOf(endpoint: string, requestTimeout = 10_000): WAFV2Client {
  return new WAFV2Client({
    endpoint,
    region: "us-east-1",
    credentials: { accessKeyId: "local", secretAccessKey: "local" },
    maxAttempts: 1,
    requestHandler: { requestTimeout, throwOnRequestTimeout: true },
  });
}

async function create(name: string, scope: "REGIONAL" | "CLOUDFRONT" = "REGIONAL"): Promise<Set> {
  const { Summary } = await client.send(
    new CreateIPSetCommand({ Name: name, Scope: scope, IPAddressVersion: "IPV4", Addresses: [] }),
  );
  return { Name: name, Id: Summary?.Id ?? "", LockToken: Summary?.LockToken ?? "" };
}

const update = (set: Set, addresses: string[] = []) =>
  client.send(new UpdateIPSetCommand({ ...set, Scope: "REGIONAL", Addresses: addresses }));

const get = ({ Name, Id }: Set) =>
  client.send(new GetIPSetCommand({ Name, Id, Scope: "REGIONAL" }));

const list = () => client.send(new ListIPSetsCommand({ Scope: "REGIONAL" }));

const remove = (set: Set) => client.send(new DeleteIPSetCommand({ ...set, Scope: "REGIONAL" }));

/** Updates and remembers the next lock token. */
async function updateOn(set: Set, addresses: string[] = []): Promise<Set> {
  const { NextLockToken = "" } = await update(set, addresses);
  return { ...set, LockToken: NextLockToken };
}

/** The code and the status of the error that a call ends with, or "none". */
async function failure(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "none";
  } catch (error) {
    if (!(error instanceof WAFV2ServiceException)) return `${error}`;
    return `${error.name} ${error.$metadata.httpStatusCode}`;
  }
}

async function control(settings: object): Promise<Response> {
  return fetch(new URL("/_control", server?.url), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(settings),
  });
}

async function counters(): Promise<unknown> {
  return (await fetch(new URL("/_control", server?.url))).json();
}

const THROTTLED = "ThrottlingException 400";

describe("throttling", () => {
  /** A set, made so long ago that no bucket remembers it. */
  async function oldSet(name: string): Promise<Set> {
    const set = await create(name);
    nowMs += 60_000;
    return set;
  }

  async function startThrottled(): Promise<void> {
    server = await startWafv2({ now: () => nowMs });
    client = clientOf(server.url);
  }

  test("grants one update a second, whichever set it is for", async () => {
    await startThrottled();
    const a = await oldSet("a");
    const b = await oldSet("b");

    const second = await updateOn(a, ["192.0.2.1/32"]);
    expect(await failure(update(b))).toBe(THROTTLED);
    nowMs += 999;
    expect(await failure(update(second))).toBe(THROTTLED);
    nowMs += 1;
    expect(await failure(update(second))).toBe("none");
  });

  test("saves up no updates", async () => {
    await startThrottled();
    const set = await oldSet("a");

    const next = await updateOn(set);
    expect(await failure(update(next))).toBe(THROTTLED);
  });

  test("counts each action apart", async () => {
    await startThrottled();
    const set = await oldSet("a");

    const next = await updateOn(set);
    expect(await failure(create("b"))).toBe("none");
    expect(await failure(remove(next))).toBe("none");
    expect(await failure(create("c"))).toBe(THROTTLED);
  });

  test("an update that was throttled has changed nothing", async () => {
    await startThrottled();
    const set = await updateOn(await oldSet("a"), ["192.0.2.1/32"]);

    expect(await failure(update(set, ["192.0.2.2/32"]))).toBe(THROTTLED);
    const { IPSet, LockToken } = await get(set);
    expect(IPSet?.Addresses).toEqual(["192.0.2.1/32"]);
    expect(LockToken).toBe(set.LockToken);
  });

  test("grants five reads a second of each kind", async () => {
    await startThrottled();
    const set = await oldSet("a");

    for (let n = 0; n < 5; n += 1) await get(set);
    expect(await failure(get(set))).toBe(THROTTLED);
    expect(await failure(list())).toBe("none");
    nowMs += 200;
    expect(await failure(get(set))).toBe("none");
  });

  test("is counted, and can be turned off, changed and turned on again", async () => {
    await startThrottled();
    let set = await updateOn(await oldSet("a"));
    expect(await failure(update(set))).toBe(THROTTLED);
    expect(await counters()).toEqual({ calls: { CreateIPSet: 1, UpdateIPSet: 2 }, throttled: 1 });

    await control({ throttle: false });
    for (let n = 0; n < 3; n += 1) set = await updateOn(set);
    await control({ throttle: { perSecond: 1, burst: 2 } });
    set = await updateOn(await updateOn(set));
    expect(await failure(update(set))).toBe(THROTTLED);
    await control({ throttle: true });
    set = await updateOn(set);
    expect(await failure(update(set))).toBe(THROTTLED);
  });

  test("of one set's updates for good leaves everything else alone", async () => {
    await start();
    const stuck = await create("stuck");
    const free = await create("free");
    await control({ throttleSet: ["stuck"] });

    for (let n = 0; n < 3; n += 1) {
      nowMs += 60_000;
      expect(await failure(update(stuck))).toBe(THROTTLED);
    }
    expect(await failure(update(free))).toBe("none");
    expect(await failure(get(stuck))).toBe("none");
    await control({ throttleSet: [] });
    expect(await failure(update(stuck))).toBe("none");
  });
});

describe("refusals", () => {
  test("stand until they are taken back", async () => {
    await start();
    const set = await create("a");
    const code = "WAFUnavailableEntityException";
    await control({ refuse: [{ action: "UpdateIPSet", name: "a", code, message: "Not yet" }] });

    for (let n = 0; n < 3; n += 1) await expect(update(set)).rejects.toThrow("Not yet");
    await control({ readLagMs: 0 });
    expect(await failure(update(set))).toBe(`${code} 400`);
    await control({ refuse: [] });
    expect(await failure(update(set))).toBe("none");
  });

  test("meet only the set and the action that they name", async () => {
    await start();
    const a = await create("a");
    const b = await create("b");
    await control({
      refuse: [
        { name: "a", code: "AccessDeniedException", status: 403 },
        { action: "ListIPSets", code: "WAFInternalErrorException" },
      ],
    });

    expect(await failure(get(a))).toBe("AccessDeniedException 403");
    expect(await failure(update(a))).toBe("AccessDeniedException 403");
    expect(await failure(update(b))).toBe("none");
    expect(await failure(list())).toBe("WAFInternalErrorException 500");
  });
});

describe("failures ordered", () => {
  test("meet the next calls of their action, so many of them", async () => {
    await start();
    const set = await create("a");
    const order = { action: "UpdateIPSet", code: "WAFInternalErrorException", count: 2 };
    await control({ failNext: order });

    expect(await failure(get(set))).toBe("none");
    expect(await failure(update(set))).toBe("WAFInternalErrorException 500");
    expect(await failure(update(set))).toBe("WAFInternalErrorException 500");
    expect(await failure(update(set))).toBe("none");
  });

  test("after the effect leave the change, under a lock token that nobody was told", async () => {
    await start();
    const set = await create("a");
    await control({
      failNext: { code: "ServiceUnavailable", count: 1, afterEffect: true },
    });

    expect(await failure(update(set, ["192.0.2.1/32"]))).toBe("ServiceUnavailable 503");
    expect((await get(set)).IPSet?.Addresses).toEqual(["192.0.2.1/32"]);
    expect(await failure(update(set))).toBe("WAFOptimisticLockException 400");
  });

  test("can take longer than a client waits", async () => {
    await start();
    const set = await create("a");
    await control({
      failNext: { code: "WAFInternalErrorException", count: 1, afterEffect: true, delayMs: 30_000 },
    });
    client.destroy();
    client = clientOf(server?.url ?? "", 300);

    expect(await failure(update(set, ["192.0.2.1/32"]))).toMatch(/Timeout/);
    expect((await get(set)).IPSet?.Addresses).toEqual(["192.0.2.1/32"]);
  });
});

describe("reads that lag", () => {
  test("show what was, with a lock token that is stale", async () => {
    await start();
    const set = await create("a");
    nowMs += 10_000;
    await control({ readLagMs: 5_000 });
    const next = await updateOn(set, ["192.0.2.1/32"]);

    const { IPSet, LockToken = "" } = await get(set);
    expect(IPSet?.Addresses).toEqual([]);
    expect(LockToken).toBe(set.LockToken);
    expect(await failure(update({ ...set, LockToken }))).toBe("WAFOptimisticLockException 400");
    nowMs += 5_000;
    expect((await get(set)).LockToken).toBe(next.LockToken);
  });
});

describe("control", () => {
  test("counts calls by action, and starts again on demand", async () => {
    await start();
    const set = await create("a");
    await get(set);
    await get(set);
    expect(await counters()).toEqual({ calls: { CreateIPSet: 1, GetIPSet: 2 }, throttled: 0 });

    await control({ failNext: { code: "WAFInternalErrorException", count: 1 } });
    await fetch(new URL("/_control", server?.url), { method: "DELETE" });
    expect(await counters()).toEqual({ calls: {}, throttled: 0 });
    expect(await failure(get(set))).toBe("none");
  });

  test.each([
    { unknown: true },
    { throttle: { perSecond: -1, burst: 1 } },
    { refuse: [{ name: "a" }] },
    { failNext: { code: "WAFInternalErrorException" } },
  ])("refuses what it does not understand: %j", async (settings) => {
    await start();
    expect((await control(settings)).status).toBe(400);
  });
});

describe("the protocol", () => {
  async function post(target: string, body: string) {
    const response = await fetch(server?.url ?? "", {
      method: "POST",
      headers: { "content-type": "application/x-amz-json-1.1", "x-amz-target": target },
      body,
    });
    return { status: response.status, json: (await response.json()) as Record<string, unknown> };
  }

  test("names an operation it does not know, and a body that is no JSON", async () => {
    await start();
    expect(await post("AWSWAF_20190729.CreateWebACL", "{}")).toMatchObject({
      status: 400,
      json: { __type: "UnknownOperationException" },
    });
    expect(await post("AWSWAF_20190729.GetIPSet", "{")).toMatchObject({
      status: 400,
      json: { __type: "SerializationException" },
    });
  });

  test("names every parameter that breaks the model", async () => {
    await start();
    const body = JSON.stringify({ Name: "two words", Scope: "REGIONAL" });
    const { json } = await post("AWSWAF_20190729.GetIPSet", body);

    expect(json.__type).toBe("ValidationException");
    expect(json.Message).toMatch(/^2 validation errors detected: /);
    expect(json.Message).toContain("'two words' at 'Name'");
    expect(json.Message).toContain("at 'Id'");
  });
});

test("CloudFront's sets are refused outside us-east-1", async () => {
  await start({ region: "eu-central-1" });

  expect(await failure(create("a", "CLOUDFRONT"))).toBe("WAFInvalidParameterException 400");
  expect(await failure(create("a"))).toBe("none");
  expect((await list()).IPSets?.[0]?.ARN).toContain("arn:aws:wafv2:eu-central-1:");
});

test("a scope has 100 sets at most", async () => {
  await start();
  for (let n = 0; n < 100; n += 1) await create(`set-${n}`);

  expect(await failure(create("one-more"))).toBe("WAFLimitsExceededException 400");
  expect(await failure(create("one-more", "CLOUDFRONT"))).toBe("none");
});

describe("the state file", () => {
  test("has everything that was answered, for the next start", async () => {
    const stateFile = join(directory, "deep", "state.json");
    await start({ stateFile });
    const gone = await create("gone");
    const set = await updateOn(await create("a"), ["192.0.2.1/32"]);
    await remove(gone);
    client.destroy();
    await server?.stop();

    await start({ stateFile });
    expect((await list()).IPSets?.map(({ Name }) => Name)).toEqual(["a"]);
    expect((await get(set)).IPSet?.Addresses).toEqual(["192.0.2.1/32"]);
    expect(await failure(update(set))).toBe("none");
    expect(existsSync(`${stateFile}.tmp`)).toBe(false);
  });

  test("that is none is named", async () => {
    const stateFile = join(directory, "state.json");
    writeFileSync(stateFile, "[]");
    await expect(startWafv2({ stateFile })).rejects.toThrow(stateFile);
  });
});

describe("the process", () => {
  let child: ChildProcess | undefined;

  afterEach(() => {
    child?.kill("SIGKILL");
  });

  async function run(env: Record<string, string>): Promise<string> {
    child = spawn(process.execPath, [MAIN], {
      stdio: ["pipe", "pipe", "pipe"],
      env: { PATH: process.env.PATH ?? "", ...env },
    });
    const [line] = child.stdout ? await once(child.stdout, "data") : [""];
    const { url } = JSON.parse(`${line}`) as { url: string };
    client = clientOf(url);
    return url;
  }

  test("prints its address, keeps its state, and ends with its parent", async () => {
    const stateFile = join(directory, "state.json");
    const url = await run({
      WAFV2_STATE_FILE: stateFile,
      WAFV2_THROTTLE: "off",
      AWS_REGION: "eu-central-1",
      EXIT_WITH_PARENT: "1",
    });

    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    await create("a");
    await create("b");
    expect(readFileSync(stateFile, "utf8")).toContain("arn:aws:wafv2:eu-central-1:");

    const exited = child ? once(child, "exit") : Promise.resolve([]);
    child?.stdin?.end();
    expect(await exited).toEqual([0, null]);
  });

  test("throttles as AWS does unless told otherwise", async () => {
    await run({});
    await create("a");
    expect(await failure(create("b"))).toBe(THROTTLED);
  });

  test("names what is wrong with its environment", async () => {
    child = spawn(process.execPath, [MAIN], { env: { WAFV2_PORT: "http" } });
    const exited = once(child, "exit");
    const [complaint] = child.stderr ? await once(child.stderr, "data") : [""];
    expect(`${complaint}`).toContain("WAFV2_PORT");
    expect(await exited).toEqual([2, null]);
  });
});
