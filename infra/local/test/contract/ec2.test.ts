import {
  AllocateAddressCommand,
  CreateManagedPrefixListCommand,
  CreateNatGatewayCommand,
  CreateNetworkAclCommand,
  CreateNetworkAclEntryCommand,
  CreateSubnetCommand,
  CreateVpcCommand,
  DeleteManagedPrefixListCommand,
  DeleteNetworkAclCommand,
  DeleteNetworkAclEntryCommand,
  DescribeAddressesCommand,
  DescribeManagedPrefixListsCommand,
  DescribeNatGatewaysCommand,
  DescribeNetworkAclsCommand,
  DescribeSubnetsCommand,
  DescribeVpcsCommand,
  EC2Client,
  EC2ServiceException,
  GetManagedPrefixListEntriesCommand,
  ModifyManagedPrefixListCommand,
  type NetworkAclEntry,
  ReplaceNetworkAclAssociationCommand,
  ReplaceNetworkAclEntryCommand,
} from "@aws-sdk/client-ec2";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "@jest/globals";
import { startEc2 } from "../../engines/ec2/server.ts";
import { hasMoto, type Server, startMoto } from "../support/moto.ts";

/*
 * What we rely on of EC2's network ACLs, checked through the real SDK client against everything we
 * run on locally. An expectation is what AWS does. Where moto does something else, the case says
 * what (`moto: …`), and that is asserted too: when moto learns better, the case fails and the
 * note goes.
 */

type Backend = { name: "emulator" | "moto"; start(): Promise<Server> };

const backends: Backend[] = [
  { name: "emulator", start: () => startEc2({ throttle: false }) },
  { name: "moto", start: startMoto },
];

