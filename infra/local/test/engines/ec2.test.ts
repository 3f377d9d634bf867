import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import {
  CreateNetworkAclCommand,
  CreateNetworkAclEntryCommand,
  DeleteNetworkAclCommand,
  DeleteNetworkAclEntryCommand,
  DescribeInstancesCommand,
  DescribeNetworkAclsCommand,
  DescribeVpcsCommand,
  EC2Client,
  EC2ServiceException,
  paginateDescribeNetworkAcls,
  ReplaceNetworkAclEntryCommand,
} from "@aws-sdk/client-ec2";
import { afterEach, beforeEach, describe, expect, it } from "@jest/globals";
import { type Ec2Options, startEc2 } from "../../engines/ec2/server.ts";
import { AWS_LIMITS, createThrottle } from "../../engines/ec2/throttle.ts";

const ACL = "acl-0a1b2c3d4e5f60718";
const MAIN = fileURLToPath(new URL("../../engines/ec2/main.ts", import.meta.url));
const CREDENTIALS = { AWS_ACCESS_KEY_ID: "local", AWS_SECRET_ACCESS_KEY: "local" };

const hasAwsCli = spawnSync("aws", ["--version"]).status === 0;
if (!hasAwsCli)
  console.warn("SKIPPED: EC2 emulator with the AWS CLI. Install it: pip install awscli");

/** What a test opened, closed after it in reverse order. */
const opened: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

async function start(options: Ec2Options = {}) {
  const server = await startEc2(options);
  opened.push(() => server.stop());
  return { url: server.url, client: clientOf(server.url), stop: server.stop };
}

function clientOf(endpoint: string, maxAttempts = 1): EC2Client {
  const client = new EC2Client({
    endpoint,
    region: "us-east-1",
    credentials: { accessKeyId: "local", secretAccessKey: "local" },
    maxAttempts,
  });
  opened.push(() => client.destroy());
  return client;
}

function entry(RuleNumber: number, CidrBlock = `198.51.100.${RuleNumber}/32`) {
  return {
    NetworkAclId: ACL,
    RuleNumber,
    Protocol: "-1",
    RuleAction: "deny" as const,
    Egress: false,
    CidrBlock,
  };
}

const create = (client: EC2Client, ruleNumber: number) =>
  client.send(new CreateNetworkAclEntryCommand(entry(ruleNumber)));

/** The numbers of the inbound entries that somebody made. */
async function numbers(client: EC2Client): Promise<number[]> {
  const { NetworkAcls } = await client.send(
    new DescribeNetworkAclsCommand({ NetworkAclIds: [ACL] }),
  );
  const inbound = NetworkAcls?.[0]?.Entries?.filter(({ Egress }) => !Egress) ?? [];
  return inbound.map(({ RuleNumber = 0 }) => RuleNumber).filter((number) => number < 100);
}

/** "accepted", or the code and the status of the refusal. */
async function outcomeOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "accepted";
  } catch (error) {
    if (!(error instanceof EC2ServiceException)) throw error;
    return `${error.name} ${error.$metadata.httpStatusCode}`;
  }
}

