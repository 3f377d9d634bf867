import { CreateNetworkAclCommand, CreateVpcCommand, EC2Client } from "@aws-sdk/client-ec2";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { hasMoto, type Server, startMoto } from "../../infra/local/test/support/moto.ts";
import { eventually, startTestCloud, type TestCloud } from "./cloud.ts";

// The same product on another EC2: AWS_ENDPOINT_URL_EC2 and ACL_ID point at moto's server.

(hasMoto ? describe : describe.skip)("with moto's EC2", () => {
  let moto: Server;
  let cloud: TestCloud;
  beforeAll(async () => {
    moto = await startMoto();
    const ec2 = new EC2Client({
      endpoint: moto.url,
      region: "us-east-1",
      credentials: { accessKeyId: "local", secretAccessKey: "local" },
    });
    const { Vpc } = await ec2.send(new CreateVpcCommand({ CidrBlock: "10.0.0.0/16" }));
    const acl = await ec2.send(new CreateNetworkAclCommand({ VpcId: Vpc?.VpcId ?? "" }));
    ec2.destroy();
    cloud = await startTestCloud({
      AWS_ENDPOINT_URL_EC2: moto.url,
      ACL_ID: acl.NetworkAcl?.NetworkAclId ?? "",
      RECONCILE_SECONDS: "5",
    });
  }, 150_000);
  afterAll(async () => {
    await cloud?.stop();
    await moto?.stop();
  });

  test("blocks appear, are swapped and leave", async () => {
    await cloud.block({ ip: "203.0.113.9", expiryTime: 6 });
    await cloud.block({ ip: "2001:db8::9", expiryTime: 600 });
    await eventually("both are denied", 15, async () => {
      const denied = await cloud.denied();
      return denied.includes("203.0.113.9/32") && denied.includes("2001:db8::9/128");
    });
    await eventually("the short one is gone", 6 + 5 + 5, async () => {
      return !(await cloud.denied()).includes("203.0.113.9/32");
    });
    expect(await cloud.denied()).toEqual(["2001:db8::9/128"]);
  }, 60_000);
});