describe.each(backends)("EC2 network ACLs, $name", ({ name, start }) => {
  if (name === "moto" && !hasMoto) {
    it.skip("moto is not installed", () => {});
    return;
  }

  let server: Server;
  let client: EC2Client;
  let vpcId: string;
  let aclId: string;

  /** What is expected of this backend: what AWS does, or what moto is known to do instead. */
  const expected = <Aws, Moto>(aws: Aws, moto: Moto | undefined): Aws | Moto =>
    name === "moto" && moto !== undefined ? moto : aws;

  beforeAll(async () => {
    server = await start();
    client = new EC2Client({
      endpoint: server.url,
      region: "us-east-1",
      credentials: { accessKeyId: "local", secretAccessKey: "local" },
      maxAttempts: 1,
    });
    if (name === "moto") {
      const created = await client.send(
        new CreateVpcCommand({ CidrBlock: "10.0.0.0/16", AmazonProvidedIpv6CidrBlock: true }),
      );
      vpcId = given(created.Vpc?.VpcId);
      for (const CidrBlock of ["10.0.0.0/24", "10.0.1.0/24"]) {
        await client.send(new CreateSubnetCommand({ VpcId: vpcId, CidrBlock }));
      }
    } else {
      const { Vpcs } = await client.send(new DescribeVpcsCommand({}));
      vpcId = given(Vpcs?.[0]?.VpcId);
    }
  });

  afterAll(async () => {
    client?.destroy();
    await server?.stop();
  });

  /** Each case has an ACL of its own, with one entry: 10, inbound, deny 198.51.100.7/32. */
  beforeEach(async () => {
    aclId = await newAcl();
    await client.send(new CreateNetworkAclEntryCommand(entry({})));
  });

  async function newAcl(): Promise<string> {
    const created = await client.send(new CreateNetworkAclCommand({ VpcId: vpcId }));
    return given(created.NetworkAcl?.NetworkAclId);
  }

  async function describeAcl(id = aclId) {
    const { NetworkAcls } = await client.send(
      new DescribeNetworkAclsCommand({ NetworkAclIds: [id] }),
    );
    return given(NetworkAcls?.[0]);
  }

  /** The associations of the VPC's subnets, by subnet. */
  async function associations() {
    const { NetworkAcls = [] } = await client.send(
      new DescribeNetworkAclsCommand({ Filters: [{ Name: "vpc-id", Values: [vpcId] }] }),
    );
    return NetworkAcls.flatMap((acl) => acl.Associations ?? []).toSorted((a, b) =>
      `${a.SubnetId}`.localeCompare(`${b.SubnetId}`),
    );
  }

  /** The entries that somebody made. */
  async function entries(id = aclId): Promise<NetworkAclEntry[]> {
    const all = given((await describeAcl(id)).Entries);
    return all.filter(({ RuleNumber = 0 }) => RuleNumber < 32_767);
  }

  const defaultEntry = {
    RuleNumber: 10,
    Protocol: "-1",
    RuleAction: "deny" as const,
    Egress: false,
    CidrBlock: "198.51.100.7/32",
  };
  type EntryInput = ConstructorParameters<typeof CreateNetworkAclEntryCommand>[0];

  function entry(change: Partial<EntryInput>): EntryInput {
    return { NetworkAclId: aclId, ...defaultEntry, ...change };
  }

  const create = (change: Partial<EntryInput>) => () =>
    client.send(new CreateNetworkAclEntryCommand(entry(change)));
  const replace = (change: Partial<EntryInput>) => () =>
    client.send(new ReplaceNetworkAclEntryCommand(entry(change)));
  const remove = (change: Partial<EntryInput>) => () =>
    client.send(new DeleteNetworkAclEntryCommand(entry(change)));

  describe("addresses of the account", () => {
    it("are described as they were allocated, those of NAT gateways as well", async () => {
      const allocate = () => client.send(new AllocateAddressCommand({ Domain: "vpc" }));
      const [first, second] = [await allocate(), await allocate()];
      const { Subnets } = await client.send(
        new DescribeSubnetsCommand({ Filters: [{ Name: "vpc-id", Values: [vpcId] }] }),
      );
      const SubnetId = given(Subnets?.[0]?.SubnetId);
      const { NatGateway } = await client.send(
        new CreateNatGatewayCommand({ SubnetId, AllocationId: given(second.AllocationId) }),
      );
      const { Addresses } = await client.send(new DescribeAddressesCommand({}));
      expect(Addresses).toEqual(
        expect.arrayContaining(
          [first, second].map(({ PublicIp, AllocationId }) =>
            expect.objectContaining({ PublicIp: given(PublicIp), AllocationId, Domain: "vpc" }),
          ),
        ),
      );
      const { NatGateways } = await client.send(new DescribeNatGatewaysCommand({}));
      const gateway = NatGateways?.find(
        ({ NatGatewayId }) => NatGatewayId === given(NatGateway?.NatGatewayId),
      );
      expect(gateway).toMatchObject({ SubnetId, VpcId: vpcId, State: "available" });
      expect(gateway?.NatGatewayAddresses).toMatchObject([
        { AllocationId: second.AllocationId, PublicIp: second.PublicIp },
      ]);
    });

    it("that are not there take no gateway", async () => {
      const { Subnets } = await client.send(new DescribeSubnetsCommand({}));
      const SubnetId = given(Subnets?.[0]?.SubnetId);
      const AllocationId = "eipalloc-0123456789abcdef0";
      const outcome = await outcomeOf(() =>
        client.send(new CreateNatGatewayCommand({ SubnetId, AllocationId })),
      );
      expect(outcome).toBe("InvalidAllocationID.NotFound");
    });
  });

  describe("prefix lists", () => {
    const NOWHERE = "pl-0123456789abcdef0";
    const newList = async (...cidrs: string[]) => {
      const { PrefixList } = await client.send(
        new CreateManagedPrefixListCommand({
          PrefixListName: "partners",
          AddressFamily: "IPv4",
          MaxEntries: 5,
          Entries: cidrs.map((Cidr) => ({ Cidr, Description: "a partner" })),
        }),
      );
      return given(PrefixList?.PrefixListId);
    };
    const described = async (...ids: string[]) => {
      const Filters = [{ Name: "prefix-list-id", Values: ids }];
      const { PrefixLists } = await client.send(new DescribeManagedPrefixListsCommand({ Filters }));
      return PrefixLists ?? [];
    };
    const entriesOf = async (PrefixListId: string) => {
      const { Entries } = await client.send(
        new GetManagedPrefixListEntriesCommand({ PrefixListId, MaxResults: 100 }),
      );
      return (Entries ?? []).map(({ Cidr }) => Cidr);
    };

    it("are described as they were created; a filter passes over those that are not there", async () => {
      const id = await newList("198.51.100.0/28", "203.0.113.0/28");
      expect(await described(NOWHERE, id)).toMatchObject([
        { PrefixListId: id, State: "create-complete", Version: 1, MaxEntries: 5 },
      ]);
      expect(await entriesOf(id)).toEqual(["198.51.100.0/28", "203.0.113.0/28"]);
    });

    it("have a new version with each change of their entries", async () => {
      const id = await newList("198.51.100.0/28");
      await client.send(
        new ModifyManagedPrefixListCommand({
          ...{ PrefixListId: id, CurrentVersion: 1 },
          AddEntries: [{ Cidr: "192.0.2.0/28" }],
          RemoveEntries: [{ Cidr: "198.51.100.0/28" }],
        }),
      );
      expect(await described(id)).toMatchObject([{ State: "modify-complete", Version: 2 }]);
      expect(await entriesOf(id)).toEqual(["192.0.2.0/28"]);
    });

    it("that are deleted are not there", async () => {
      const id = await newList("198.51.100.0/28");
      await client.send(new DeleteManagedPrefixListCommand({ PrefixListId: id }));
      const left = (await described(id)).map(({ State }) => State);
      // moto: shows it once more, as AWS may.
      expect(left).toEqual(expected([], ["delete-complete"]));
      expect(await described(id)).toEqual([]);
      const outcome = await outcomeOf(() => entriesOf(id));
      // moto: has no entries of what is not there.
      expect(outcome).toBe(expected("InvalidPrefixListID.NotFound", "accepted"));
    });
  });

  describe("entries", () => {
    it("are described as they were created", async () => {
      await create({
        RuleNumber: 20,
        Egress: true,
        RuleAction: "allow",
        Protocol: "6",
        PortRange: { From: 22, To: 23 },
      })();
      await create({ RuleNumber: 30, Protocol: "1", IcmpTypeCode: { Type: 8, Code: -1 } })();

      expect(byNumber(await entries())).toEqual([
        defaultEntry,
        {
          RuleNumber: 20,
          Protocol: "6",
          RuleAction: "allow",
          Egress: true,
          CidrBlock: "198.51.100.7/32",
          PortRange: { From: 22, To: 23 },
        },
        {
          ...defaultEntry,
          RuleNumber: 30,
          Protocol: "1",
          // moto: loses type and code.
          ...expected({ IcmpTypeCode: { Type: 8, Code: -1 } }, {}),
        },
      ]);
    });

    it("are answered egress first, then by number", async () => {
      await create({ RuleNumber: 7 })();
      await create({ RuleNumber: 30, Egress: true })();
      await create({ RuleNumber: 20, Egress: true })();

      const order = (await entries()).map(({ RuleNumber, Egress }) => [Egress, RuleNumber]);
      const sorted = [
        [true, 20],
        [true, 30],
        [false, 7],
        [false, 10],
      ];
      // moto: in the order in which they were created.
      const created = [
        [false, 10],
        [false, 7],
        [true, 30],
        [true, 20],
      ];
      expect(order).toEqual(expected(sorted, created));
    });

    // moto: keeps CIDRs as they were written.
    it.each([
      { input: { CidrBlock: "203.0.113.9/24" }, aws: "203.0.113.0/24" },
      { input: { CidrBlock: "203.0.113.9/0" }, aws: "0.0.0.0/0" },
      { input: { Ipv6CidrBlock: "2001:DB8:0:0::9/64" }, aws: "2001:db8::/64" },
      { input: { Ipv6CidrBlock: "2001:0db8::0001/128" }, aws: "2001:db8::1/128" },
    ])("keep $input canonical", async ({ input, aws }) => {
      await create({ RuleNumber: 11, CidrBlock: undefined, ...input })();

      const kept = (await entries()).find(({ RuleNumber }) => RuleNumber === 11);
      const written = "CidrBlock" in input ? input.CidrBlock : input.Ipv6CidrBlock;
      expect(kept?.CidrBlock ?? kept?.Ipv6CidrBlock).toBe(expected(aws, written));
    });

    it("of all protocols have no ports", async () => {
      await create({ RuleNumber: 11, PortRange: { From: 22, To: 22 } })();

      const kept = (await entries()).find(({ RuleNumber }) => RuleNumber === 11);
      // moto: keeps the ports.
      expect(kept?.PortRange).toEqual(expected(undefined, { From: 22, To: 22 }));
    });

    it("have numbers of their own in each direction", async () => {
      await create({ Egress: true, CidrBlock: "192.0.2.0/24" })();

      const inbound = (await entries()).filter(({ Egress }) => !Egress);
      const outbound = (await entries()).filter(({ Egress }) => Egress);
      expect(inbound).toEqual([defaultEntry]);
      expect(outbound).toEqual([{ ...defaultEntry, Egress: true, CidrBlock: "192.0.2.0/24" }]);
    });

    it("are replaced in CIDR, action and family, without a new number", async () => {
      await replace({ CidrBlock: "192.0.2.1/32", RuleAction: "allow" })();
      expect(await entries()).toEqual([
        { ...defaultEntry, CidrBlock: "192.0.2.1/32", RuleAction: "allow" },
      ]);

      await replace({ CidrBlock: undefined, Ipv6CidrBlock: "2001:db8::/64" })();
      const { CidrBlock: _, ...rest } = defaultEntry;
      expect(await entries()).toEqual([{ ...rest, Ipv6CidrBlock: "2001:db8::/64" }]);
    });

    it("are deleted, and their number is free again", async () => {
      await remove({})();
      expect(await entries()).toEqual([]);

      await create({ CidrBlock: "192.0.2.1/32" })();
      expect(await entries()).toEqual([{ ...defaultEntry, CidrBlock: "192.0.2.1/32" }]);
    });

    it("are 20 at most per direction and family, the default deny included", async () => {
      const numbers = Array.from({ length: 19 }, (_, index) => index + 11);
      const outcomes: string[] = [];
      for (const RuleNumber of numbers) outcomes.push(await outcomeOf(create({ RuleNumber })));

      const accepted = outcomes.filter((outcome) => outcome === "accepted");
      // moto: has no quota.
      expect(accepted).toHaveLength(expected(18, 19));
      expect(outcomes.at(-1)).toBe(expected("NetworkAclEntryLimitExceeded", "accepted"));
      expect(await outcomeOf(create({ RuleNumber: 50, Egress: true }))).toBe("accepted");
      const ipv6 = { CidrBlock: undefined, Ipv6CidrBlock: "2001:db8::/64" };
      expect(await outcomeOf(create({ RuleNumber: 51, ...ipv6 }))).toBe("accepted");
      expect(await outcomeOf(replace({ RuleNumber: 51, ...ipv6 }))).toBe("accepted");
      expect(await outcomeOf(replace({ RuleNumber: 51 }))).toBe(
        expected("NetworkAclEntryLimitExceeded", "accepted"),
      );
    });
  });

  const UNKNOWN = { NetworkAclId: "acl-0123456789abcdef0" };
  const MALFORMED = { NetworkAclId: "acl-xyz" };
  const NO_V4 = { CidrBlock: undefined };
  type Call = () => Promise<unknown>;
  const refusals: { title: string; call: Call; aws: string; moto?: string }[] = [
    {
      title: "creating on a number that is taken",
      call: create({ CidrBlock: "192.0.2.1/32" }),
      aws: "NetworkAclEntryAlreadyExists",
    },
    {
      title: "creating on a number that the other family has",
      call: create({ ...NO_V4, Ipv6CidrBlock: "2001:db8::/64" }),
      aws: "NetworkAclEntryAlreadyExists",
    },
    {
      title: "replacing what is not there",
      call: replace({ RuleNumber: 11 }),
      aws: "InvalidNetworkAclEntry.NotFound",
      moto: "HTTP 500",
    },
    {
      title: "deleting what is not there",
      call: remove({ RuleNumber: 11 }),
      aws: "InvalidNetworkAclEntry.NotFound",
      moto: "HTTP 500",
    },
    {
      title: "deleting in the other direction",
      call: remove({ Egress: true }),
      aws: "InvalidNetworkAclEntry.NotFound",
      moto: "HTTP 500",
    },
    {
      title: "creating in an unknown ACL",
      call: create(UNKNOWN),
      aws: "InvalidNetworkAclID.NotFound",
    },
    {
      title: "replacing in an unknown ACL",
      call: replace(UNKNOWN),
      aws: "InvalidNetworkAclID.NotFound",
    },
    {
      title: "deleting in an unknown ACL",
      call: remove(UNKNOWN),
      aws: "InvalidNetworkAclID.NotFound",
    },
    {
      title: "deleting an unknown ACL",
      call: () => client.send(new DeleteNetworkAclCommand(UNKNOWN)),
      aws: "InvalidNetworkAclID.NotFound",
    },
    {
      title: "describing an unknown ACL",
      call: () => describeAcl(UNKNOWN.NetworkAclId),
      aws: "InvalidNetworkAclID.NotFound",
      moto: "InvalidRouteTableID.NotFound",
    },
    {
      title: "replacing an unknown association",
      call: () =>
        client.send(
          new ReplaceNetworkAclAssociationCommand({
            AssociationId: "aclassoc-0123456789abcdef0",
            NetworkAclId: aclId,
          }),
        ),
      aws: "InvalidAssociationID.NotFound",
      moto: "HTTP 500",
    },
    {
      title: "describing an unknown subnet",
      call: () =>
        client.send(new DescribeSubnetsCommand({ SubnetIds: ["subnet-0123456789abcdef0"] })),
      aws: "InvalidSubnetID.NotFound",
    },
    {
      title: "a malformed ACL id",
      call: create(MALFORMED),
      aws: "InvalidNetworkAclId.Malformed",
      moto: "InvalidNetworkAclID.NotFound",
    },
    {
      title: "an ACL in an unknown VPC",
      call: () => client.send(new CreateNetworkAclCommand({ VpcId: "vpc-0123456789abcdef0" })),
      aws: "InvalidVpcID.NotFound",
    },
    {
      title: "a filter that does not exist",
      call: () =>
        client.send(
          new DescribeNetworkAclsCommand({ Filters: [{ Name: "colour", Values: ["red"] }] }),
        ),
      aws: "InvalidParameterValue",
      moto: "HTTP 500",
    },
    ...[0, -1, 32_767, 65_535].map((RuleNumber) => ({
      title: `rule number ${RuleNumber}`,
      call: create({ RuleNumber }),
      aws: "InvalidParameterValue",
      moto: "accepted",
    })),
    ...[
      "198.51.100.7",
      "198.51.100.7/33",
      "198.51.100/24",
      "198.51.100.7/",
      "0x7f.0.0.1/32",
      "2001:db8::/64",
      "",
    ].map((CidrBlock) => ({
      title: `IPv4 block "${CidrBlock}"`,
      call: create({ RuleNumber: 11, CidrBlock }),
      aws: "InvalidParameterValue",
      moto: "accepted",
    })),
    ...["2001:db8::", "2001:db8::/129", "2001:db8:::/64", "fe80::1%eth0/64", "10.0.0.0/8"].map(
      (Ipv6CidrBlock) => ({
        title: `IPv6 block "${Ipv6CidrBlock}"`,
        call: create({ RuleNumber: 11, ...NO_V4, Ipv6CidrBlock }),
        aws: "InvalidParameterValue",
        moto: "accepted",
      }),
    ),
    {
      title: "both an IPv4 and an IPv6 block",
      call: create({ RuleNumber: 11, Ipv6CidrBlock: "2001:db8::/64" }),
      aws: "InvalidParameterCombination",
      moto: "accepted",
    },
    {
      title: "no block",
      call: create({ RuleNumber: 11, ...NO_V4 }),
      aws: "MissingParameter",
      moto: "accepted",
    },
    {
      title: "no rule number",
      call: create({ RuleNumber: undefined }),
      aws: "MissingParameter",
      moto: "accepted",
    },
    {
      title: "no ACL",
      call: create({ NetworkAclId: undefined }),
      aws: "MissingParameter",
      moto: "InvalidNetworkAclID.NotFound",
    },
    {
      title: "a protocol's name",
      call: create({ RuleNumber: 11, Protocol: "tcp", PortRange: { From: 1, To: 2 } }),
      aws: "InvalidParameterValue",
      moto: "accepted",
    },
    {
      title: "a protocol number above 255",
      call: create({ RuleNumber: 11, Protocol: "256" }),
      aws: "InvalidParameterValue",
      moto: "accepted",
    },
    {
      title: "TCP without ports",
      call: create({ RuleNumber: 11, Protocol: "6" }),
      aws: "MissingParameter",
      moto: "accepted",
    },
    {
      title: "UDP with half a port range",
      call: create({ RuleNumber: 11, Protocol: "17", PortRange: { From: 53 } }),
      aws: "MissingParameter",
      moto: "accepted",
    },
    {
      title: "ports in the wrong order",
      call: create({ RuleNumber: 11, Protocol: "6", PortRange: { From: 2, To: 1 } }),
      aws: "InvalidParameterValue",
      moto: "accepted",
    },
    {
      title: "ICMP without type and code",
      call: create({ RuleNumber: 11, Protocol: "1" }),
      aws: "MissingParameter",
      moto: "accepted",
    },
    {
      title: "ICMPv6 on an IPv6 block without type and code",
      call: create({ RuleNumber: 11, Protocol: "58", ...NO_V4, Ipv6CidrBlock: "::/0" }),
      aws: "MissingParameter",
      moto: "accepted",
    },
    {
      title: "an ICMP type above 255",
      call: create({ RuleNumber: 11, Protocol: "1", IcmpTypeCode: { Type: 256, Code: 0 } }),
      aws: "InvalidParameterValue",
      moto: "accepted",
    },
    {
      title: "a dry run",
      call: create({ RuleNumber: 11, DryRun: true }),
      aws: "DryRunOperation",
      moto: "accepted",
    },
  ];

  describe("refuses, and changes nothing:", () => {
    it.each(refusals)("$title is $aws", async ({ call, aws, moto }) => {
      const before = await entries();

      const outcome = await outcomeOf(call);

      expect(outcome).toBe(expected(aws, moto));
      if (name === "emulator") expect(await entries()).toEqual(before);
    });
  });

  describe("ACLs", () => {
    it("of one's own begin with nothing but the default denies", async () => {
      const acl = await describeAcl(await newAcl());

      expect(acl).toMatchObject({ IsDefault: false, VpcId: vpcId, Associations: [], Tags: [] });
      const denies = [
        [true, 32_767, "0.0.0.0/0", "deny"],
        [true, 32_768, "::/0", "deny"],
        [false, 32_767, "0.0.0.0/0", "deny"],
        [false, 32_768, "::/0", "deny"],
      ];
      // moto: begins with nothing.
      expect(summary(acl.Entries)).toEqual(expected(denies, []));
    });

    it("carry their tags", async () => {
      const tags = [{ Key: "team", Value: "edge" }];
      const created = await client.send(
        new CreateNetworkAclCommand({
          VpcId: vpcId,
          TagSpecifications: [{ ResourceType: "network-acl", Tags: tags }],
        }),
      );
      expect((await describeAcl(given(created.NetworkAcl?.NetworkAclId))).Tags).toEqual(tags);
    });

    it("are created once per client token", async () => {
      const input = { VpcId: vpcId, ClientToken: `token-${name}` };
      const first = await client.send(new CreateNetworkAclCommand(input));
      const second = await client.send(new CreateNetworkAclCommand(input));

      const same = first.NetworkAcl?.NetworkAclId === second.NetworkAcl?.NetworkAclId;
      // moto: ignores the token.
      expect(same).toBe(expected(true, false));
    });

    it("are found by filters, all of which must match", async () => {
      const found = async (filters: Record<string, string[]>) => {
        const { NetworkAcls = [] } = await client.send(
          new DescribeNetworkAclsCommand({
            Filters: Object.entries(filters).map(([Name, Values]) => ({ Name, Values })),
          }),
        );
        return NetworkAcls.map(({ NetworkAclId }) => NetworkAclId);
      };
      await create({ RuleNumber: 12, CidrBlock: "192.0.2.77/32" })();

      const isDefault = { "vpc-id": [vpcId], default: ["true"] };
      const marked = { "entry.cidr": ["192.0.2.77/32"] };
      expect(await found(marked)).toEqual([aclId]);
      expect(await found({ ...marked, "vpc-id": [vpcId], default: ["false"] })).toEqual([aclId]);
      expect(await found({ ...marked, default: ["true"] })).toEqual([]);
      expect(await found({ "vpc-id": ["vpc-0123456789abcdef0"] })).toEqual([]);
      expect(await found(isDefault)).toHaveLength(1);
      expect(await found(isDefault)).not.toContain(aclId);
      const byId = await outcomeOf(() => found({ "network-acl-id": [aclId] }));
      // moto: does not know this filter.
      expect(byId).toBe(expected("accepted", "HTTP 500"));
    });

    it("go when they are deleted", async () => {
      await client.send(new DeleteNetworkAclCommand({ NetworkAclId: aclId }));

      const { NetworkAcls } = await client.send(new DescribeNetworkAclsCommand({}));
      expect(NetworkAcls?.map(({ NetworkAclId }) => NetworkAclId)).not.toContain(aclId);
    });
  });

  describe("the subnets", () => {
    it("are described, and each is associated with the default ACL", async () => {
      const Filters = [{ Name: "vpc-id", Values: [vpcId] }];
      const { Subnets = [] } = await client.send(new DescribeSubnetsCommand({ Filters }));
      expect(Subnets.map(({ CidrBlock }) => CidrBlock).toSorted()).toEqual([
        "10.0.0.0/24",
        "10.0.1.0/24",
      ]);
      const { NetworkAcls } = await client.send(
        new DescribeNetworkAclsCommand({
          Filters: [...Filters, { Name: "default", Values: ["true"] }],
        }),
      );
      const { NetworkAclId, Associations = [] } = given(NetworkAcls?.[0]);
      const ids = Subnets.map(({ SubnetId }) => SubnetId).toSorted();
      expect(Associations.map(({ SubnetId }) => SubnetId).toSorted()).toEqual(ids);
      for (const association of Associations) {
        expect(association).toEqual({
          NetworkAclAssociationId: expect.stringMatching(/^aclassoc-/),
          NetworkAclId,
          SubnetId: expect.stringMatching(/^subnet-/),
        });
      }
    });

    it("move to another ACL, which then is in use and cannot be deleted", async () => {
      const [first, second] = await associations();
      const { NetworkAclAssociationId, NetworkAclId, SubnetId } = given(first);
      const moved = await client.send(
        new ReplaceNetworkAclAssociationCommand({
          AssociationId: NetworkAclAssociationId,
          NetworkAclId: aclId,
        }),
      );
      expect(moved.NewAssociationId).not.toBe(NetworkAclAssociationId);
      expect((await describeAcl()).Associations).toEqual([
        { NetworkAclAssociationId: moved.NewAssociationId, NetworkAclId: aclId, SubnetId },
      ]);
      expect((await describeAcl(NetworkAclId)).Associations).toEqual([given(second)]);
      const bySubnet = await client.send(
        new DescribeNetworkAclsCommand({
          Filters: [{ Name: "association.subnet-id", Values: [given(SubnetId)] }],
        }),
      );
      expect(bySubnet.NetworkAcls?.map((acl) => acl.NetworkAclId)).toEqual([aclId]);

      const remove = () => client.send(new DeleteNetworkAclCommand({ NetworkAclId: aclId }));
      expect(await outcomeOf(remove)).toBe("DependencyViolation");
      await client.send(
        new ReplaceNetworkAclAssociationCommand({
          AssociationId: moved.NewAssociationId,
          NetworkAclId,
        }),
      );
      expect(await outcomeOf(remove)).toBe("accepted");
    });

    it("stay where they are when the ACL they should move to does not exist", async () => {
      const before = await associations();
      const { NetworkAclAssociationId: AssociationId } = given(before[0]);
      const outcome = await outcomeOf(() =>
        client.send(new ReplaceNetworkAclAssociationCommand({ AssociationId, ...UNKNOWN })),
      );
      expect(outcome).toBe("InvalidNetworkAclID.NotFound");
      // moto: refuses, and the subnet has no ACL any more.
      expect(await associations()).toEqual(expected(before, before.slice(1)));
    });
  });

  describe("the VPC", () => {
    it("tells its address blocks", async () => {
      const { Vpcs } = await client.send(new DescribeVpcsCommand({ VpcIds: [vpcId] }));

      const [vpc] = given(Vpcs);
      expect(vpc?.CidrBlock).toBe("10.0.0.0/16");
      expect(vpc?.CidrBlockAssociationSet).toMatchObject([
        { CidrBlock: "10.0.0.0/16", CidrBlockState: { State: "associated" } },
      ]);
      expect(vpc?.Ipv6CidrBlockAssociationSet).toMatchObject([
        {
          Ipv6CidrBlock: expect.stringMatching(/::\/56$/),
          Ipv6CidrBlockState: { State: "associated" },
        },
      ]);
    });

    it("has a default ACL that allows everything and cannot be deleted", async () => {
      const { NetworkAcls } = await client.send(
        new DescribeNetworkAclsCommand({
          Filters: [
            { Name: "vpc-id", Values: [vpcId] },
            { Name: "default", Values: ["true"] },
          ],
        }),
      );
      const acl = given(NetworkAcls?.[0]);

      expect(acl).toMatchObject({ IsDefault: true, VpcId: vpcId });
      const v4 = [true, false].flatMap((egress) => [
        [egress, 100, "0.0.0.0/0", "allow"],
        [egress, 32_767, "0.0.0.0/0", "deny"],
      ]);
      const both = [true, false].flatMap((egress) => [
        [egress, 100, "0.0.0.0/0", "allow"],
        [egress, 101, "::/0", "allow"],
        [egress, 32_767, "0.0.0.0/0", "deny"],
        [egress, 32_768, "::/0", "deny"],
      ]);
      // moto: has no IPv6 rules, and keeps the default ACL only while it is in use.
      expect(summary(acl.Entries)).toEqual(expected(both, v4));
      const { NetworkAclId } = acl;
      const outcome = await outcomeOf(() =>
        client.send(new DeleteNetworkAclCommand({ NetworkAclId })),
      );
      expect(outcome).toBe(expected("InvalidParameterValue", "DependencyViolation"));
    });
  });
});