async function control(url: string, body: unknown): Promise<number> {
  const response = await fetch(`${url}/_control`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  return response.status;
}

async function counters(url: string): Promise<unknown> {
  return (await fetch(`${url}/_control`)).json();
}

describe("the token bucket", () => {
  let nowMs = 0;
  const throttle = (limits: Parameters<typeof createThrottle>[0] = AWS_LIMITS) =>
    createThrottle(limits, () => nowMs);
  const takenOf = (bucket: ReturnType<typeof createThrottle>, action: string, calls: number) =>
    Array.from({ length: calls }, () => bucket.take(action)).filter(Boolean).length;
  beforeEach(() => {
    nowMs = 0;
  });

  it.each([
    { action: "CreateNetworkAclEntry", burst: 50, perSecond: 5 },
    { action: "DeleteNetworkAclEntry", burst: 50, perSecond: 5 },
    { action: "DescribeNetworkAcls", burst: 100, perSecond: 20 },
  ])("gives $action $burst at once and $perSecond per second", ({ action, burst, perSecond }) => {
    const bucket = throttle();
    expect(takenOf(bucket, action, 200)).toBe(burst);
    nowMs += 1000;
    expect(takenOf(bucket, action, 200)).toBe(perSecond);
  });

  it("gives a token only when a whole one is there", () => {
    const bucket = throttle();
    takenOf(bucket, "CreateNetworkAclEntry", 50);
    nowMs += 199;
    expect(bucket.take("CreateNetworkAclEntry")).toBe(false);
    nowMs += 1;
    expect(bucket.take("CreateNetworkAclEntry")).toBe(true);
  });

  it("never holds more than its size", () => {
    const bucket = throttle();
    takenOf(bucket, "CreateNetworkAclEntry", 50);
    nowMs += 3_600_000;
    expect(takenOf(bucket, "CreateNetworkAclEntry", 200)).toBe(50);
  });

  it("is one per action", () => {
    const bucket = throttle();
    takenOf(bucket, "CreateNetworkAclEntry", 50);
    expect(takenOf(bucket, "ReplaceNetworkAclEntry", 200)).toBe(50);
  });

  it("can be turned off", () => {
    expect(takenOf(throttle(false), "CreateNetworkAclEntry", 1000)).toBe(1000);
  });
});

describe("throttling", () => {
  it("is on by default, answers RequestLimitExceeded with 503, and does nothing then", async () => {
    const { client } = await start({ now: () => 0 });
    const remove = () => outcomeOf(client.send(new DeleteNetworkAclEntryCommand({ ...entry(1) })));
    for (let call = 0; call < 50; call++) {
      expect(await remove()).toBe("InvalidNetworkAclEntry.NotFound 400");
    }
    expect(await remove()).toBe("RequestLimitExceeded 503");
    expect(await numbers(client)).toEqual([]);
  });

  it("is what the SDK client takes it for: it tries again", async () => {
    const { url } = await start();
    await control(url, { failNext: { code: "RequestLimitExceeded", count: 2 } });

    const { $metadata } = await create(clientOf(url, 3), 1);

    expect($metadata.attempts).toBe(3);
    expect(await counters(url)).toEqual({ calls: { CreateNetworkAclEntry: 3 }, throttled: 2 });
  });
});

describe("the quota", () => {
  it("is an option, counted with the default deny and the default allow", async () => {
    const { client } = await start({ quota: 4 });
    await create(client, 1);
    await create(client, 2);
    expect(await outcomeOf(create(client, 3))).toBe("NetworkAclEntryLimitExceeded 400");
    expect(
      await outcomeOf(client.send(new ReplaceNetworkAclEntryCommand(entry(2, "192.0.2.0/24")))),
    ).toBe("accepted");
    await client.send(new DeleteNetworkAclEntryCommand(entry(1)));
    expect(await outcomeOf(create(client, 3))).toBe("accepted");
  });
});

describe("read lag", () => {
  it("shows what was that long ago, while writes meet what is", async () => {
    let nowMs = 0;
    const { client } = await start({ readLagMs: 1000, now: () => nowMs });
    await create(client, 1);
    nowMs = 600;
    await create(client, 2);

    expect(await numbers(client)).toEqual([]);
    expect(await outcomeOf(create(client, 2))).toBe("NetworkAclEntryAlreadyExists 400");
    nowMs = 999;
    expect(await numbers(client)).toEqual([]);
    nowMs = 1000;
    expect(await numbers(client)).toEqual([1]);
    nowMs = 1600;
    expect(await numbers(client)).toEqual([1, 2]);
  });
});

describe("the state file", () => {
  let directory: string;
  let stateFile: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "ec2-"));
    stateFile = join(directory, "deep", "ec2.json");
    opened.push(() => rm(directory, { recursive: true }));
  });

  it("brings everything back after a restart", async () => {
    const first = await start({ stateFile });
    await create(first.client, 1);
    await create(first.client, 2);
    await first.client.send(new DeleteNetworkAclEntryCommand(entry(1)));
    const created = await first.client.send(
      new CreateNetworkAclCommand({ VpcId: "vpc-0a1b2c3d4e5f60718" }),
    );
    const before = await first.client.send(new DescribeNetworkAclsCommand({}));
    await first.stop();

    const second = await start({ stateFile });
    const after = await second.client.send(new DescribeNetworkAclsCommand({}));

    expect(await numbers(second.client)).toEqual([2]);
    expect(after.NetworkAcls).toEqual(before.NetworkAcls);
    expect(after.NetworkAcls?.map(({ NetworkAclId }) => NetworkAclId)).toContain(
      created.NetworkAcl?.NetworkAclId,
    );
  });

  it("has every answered mutation even if the process is killed", async () => {
    const { child, url } = await startProcess({ EC2_STATE_FILE: stateFile });
    const client = clientOf(url);
    await create(client, 1);
    await create(client, 2);
    child.kill("SIGKILL");
    await once(child, "exit");

    const { client: again } = await start({ stateFile });
    expect(await numbers(again)).toEqual([1, 2]);
  });

  it("is not written by what was refused or only tried", async () => {
    const { client } = await start({ stateFile });
    await create(client, 1);
    const before = await readFile(stateFile, "utf8");
    await outcomeOf(create(client, 1));
    await outcomeOf(client.send(new CreateNetworkAclEntryCommand({ ...entry(2), DryRun: true })));
    expect(await readFile(stateFile, "utf8")).toBe(before);
  });

  it("is refused when it is not a state", async () => {
    const wrong = join(directory, "wrong.json");
    await writeFile(wrong, "[]");
    await expect(startEc2({ stateFile: wrong })).rejects.toThrow("not a state");
  });

  it("answers InternalError, and changes nothing, when it cannot be written", async () => {
    await writeFile(join(directory, "deep"), "a file where a folder must be");
    const { client } = await start({ stateFile });
    expect(await outcomeOf(create(client, 1))).toBe("InternalError 500");
    expect(await numbers(client)).toEqual([]);
  });
});

