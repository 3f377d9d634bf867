import {
  AllocateAddressCommand,
  CreateNatGatewayCommand,
  DescribeSubnetsCommand,
  EC2Client,
} from "@aws-sdk/client-ec2";
import { afterAll, beforeAll, beforeEach, expect, test } from "@jest/globals";
import { startEc2 } from "../../../infra/local/engines/ec2/server.ts";
import { createAccountAddresses } from "../../../shared/aws/accountAddresses.ts";

let server: Awaited<ReturnType<typeof startEc2>>;
let ec2: EC2Client;
const ips: string[] = [];
beforeAll(async () => {
  server = await startEc2({ throttle: false });
  ec2 = new EC2Client({
    ...{ endpoint: server.url, region: "us-east-1", maxAttempts: 1 },
    credentials: { accessKeyId: "local", secretAccessKey: "local" },
  });
  const allocate = async () => {
    const { PublicIp, AllocationId } = await ec2.send(new AllocateAddressCommand({}));
    ips.push(String(PublicIp));
    return AllocationId;
  };
  await allocate();
  const { Subnets } = await ec2.send(new DescribeSubnetsCommand({}));
  const SubnetId = Subnets?.[0]?.SubnetId;
  await ec2.send(new CreateNatGatewayCommand({ SubnetId, AllocationId: await allocate() }));
}, 30_000);
afterAll(async () => {
  ec2?.destroy();
  await server?.stop();
});

let now: number;
let recorded: Record<string, readonly string[]>;
let writes: number;
let warned: number;
beforeEach(() => {
  now = 1_800_000_000_000;
  recorded = {};
  writes = 0;
  warned = 0;
});
const states = {
  readNetworks: async () => new Map(Object.entries(recorded)),
  async writeNetwork(id: string, ranges: readonly string[]) {
    writes++;
    recorded[id] = ranges;
  },
};
const log = { warn: () => void warned++ } as never;
const down = { send: () => Promise.reject(new Error("Request limit exceeded.")) };
const start = (client = ec2) => createAccountAddresses(client, states, log, () => now);

test("are the Elastic IPs and those of NAT gateways, each once, and are recorded", async () => {
  const addresses = start();
  expect(await addresses()).toEqual(ips.toSorted());
  expect(recorded).toEqual({ account: ips.toSorted() });
  now += 60_000;
  await addresses();
  expect(writes).toBe(1);
});

test("are asked for once a minute", async () => {
  let calls = 0;
  const counting = {
    send: async (...args: Parameters<EC2Client["send"]>) => {
      calls++;
      return ec2.send(...args);
    },
  } as unknown as EC2Client;
  Object.setPrototypeOf(counting, EC2Client.prototype);
  const addresses = start(counting);
  await Promise.all([addresses(), addresses()]);
  now += 59_999;
  await addresses();
  expect(calls).toBe(2);
  now += 1;
  await addresses();
  expect(calls).toBe(4);
});

test("while EC2 cannot be read, are what was recorded; what was never known is nothing", async () => {
  const failing = Object.setPrototypeOf({ ...down }, EC2Client.prototype) as EC2Client;
  expect(await start(failing)()).toEqual([]);
  recorded = { account: ["3.80.0.1"], "acl-0123456789abcdef0": ["10.0.0.0/16"] };
  expect(await start(failing)()).toEqual(["3.80.0.1"]);
  expect(warned).toBe(2);
});