/** "accepted", the code of the error, or the status of an error that is the server's own. */
async function outcomeOf(call: () => Promise<unknown>): Promise<string> {
  try {
    await call();
    return "accepted";
  } catch (error) {
    const status = statusOf(error);
    return status === undefined || status < 500 ? nameOf(error) : `HTTP ${status}`;
  }
}

/** The HTTP status, which the SDK keeps aside when the answer is not even XML. */
function statusOf(error: unknown): number | undefined {
  if (error instanceof EC2ServiceException) return error.$metadata.httpStatusCode;
  const { $response } = error as { $response?: { statusCode?: number } };
  return $response?.statusCode;
}

function nameOf(error: unknown): string {
  return error instanceof EC2ServiceException ? error.name : `${error}`;
}

function byNumber(entries: NetworkAclEntry[]): NetworkAclEntry[] {
  return [...entries].sort((a, b) => (a.RuleNumber ?? 0) - (b.RuleNumber ?? 0));
}

function summary(entries: NetworkAclEntry[] | undefined) {
  return entries?.map((entry) => [
    entry.Egress,
    entry.RuleNumber,
    entry.CidrBlock ?? entry.Ipv6CidrBlock,
    entry.RuleAction,
  ]);
}

function given<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("The answer lacks what it must have");
  return value;
}