describe("the control surface", () => {
  it("counts calls per action", async () => {
    const { client, url } = await start({ throttle: { mutating: { burst: 1, perSecond: 0 } } });
    await create(client, 1);
    await outcomeOf(create(client, 2));
    await client.send(new DescribeVpcsCommand({}));

    expect(await counters(url)).toEqual({
      calls: { CreateNetworkAclEntry: 2, DescribeVpcs: 1 },
      throttled: 1,
    });
    await fetch(`${url}/_control`, { method: "DELETE" });
    expect(await counters(url)).toEqual({ calls: {}, throttled: 0 });
  });

  it("changes quota, throttle and read lag at run time", async () => {
    const { client, url } = await start({ now: () => 0 });
    await control(url, { quota: 3 });
    await create(client, 1);
    expect(await outcomeOf(create(client, 2))).toBe("NetworkAclEntryLimitExceeded 400");

    await control(url, { quota: 20, throttle: { mutating: { burst: 0, perSecond: 0 } } });
    expect(await outcomeOf(create(client, 2))).toBe("RequestLimitExceeded 503");
    await control(url, { throttle: false });
    expect(await outcomeOf(create(client, 2))).toBe("accepted");

    await control(url, { readLagMs: 60_000 });
    expect(await numbers(client)).toEqual([]);
    await control(url, { readLagMs: 0 });
    expect(await numbers(client)).toEqual([1, 2]);
  });

  it("fails the next calls of one action, as often as ordered, without effect", async () => {
    const { client, url } = await start();
    await control(url, {
      failNext: { action: "CreateNetworkAclEntry", code: "Unavailable", count: 2 },
    });

    expect(await numbers(client)).toEqual([]);
    expect(await outcomeOf(create(client, 1))).toBe("Unavailable 503");
    expect(await outcomeOf(create(client, 1))).toBe("Unavailable 503");
    expect(await numbers(client)).toEqual([]);
    expect(await outcomeOf(create(client, 1))).toBe("accepted");
  });

  it("fails any action when none is named, with the status that was ordered", async () => {
    const { client, url } = await start();
    await control(url, { failNext: { code: "UnauthorizedOperation", status: 403, count: 1 } });
    const outcome = await outcomeOf(client.send(new DescribeVpcsCommand({})));
    expect(outcome).toBe("UnauthorizedOperation 403");
  });

  it("fails after the effect", async () => {
    const { client, url } = await start();
    await control(url, { failNext: { code: "InternalError", count: 1, afterEffect: true } });

    expect(await outcomeOf(create(client, 1))).toBe("InternalError 500");
    expect(await numbers(client)).toEqual([1]);
  });

  it("loses an answer in a delay that outlasts the client, the effect having been made", async () => {
    const { client, url } = await start({ throttle: false });
    await control(url, {
      failNext: {
        action: "CreateNetworkAclEntry",
        code: "InternalError",
        count: 1,
        afterEffect: true,
        delayMs: 600_000,
      },
    });
    const timeout = new AbortController();
    const call = client.send(new CreateNetworkAclEntryCommand(entry(1)), {
      abortSignal: timeout.signal,
    });
    const lost = expect(call).rejects.toMatchObject({ name: "AbortError" });
    while ((await numbers(client)).length === 0);
    timeout.abort();
    await lost;
    expect(await numbers(client)).toEqual([1]);
  });

  it("forgets ordered failures", async () => {
    const { client, url } = await start();
    await control(url, { failNext: { code: "Unavailable", count: 5 } });
    await fetch(`${url}/_control`, { method: "DELETE" });
    expect(await outcomeOf(create(client, 1))).toBe("accepted");
  });

  it("makes an ACL of the id that is asked for, once, as a default ACL and in use", async () => {
    const { client, url } = await start();
    const networkAclId = "acl-00000000000000001";
    const wanted = { createAcl: { networkAclId, allowAll: true } };
    expect(await control(url, wanted)).toBe(204);
    await client.send(
      new CreateNetworkAclEntryCommand({ ...entry(1), NetworkAclId: networkAclId }),
    );
    expect(await control(url, wanted)).toBe(204);

    const { NetworkAcls } = await client.send(
      new DescribeNetworkAclsCommand({ NetworkAclIds: [networkAclId] }),
    );
    expect(NetworkAcls).toMatchObject([
      {
        IsDefault: false,
        VpcId: "vpc-0a1b2c3d4e5f60718",
        Associations: [{ NetworkAclId: networkAclId }],
      },
    ]);
    const inbound = NetworkAcls?.[0]?.Entries?.filter(({ Egress }) => !Egress);
    expect(inbound?.map(({ RuleNumber }) => RuleNumber)).toEqual([1, 100, 101, 32_767, 32_768]);
    const remove = client.send(new DeleteNetworkAclCommand({ NetworkAclId: networkAclId }));
    expect(await outcomeOf(remove)).toBe("DependencyViolation 400");
  });

  it("makes an ACL that denies everything where nothing else is asked for", async () => {
    const { client, url } = await start();
    const networkAclId = "acl-00000001";
    await control(url, { createAcl: { networkAclId } });
    const { NetworkAcls } = await client.send(
      new DescribeNetworkAclsCommand({ NetworkAclIds: [networkAclId] }),
    );
    expect(NetworkAcls?.[0]?.Entries?.map(({ RuleNumber }) => RuleNumber)).toEqual([
      32_767, 32_768, 32_767, 32_768,
    ]);
  });

  it("refuses for as long as it stands, only the action and the ACL that are named", async () => {
    const { client, url } = await start();
    const networkAclId = "acl-00000000000000001";
    await control(url, {
      createAcl: { networkAclId },
      refuse: [
        {
          action: "CreateNetworkAclEntry",
          networkAclId: ACL,
          code: "UnauthorizedOperation",
          message: "Not you",
        },
      ],
    });
    for (const _ of [1, 2, 3]) {
      expect(await outcomeOf(create(client, 1))).toBe("UnauthorizedOperation 403");
    }
    await expect(create(client, 1)).rejects.toThrow("Not you");
    const other = new CreateNetworkAclEntryCommand({ ...entry(1), NetworkAclId: networkAclId });
    expect(await outcomeOf(client.send(other))).toBe("accepted");
    expect(await numbers(client)).toEqual([]);

    await fetch(`${url}/_control`, { method: "DELETE" });
    expect(await outcomeOf(create(client, 1))).toBe("UnauthorizedOperation 403");
    await control(url, { refuse: [] });
    expect(await outcomeOf(create(client, 1))).toBe("accepted");
  });

  it("refuses every call that names the ACL, where no action is named", async () => {
    const { client, url } = await start();
    await control(url, { refuse: [{ networkAclId: ACL, code: "AuthFailure", status: 401 }] });
    expect(await outcomeOf(numbers(client))).toBe("AuthFailure 401");
    const all = client.send(new DescribeNetworkAclsCommand({}));
    expect(await outcomeOf(all)).toBe("accepted");
  });

  it("throttles one ACL and leaves another its rate", async () => {
    const { client, url } = await start({ now: () => 0 });
    const networkAclId = "acl-00000000000000001";
    await control(url, {
      createAcl: { networkAclId },
      throttleAcl: { [ACL]: { mutating: { burst: 1, perSecond: 0 } } },
    });
    await create(client, 1);
    expect(await outcomeOf(create(client, 2))).toBe("RequestLimitExceeded 503");
    expect(await numbers(client)).toEqual([1]);
    const other = new CreateNetworkAclEntryCommand({ ...entry(1), NetworkAclId: networkAclId });
    expect(await outcomeOf(client.send(other))).toBe("accepted");

    await control(url, { throttleAcl: { [ACL]: false } });
    expect(await outcomeOf(create(client, 2))).toBe("accepted");
  });

  it.each([
    { unknown: 1 },
    { createAcl: { networkAclId: "acl-xyz" } },
    { refuse: [{ action: "CreateNetworkAclEntry" }] },
    { throttleAcl: { [ACL]: true } },
    { quota: -1 },
    { throttle: "off" },
    { failNext: { code: "Unavailable" } },
    { failNext: { code: "Unavailable", count: 1, sometimes: true } },
  ])("refuses %j", async (body) => {
    const { url } = await start();
    expect(await control(url, body)).toBe(400);
  });
});

