import { DescribeNetworkAclsCommand } from "@aws-sdk/client-ec2";
import { GetIPSetCommand, ListIPSetsCommand } from "@aws-sdk/client-wafv2";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { SetupError } from "../errors.ts";
import { readSettings } from "../settings.ts";
import { defaultAcl, provideAcls, provideIpSets } from "../targets.ts";
import { startTestEngines } from "./support/fixtures.ts";

let aws: Awaited<ReturnType<typeof startTestEngines>>;
beforeAll(async () => {
  aws = await startTestEngines("ec2", "wafv2");
}, 60_000);
afterAll(() => aws.stop());

describe("the network ACLs of a run", () => {
  it("are made where they are missing, as default ACLs are", async () => {
    const { ec2 } = aws.clients;
    const NetworkAclIds = [await defaultAcl(ec2), "acl-00000000000000001", "acl-00000002"];
    for (const _ of [1, 2]) await provideAcls(aws.engines.endpoints.ec2, NetworkAclIds);

    const { NetworkAcls = [] } = await ec2.send(new DescribeNetworkAclsCommand({ NetworkAclIds }));
    expect(NetworkAcls.map(({ IsDefault }) => IsDefault)).toEqual([true, false, false]);
    expect(NetworkAcls.map(({ Associations }) => Associations?.length)).toEqual([2, 1, 1]);
    for (const { Entries = [] } of NetworkAcls) expect(Entries).toEqual(NetworkAcls[0]?.Entries);
  });

  it("must have an ACL's id", async () => {
    await expect(provideAcls(aws.engines.endpoints.ec2, ["vpc-1"])).rejects.toThrow(SetupError);
  });
});

describe("the IP sets of a run", () => {
  it("are made where they are missing: a pair for each name, marked as managed", async () => {
    const { wafv2 } = aws.clients;
    const { wafv2: url } = aws.engines.endpoints;
    await provideIpSets(wafv2, url, ["edge"]);
    await provideIpSets(wafv2, url, ["edge", "shop"]);

    const { IPSets = [] } = await wafv2.send(new ListIPSetsCommand({ Scope: "REGIONAL" }));
    const sets = await Promise.all(
      IPSets.map(async ({ Id, Name }) => {
        const { IPSet } = await wafv2.send(new GetIPSetCommand({ Id, Name, Scope: "REGIONAL" }));
        return [Name, IPSet?.IPAddressVersion, IPSet?.Addresses, IPSet?.Description];
      }),
    );
    expect(sets.toSorted()).toEqual([
      ["edge-v4", "IPV4", [], "Managed by Portcullis"],
      ["edge-v6", "IPV6", [], "Managed by Portcullis"],
      ["shop-v4", "IPV4", [], "Managed by Portcullis"],
      ["shop-v6", "IPV6", [], "Managed by Portcullis"],
    ]);
  });
});

describe("the settings of a run", () => {
  it("are one default ACL, no IP set, and a table with time to live, where nothing is set", () => {
    for (const env of [{}, { ACL_ID: "", WAF_IP_SETS: "", TTL: "" }]) {
      expect(readSettings(env)).toMatchObject({ aclIds: [], wafIpSets: [], timeToLive: true });
    }
  });

  it("name several targets, separated by commas, each once", () => {
    const env = { ACL_ID: "acl-1, acl-2,acl-1,", WAF_IP_SETS: "edge,shop_2", TTL: "off" };
    expect(readSettings(env)).toMatchObject({
      aclIds: ["acl-1", "acl-2"],
      wafIpSets: ["edge", "shop_2"],
      timeToLive: false,
    });
  });

  it.each([{ WAF_IP_SETS: "no blanks" }, { TTL: "never" }])("cannot be %j", (env) => {
    expect(() => readSettings(env)).toThrow(SetupError);
  });
});
