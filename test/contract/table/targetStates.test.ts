import { GetCommand, QueryCommand } from "@aws-sdk/lib-dynamodb";
import { describe, expect, test } from "@jest/globals";
import * as v from "valibot";
import { ConflictError } from "../../../shared/aws/table/items.ts";
import { readTargetIds } from "../../../shared/aws/table/targetStates.ts";
import { parseCidr } from "../../../shared/domain/cidr.ts";
import { aclRecord } from "../../../shared/targets/networkAcl/record.ts";
import { newTargetState, type TargetState } from "../../../shared/targets/state.ts";
import { type WafRecord, wafRecord } from "../../../shared/targets/wafIpSet/record.ts";
import { A, describeWithTable, given, NOW, TABLE, useTable } from "./table.ts";

describeWithTable("the targets of a list", () => {
  const table = useTable();
  const ACL = "acl-0123456789abcdef0";
  const WAF = "web";

  const ACL_RECORD = {
    slots: {
      ingress: { 1: { cidr: parseCidr(A), confirmedAt: NOW }, 2: { cidr: null } },
      egress: { 99: { cidr: parseCidr("2001:db8::/48") } },
    },
    learntLimits: { "ingress/4": { limit: 18, learntAt: NOW } },
  };
  const STATE: TargetState = {
    version: 0,
    kind: "networkAcl",
    record: aclRecord.stored(ACL_RECORD),
    monitored: aclRecord.stored(aclRecord.empty),
    mode: "monitor",
    held: [A],
    ownRanges: ["10.0.0.0/16", "2600:1f18::/56"],
    shadowed: ["203.0.113.7/32"],
    refused: { "203.0.113.8/32": "InvalidParameterValue" },
    problem: "unassociated",
    leastSeverity: 3,
    enforced: 18,
    waiting: 12,
    convergedAt: NOW,
  };
  const read = () => table.states.read(ACL, "networkAcl");
  const write = (state: TargetState) => table.states.write(ACL, state);

  describe("a state", () => {
    test("is empty before it is first written", async () => {
      expect(await read()).toEqual(newTargetState("networkAcl"));
      expect(await table.states.read(WAF, "wafIpSet")).toEqual(newTargetState("wafIpSet"));
    });

    test("is read as it was written, with its version counted on", async () => {
      expect(await write(STATE)).toEqual({ ...STATE, version: 1 });
      expect(await read()).toEqual({ ...STATE, version: 1 });
      const written = await write({ ...(await read()), mode: "enforce", problem: null });
      expect(await read()).toEqual(written);
      expect(written).toMatchObject({ version: 2, mode: "enforce", problem: null });
    });

    test("is each target's own, and each list's", async () => {
      await write(STATE);
      expect(await table.states.read("acl-99999999", "networkAcl")).toMatchObject({ version: 0 });
      expect(await table.another().states.read(ACL, "networkAcl")).toMatchObject({ version: 0 });
    });

    test("halts nobody where only what it tells the operator cannot be read", async () => {
      const { record } = STATE;
      const sk = `target#${ACL}`;
      await table.put({
        ...{ list: `${table.list}#targets`, sk, version: 3, kind: "networkAcl", record },
        ...{ mode: "drain", held: 7, ownRanges: "10.0.0.0/16", shadowed: [1], refused: [] },
        ...{ problem: "bored", leastSeverity: "3", enforced: null, waiting: "many" },
      });
      expect(await read()).toEqual({ ...newTargetState("networkAcl"), version: 3, record });
    });

    test.each([{ version: "1" }, { kind: "firewall" }])(
      "that nobody can read is an error, not an empty one: %j",
      async (change) => {
        const list = `${table.list}#targets`;
        await table.put({ ...STATE, list, sk: `target#${ACL}`, version: 1, ...change });
        await expect(read()).rejects.toThrow(v.ValiError);
      },
    );

    test("is not written by who has read an older one", async () => {
      const first = await write(STATE);
      const second = await write(first);
      await expect(write(first)).rejects.toThrow(ConflictError);
      await expect(write(STATE)).rejects.toThrow(ConflictError);
      expect(await read()).toEqual(second);
    });

    test("is not written anew by who has read one that is gone", async () => {
      await expect(write({ ...STATE, version: 3 })).rejects.toThrow(ConflictError);
    });

    test("lets exactly one of several writers through", async () => {
      const seen = await write(STATE);
      const outcomes = await Promise.allSettled(
        Array.from({ length: 8 }, (_, i) => write({ ...seen, convergedAt: i })),
      );
      expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
      expect((await read()).version).toBe(2);
    });

    test("lies where no block does: it is in no list of them", async () => {
      await write(STATE);
      const { Items } = await table.dynamo.send(
        new QueryCommand({
          TableName: TABLE,
          KeyConditionExpression: "#list = :list",
          ExpressionAttributeNames: { "#list": "list" },
          ExpressionAttributeValues: { ":list": table.list },
        }),
      );
      expect(Items).toEqual([]);
    });
  });

  describe("the record", () => {
    test("of an ACL is read as it was written", async () => {
      await write(STATE);
      const { record, monitored } = await read();
      expect(v.parse(aclRecord.schema, record)).toEqual(ACL_RECORD);
      expect(v.parse(aclRecord.schema, monitored)).toEqual(aclRecord.empty);
    });

    const readWaf = async () => {
      const { record } = await table.states.read(WAF, "wafIpSet");
      return v.parse(wafRecord.schema, record);
    };
    const writeWaf = (record: WafRecord) =>
      table.states.write(WAF, { ...newTargetState("wafIpSet"), record: wafRecord.stored(record) });

    test.each<[string, string[], string[]]>([
      ["empty", [], []],
      ["confirmed", [A, "2001:db8::/48"], [A, "2001:db8::/48"]],
      ["partly confirmed", [A, "2001:db8::/48"], [A]],
    ])("of a pair of IP sets, %s, is read as it was written", async (_what, ours, confirmed) => {
      const record = { ours: new Set(ours), confirmed: new Set(confirmed) };
      await writeWaf(record);
      expect(await readWaf()).toEqual(record);
    });

    test.each([
      ["confirmed", true],
      ["all to come", false],
    ])("of two full IP sets, %s, fits into an item", async (_what, isConfirmed) => {
      const ours = new Set([...randomRanges(10_000, 4), ...randomRanges(10_000, 6)]);
      const record = { ours, confirmed: isConfirmed ? ours : new Set<string>() };
      await writeWaf(record);
      expect(await readWaf()).toEqual(record);
      const Key = { list: `${table.list}#targets`, sk: `target#${WAF}` };
      const { Item } = await table.dynamo.send(new GetCommand({ TableName: TABLE, Key }));
      const packed: Uint8Array[] = Object.values(given(Item).record);
      const bytes = packed.reduce((sum, { length }) => sum + length, 0);
      expect(bytes).toBeLessThan(ITEM_BYTES - 10_000);
    });
  });

  describe("the owner's never-block list", () => {
    const list = { value: "203.0.113.9, 2001:db8::/48", readAt: NOW };

    test("is none before it is recorded", async () => {
      expect(await table.states.readOwnersList()).toBeUndefined();
    });

    test("is what was recorded last, of this list alone, and no network's", async () => {
      await table.states.writeOwnersList({ value: "none", readAt: NOW - 1 });
      await table.states.writeOwnersList(list);
      expect(await table.states.readOwnersList()).toEqual(list);
      expect(await table.another().states.readOwnersList()).toBeUndefined();
      expect(await table.states.readNetworks()).toEqual(new Map());
    });

    test("that cannot be read is an error: it must not be taken for none", async () => {
      await table.put({ list: `${table.list}#targets`, sk: "never-block", value: 7, readAt: NOW });
      await expect(table.states.readOwnersList()).rejects.toThrow(v.ValiError);
    });
  });

  describe("the networks behind the targets", () => {
    test("are none before they are recorded", async () => {
      expect(await table.states.readNetworks()).toEqual(new Map());
    });

    test("are those of all targets, by their ids, and of no other list", async () => {
      await table.states.writeNetwork(ACL, ["10.0.0.0/16", "2600:1f18::/56"]);
      await table.states.writeNetwork("acl-99999999", ["11.0.0.0/16"]);
      await table.another().states.writeNetwork(ACL, ["12.0.0.0/16"]);
      await write(STATE);
      expect(await table.states.readNetworks()).toEqual(
        new Map([
          [ACL, ["10.0.0.0/16", "2600:1f18::/56"]],
          ["acl-99999999", ["11.0.0.0/16"]],
        ]),
      );
    });

    test("are read to the end, however many pages they fill", async () => {
      const ranges = [...randomRanges(10_000, 6)];
      for (const id of ["pl-11111111", "pl-22222222", "pl-33333333", "pl-44444444"])
        await table.states.writeNetwork(id, ranges);
      const networks = await table.states.readNetworks();
      expect([...networks].map(([id, { length }]) => [id, length])).toEqual([
        ["pl-11111111", 10_000],
        ["pl-22222222", 10_000],
        ["pl-33333333", 10_000],
        ["pl-44444444", 10_000],
      ]);
    }, 30_000);

    test("of a target take the place of those before", async () => {
      await table.states.writeNetwork(ACL, ["10.0.0.0/16"]);
      await table.states.writeNetwork(ACL, ["11.0.0.0/16"]);
      expect(await table.states.readNetworks()).toEqual(new Map([[ACL, ["11.0.0.0/16"]]]));
    });

    test("that cannot be read are an error: they must not be taken for none", async () => {
      await table.put({
        list: `${table.list}#targets`,
        sk: `network#${ACL}`,
        ranges: "10.0.0.0/16",
      });
      await expect(table.states.readNetworks()).rejects.toThrow(v.ValiError);
    });
  });

  test("are named with their kinds, those that are configured no longer as well", async () => {
    expect(await readTargetIds(table.dynamo, { tableName: TABLE, list: table.list })).toEqual([]);
    await table.states.write("acl-2", newTargetState("networkAcl"));
    await table.states.write("edge", newTargetState("wafIpSet"));
    await table.states.writeNetwork("account", ["3.80.0.1"]);
    expect(await readTargetIds(table.dynamo, { tableName: TABLE, list: table.list })).toEqual([
      { id: "acl-2", kind: "networkAcl" },
      { id: "edge", kind: "wafIpSet" },
    ]);
  });
});

/** DynamoDB's limit. */
const ITEM_BYTES = 400 * 1024;

/** Random single addresses of IPv4, or /64 networks of IPv6, the same ones each time. */
function randomRanges(length: number, family: 4 | 6): Set<string> {
  let state = 1;
  const random = (below: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const ranges = new Set<string>();
  while (ranges.size < length) {
    const parts = Array.from({ length: 4 }, () => random(family === 4 ? 256 : 65_536));
    const text =
      family === 4
        ? `${parts.join(".")}/32`
        : `${parts.map((part) => part.toString(16)).join(":")}::/64`;
    ranges.add(parseCidr(text).text);
  }
  return ranges;
}