describe("the address", () => {
  it("is this machine's own only", async () => {
    const { url } = await start();
    const { hostname, port } = new URL(url);
    expect(hostname).toBe("127.0.0.1");
    const outside = Object.values(networkInterfaces())
      .flatMap((addresses) => addresses ?? [])
      .filter(({ internal, family }) => !internal && family === "IPv4");
    for (const { address } of outside) {
      await expect(fetch(`http://${address}:${port}/_control`)).rejects.toThrow();
    }
  });
});

describe("the protocol", () => {
  it("takes GET as well as POST, and answers EC2's XML", async () => {
    const { url } = await start();
    const response = await fetch(`${url}/?Action=DescribeVpcs&Version=2016-11-15`);
    const xml = await response.text();
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toContain("text/xml");
    expect(xml).toContain(
      '<DescribeVpcsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>',
    );
  });

  it("answers an action it does not have with InvalidAction", async () => {
    const { client } = await start();
    const outcome = await outcomeOf(client.send(new DescribeInstancesCommand({})));
    expect(outcome).toBe("InvalidAction 400");
  });

  it.each(["constructor", "toString", "__proto__"])("has no action %s", async (action) => {
    const { url } = await start();
    const xml = await (await fetch(`${url}/?Action=${action}`)).text();
    expect(xml).toContain("<Code>InvalidAction</Code>");
  });

  it("answers errors as EC2 does, with markup escaped", async () => {
    const { url } = await start();
    const response = await fetch(`${url}/?Action=%3CEvil%3E`);
    expect(response.status).toBe(400);
    expect(await response.text()).toMatch(
      /<Response><Errors><Error><Code>InvalidAction<\/Code><Message>[^<]*&lt;Evil&gt;[^<]*<\/Message><\/Error><\/Errors><RequestID>[^<]+<\/RequestID><\/Response>/,
    );
    const withoutAction = await fetch(`${url}/`);
    expect(await withoutAction.text()).toContain("<Code>MissingAction</Code>");
  });

  it("answers DryRunOperation with 412", async () => {
    const { client } = await start();
    const outcome = await outcomeOf(client.send(new DescribeVpcsCommand({ DryRun: true })));
    expect(outcome).toBe("DryRunOperation 412");
  });

  it("pages", async () => {
    const { client } = await start();
    for (let count = 1; count <= 11; count++) {
      await client.send(new CreateNetworkAclCommand({ VpcId: "vpc-0a1b2c3d4e5f60718" }));
    }
    const sizes: number[] = [];
    const ids = new Set<string | undefined>();
    for await (const page of paginateDescribeNetworkAcls({ client, pageSize: 5 }, {})) {
      sizes.push(page.NetworkAcls?.length ?? 0);
      for (const acl of page.NetworkAcls ?? []) ids.add(acl.NetworkAclId);
    }
    expect(sizes).toEqual([5, 5, 2]);
    expect(ids.size).toBe(12);
    const tooSmall = client.send(new DescribeNetworkAclsCommand({ MaxResults: 4 }));
    expect(await outcomeOf(tooSmall)).toBe("InvalidParameterValue 400");
  });

  it.each([
    { Name: "network-acl-id", Values: [ACL], finds: true },
    { Name: "network-acl-id", Values: ["acl-0a1b*"], finds: true },
    { Name: "network-acl-id", Values: ["acl-0a1b"], finds: false },
    { Name: "entry.cidr", Values: ["198.51.100.0/24", "198.51.100.1/32"], finds: true },
    { Name: "entry.cidr", Values: ["198.51.100.?/32"], finds: true },
    { Name: "entry.cidr", Values: ["198x51.100.1/32"], finds: false },
    { Name: "entry.ipv6-cidr", Values: ["::/0"], finds: true },
    { Name: "entry.protocol", Values: ["tcp"], finds: true },
    { Name: "entry.protocol", Values: ["17"], finds: false },
    { Name: "entry.port-range.to", Values: ["443"], finds: true },
    { Name: "entry.rule-number", Values: ["1"], finds: true },
    { Name: "entry.rule-action", Values: ["deny"], finds: true },
    { Name: "entry.egress", Values: ["false"], finds: true },
    { Name: "association.subnet-id", Values: ["*"], finds: true },
    { Name: "association.subnet-id", Values: ["subnet-0a1b2c3d4e5f60719"], finds: true },
    { Name: "association.subnet-id", Values: ["subnet-00000000000000000"], finds: false },
    { Name: "default", Values: ["false"], finds: false },
  ])("filters by $Name = $Values: $finds", async ({ Name, Values, finds }) => {
    const { client } = await start();
    await create(client, 1);
    const https = { Protocol: "6", PortRange: { From: 443, To: 443 } };
    await client.send(new CreateNetworkAclEntryCommand({ ...entry(2), ...https }));

    const Filters = [{ Name, Values }];
    const { NetworkAcls } = await client.send(new DescribeNetworkAclsCommand({ Filters }));

    expect(NetworkAcls).toHaveLength(finds ? 1 : 0);
  });

  it("begins with the VPCs that it was given", async () => {
    const { client } = await start({
      region: "eu-central-1",
      vpcs: [
        {
          vpcId: "vpc-11111111",
          cidrBlocks: ["172.16.0.0/16", "172.17.0.0/16"],
          ipv6CidrBlocks: [],
          defaultNetworkAclId: "acl-11111111",
        },
      ],
    });
    const { Vpcs } = await client.send(new DescribeVpcsCommand({}));
    expect(Vpcs).toMatchObject([
      {
        VpcId: "vpc-11111111",
        CidrBlock: "172.16.0.0/16",
        CidrBlockAssociationSet: [{ CidrBlock: "172.16.0.0/16" }, { CidrBlock: "172.17.0.0/16" }],
        Ipv6CidrBlockAssociationSet: [],
      },
    ]);
    const { NetworkAcls } = await client.send(new DescribeNetworkAclsCommand({}));
    expect(NetworkAcls).toMatchObject([{ NetworkAclId: "acl-11111111", IsDefault: true }]);
    expect(NetworkAcls?.[0]?.Entries?.map(({ RuleNumber }) => RuleNumber)).toEqual([
      100, 32_767, 100, 32_767,
    ]);
  });
});

describe("the process", () => {
  it.each(["SIGTERM", "SIGINT"] as const)("ends cleanly on %s", async (signal) => {
    const { child } = await startProcess({});
    child.kill(signal);
    expect(await once(child, "exit")).toEqual([0, null]);
  });

  it("ends when its stdin closes, with EXIT_WITH_PARENT=1", async () => {
    const { child } = await startProcess({ EXIT_WITH_PARENT: "1" });
    child.stdin?.end();
    expect(await once(child, "exit")).toEqual([0, null]);
  });

  it("goes on when its stdin closes, without EXIT_WITH_PARENT", async () => {
    const { child, url } = await startProcess({});
    child.stdin?.end();
    await once(child.stdin ?? child, "close");
    expect((await fetch(`${url}/_control`)).status).toBe(200);
    expect(child.exitCode).toBeNull();
  });

  it("is configured by its environment", async () => {
    const { url } = await startProcess({ EC2_QUOTA: "3", EC2_THROTTLE: "off", AWS_REGION: "x-1" });
    const client = clientOf(url);
    await create(client, 1);
    expect(await outcomeOf(create(client, 2))).toBe("NetworkAclEntryLimitExceeded 400");
    for (let call = 0; call < 60; call++) {
      expect(await outcomeOf(create(client, 1))).toBe("NetworkAclEntryAlreadyExists 400");
    }
    const { Vpcs } = await client.send(new DescribeVpcsCommand({}));
    expect(Vpcs?.[0]?.Ipv6CidrBlockAssociationSet?.[0]?.NetworkBorderGroup).toBe("x-1");
  });

  it.each([
    { EC2_PORT: "65536" },
    { EC2_QUOTA: "many" },
    { EC2_THROTTLE: "maybe" },
    { EC2_READ_LAG_MS: "-1" },
  ])("does not start with %j", async (environment) => {
    const { status, stderr } = spawnSync(process.execPath, [MAIN], {
      env: { ...process.env, ...environment },
      encoding: "utf8",
      timeout: 20_000,
    });
    expect(status).toBe(2);
    expect(stderr).toContain(Object.keys(environment)[0]);
  });
});

const withAwsCli = hasAwsCli ? it : it.skip;

describe("the AWS CLI", () => {
  withAwsCli("creates, describes and deletes entries, and reads errors", async () => {
    const { url } = await start();
    const aws = async (...args: string[]) => {
      const { stdout } = await promisify(execFile)("aws", ["ec2", "--endpoint-url", url, ...args], {
        env: {
          ...process.env,
          ...CREDENTIALS,
          AWS_DEFAULT_REGION: "us-east-1",
          AWS_MAX_ATTEMPTS: "1",
        },
      });
      return stdout;
    };
    const rule = ["--network-acl-id", ACL, "--ingress", "--rule-number", "7"];
    const deny = ["--protocol", "tcp", "--port-range", "From=22,To=22", "--rule-action", "deny"];

    await aws("create-network-acl-entry", ...rule, ...deny, "--cidr-block", "203.0.113.9/24");
    const described = JSON.parse(await aws("describe-network-acls", "--network-acl-ids", ACL));
    expect(described.NetworkAcls[0].Entries).toContainEqual({
      CidrBlock: "203.0.113.0/24",
      Egress: false,
      PortRange: { From: 22, To: 22 },
      Protocol: "6",
      RuleAction: "deny",
      RuleNumber: 7,
    });
    await aws("delete-network-acl-entry", ...rule);
    await expect(aws("delete-network-acl-entry", ...rule)).rejects.toMatchObject({
      stderr: expect.stringContaining("(InvalidNetworkAclEntry.NotFound)"),
    });
  });
});

/** Runs the emulator as a process, until it says where it is. */
async function startProcess(
  environment: Record<string, string>,
): Promise<{ child: ChildProcess; url: string }> {
  const child = spawn(process.execPath, [MAIN], {
    env: { ...process.env, ...environment },
    stdio: ["pipe", "pipe", "inherit"],
  });
  opened.push(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  });
  const [line] = await once(createInterface(child.stdout), "line");
  return { child, url: JSON.parse(line).url };
}
