import type { EC2Client } from "@aws-sdk/client-ec2";
import { GetCommand, PutCommand } from "@aws-sdk/lib-dynamodb";
import { beforeEach, describe, expect, test } from "@jest/globals";
import { PARTS, restore } from "../../../../services/cli/restore/restore.ts";
import type { Restored, Restoring } from "../../../../services/cli/restore/restoring.ts";
import { createAdditions, writeAdditions } from "../../../../shared/aws/table/additions.ts";
import { createAddresses } from "../../../../shared/aws/table/addresses.ts";
import { createBlocks } from "../../../../shared/aws/table/blocks.ts";
import { partition } from "../../../../shared/aws/table/items.ts";
import { createOffenders } from "../../../../shared/aws/table/offenders.ts";
import { createOrderBook } from "../../../../shared/aws/table/orders.ts";
import { createTargetStates } from "../../../../shared/aws/table/targetStates.ts";
import { parseCidr } from "../../../../shared/domain/cidr.ts";
import { NOTHING_KNOWN } from "../../../../shared/domain/decide.ts";
import { shiftsOf } from "../../../../shared/domain/outstanding.ts";
import { aclRecord } from "../../../../shared/targets/networkAcl/record.ts";
import { newTargetState } from "../../../../shared/targets/state.ts";
import {
  A,
  blockOf,
  describeWithTable,
  endedOf,
  NOW,
  TABLE,
  textsOf,
  useTable,
} from "../../../contract/table/table.ts";
import { recover } from "../../../support/recovered.ts";

describeWithTable("restoring from a copy of the table", () => {
  const table = useTable();
  const COPY = "recovered";
  const B = "203.0.113.2/32";
  const ACL = "acl-0123456789abcdef0";
  const SEEN_AT = NOW - 60_000;
  /** What EC2 shows of the ACL. */
  let entries: object[] = [];
  let copy: {
    dynamo: typeof table.dynamo;
    config: { tableName: string; list: string };
  };
  let isMade = false;
  beforeEach(async () => {
    if (!isMade) await recover(table.dynamo, TABLE, COPY);
    isMade = true;
    copy = { dynamo: table.dynamo, config: { tableName: COPY, list: table.list } };
    entries = [];
  });
  const old = () => ({
    addresses: createAddresses(copy.dynamo, copy.config),
    orders: createOrderBook(copy.dynamo, copy.config),
    offenders: createOffenders(copy.dynamo, copy.config),
    states: createTargetStates(copy.dynamo, copy.config),
  });
  const ec2 = {
    send: async () => ({ NetworkAcls: [{ VpcId: "vpc-1", Entries: entries }] }),
  } as unknown as EC2Client;
  const stopping = () => new AbortController();
  const restoring = (change: Partial<Restoring> = {}): Restoring => ({
    stage: { dynamo: table.dynamo, ec2, waf: undefined as never },
    deployment: {
      ...{ tableName: TABLE, list: table.list },
      ...{ repeatMemory: 86_400, corroborationThreshold: 0 },
    },
    from: copy.config,
    watch: { signal: stopping().signal, onProgress: () => {} },
    clock: () => NOW,
    ...change,
  });
  const run = async (...parts: (typeof PARTS)[number][]) => {
    const all = await restore(restoring(), parts.length > 0 ? parts : PARTS);
    return (what: string): Partial<Restored> => {
      const { what: _, ...counts } = all.find((one) => one.what === what) ?? { what };
      return counts;
    };
  };
  const writeOld = async (...blocks: Parameters<typeof table.writeBlock>[0][]) => {
    for (const block of blocks)
      await old().addresses.write(block.cidr, NOTHING_KNOWN, { ...NOTHING_KNOWN, block });
  };
  const none = { copied: 0, known: 0, over: 0, unreadable: 0 };

  describe("blocks", () => {
    const report = { reportedAt: SEEN_AT, seconds: 3_600 };

    test("come back as they were, ranked, and repeated they are there already", async () => {
      const blocks = [blockOf(A, { ...report, severity: 7 }), blockOf("2001:db8::/64", report)];
      await writeOld(...blocks);
      expect((await run("blocks"))("blocks")).toEqual({ ...none, copied: 2 });
      const [first] = blocks;
      expect((await table.knownOf(A)).block).toEqual({ ...first, version: 1 });
      const { strongest } = await table.blocks.readStrongest(4, { count: 10 }, NOW);
      expect(textsOf(strongest)).toEqual([A]);
      expect((await run("blocks"))("blocks")).toEqual({ ...none, known: 2 });
    });

    test("wake the enforcer, each as a new one", async () => {
      await writeOld(blockOf(A, { ...report }));
      await run("blocks");
      const [record] = (await table.streamed(1)).filter(({ image }) => "cidr" in image);
      expect(record).toMatchObject({ eventName: "INSERT", image: { wake: { BOOL: false } } });
    });

    test("many pages of them, whatever cannot be read among them", async () => {
      const cidrs = Array.from({ length: 60 }, (_, n) => `198.51.100.${n}/32`);
      await writeOld(...cidrs.map((cidr) => blockOf(cidr, report)));
      await table.dynamo.send(
        new PutCommand({
          TableName: COPY,
          Item: { list: table.list, sk: "block#198.51.100.99/32" },
        }),
      );
      expect((await run("blocks"))("blocks")).toEqual({ ...none, copied: 60, unreadable: 1 });
    });

    test("one that stands in the live table stays, even a weaker one", async () => {
      await writeOld(blockOf(A, { ...report, severity: 9 }));
      const live = blockOf(A, { reportedAt: NOW - 1_000, severity: 2 });
      await table.writeBlock(live);
      expect((await run("blocks"))("blocks")).toEqual({ ...none, known: 1 });
      expect((await table.knownOf(A)).block).toMatchObject({ severity: 2 });
    });

    test("one that has ended in the live table, and that TTL has not come for, makes way", async () => {
      await writeOld(blockOf(A, { ...report, requestId: "old" }));
      await table.writeBlock(endedOf(A, { reportedAt: NOW - 90_000 }));
      expect((await run("blocks"))("blocks")).toEqual({ ...none, copied: 1 });
      expect((await table.knownOf(A)).block).toMatchObject({ requestId: "old" });
    });

    test("what has ended since the copy is remembered as an offender", async () => {
      await writeOld({ ...endedOf(A), strikes: 3 });
      expect((await run("blocks"))("blocks")).toEqual({ ...none, over: 1 });
      expect(await table.knownOf(A)).toMatchObject({ block: undefined, strikes: 3 });
    });

    test.each<[string, (cidr: ReturnType<typeof parseCidr>) => Promise<unknown>]>([
      [
        "unblocked",
        (cidr) =>
          table.addresses.write(cidr, NOTHING_KNOWN, {
            ...{ ...NOTHING_KNOWN, unblock: { requestedAt: NOW - 1_000 } },
          }),
      ],
      ["held", (cidr) => table.orders.hold({ cidr, requestedAt: NOW, until: NOW / 1000 + 60 })],
      [
        "taken back",
        () => table.orders.undo({ detector: "suricata", since: 0, requestedAt: NOW - 1_000 }),
      ],
    ])("what has been %s since stays away", async (_what, say) => {
      await writeOld(blockOf(A, report));
      await say(parseCidr(A));
      expect((await run("blocks"))("blocks")).toEqual({ ...none, over: 1 });
      expect((await table.knownOf(A)).block).toBeUndefined();
    });

    test("what the copy's own orders take back stays away as well", async () => {
      await writeOld(blockOf(A, report));
      const undo = { detector: "suricata", since: 0, requestedAt: NOW - 1_000 };
      await old().orders.undo(undo);
      const of = await run();
      expect([of("undos"), of("blocks")]).toEqual([
        { ...none, copied: 1 },
        { ...none, over: 1 },
      ]);
    });

    test("an unblock that comes in between takes its block again", async () => {
      await writeOld(blockOf(A, report));
      const { dynamo } = table;
      let isFirst = true;
      // The unblock of another lane, just before the block is written.
      const racing = Object.assign(Object.create(dynamo), {
        async send(command: { input: { Item?: { sk?: string } } }, ...rest: []) {
          if (isFirst && command.input.Item?.sk === `block#${A}`) {
            isFirst = false;
            const unblock = { requestedAt: NOW - 1_000 };
            await table.addresses.write(parseCidr(A), NOTHING_KNOWN, { ...NOTHING_KNOWN, unblock });
            await table.orders.countUnblock();
          }
          return dynamo.send(command as never, ...rest);
        },
      });
      const stage = { ...restoring().stage, dynamo: racing };
      await restore(restoring({ stage }), ["blocks"]);
      expect((await table.knownOf(A)).block).toBeUndefined();
    });

    test("are counted anew for their callers, whatever was counted before", async () => {
      const [one, two] = [blockOf(A, report), blockOf(B, { ...report, detector: "zeek" })];
      await writeOld(one, two);
      // Counts that outlived their blocks, and one that did not.
      await table.writeBlock(two);
      const gone = blockOf("203.0.113.9/32", report);
      const shifts = [gone, two].flatMap((block) => shiftsOf(undefined, block, NOW));
      await table.outstanding.count(shifts, NOW);
      await run("blocks");
      expect(await table.outstanding.read("suricata", NOW)).toEqual({ own: 1, all: 2 });
      expect(await table.outstanding.read("zeek", NOW)).toEqual({ own: 1, all: 2 });
      await run("blocks");
      expect(await table.outstanding.read("suricata", NOW)).toEqual({ own: 1, all: 2 });
    });
  });

  describe("what stands for itself", () => {
    test("offenders and orders come back; of two the newer one stays", async () => {
      const seen = { ...blockOf(A, { reportedAt: SEEN_AT }), strikes: 5 };
      await old().offenders.remember(seen, 86_400);
      await old().offenders.remember({ ...seen, cidr: parseCidr(B) }, 86_400);
      const newer = { ...seen, cidr: parseCidr(B), strikes: 6, firstSeenAt: NOW };
      await table.offenders.remember(newer, 86_400);
      const hold = { cidr: parseCidr(A), requestedAt: SEEN_AT, until: NOW / 1000 + 600 };
      await old().orders.hold(hold);
      await old().orders.hold({ ...hold, cidr: parseCidr(B), until: NOW / 1000 - 120 });
      await old().orders.setMode("monitor");

      const of = await run("orders", "offenders");
      expect(of("offenders")).toEqual({ ...none, copied: 1, known: 1 });
      expect(of("holds")).toEqual({ ...none, copied: 1, over: 1 });
      expect(of("mode")).toEqual({ ...none, copied: 1 });
      expect([(await table.knownOf(A)).strikes, (await table.knownOf(B)).strikes]).toEqual([5, 6]);
      // Who is writing an address sees by the count that orders have come.
      expect(await table.orders.read(NOW)).toMatchObject({
        ...{ holds: [hold], mode: "monitor", unblocks: 1 },
      });
    });

    test("the mode that is ordered now stays", async () => {
      await old().orders.setMode("off");
      await table.orders.setMode("enforce");
      expect((await run("orders"))("mode")).toEqual({ ...none, known: 1 });
      expect((await table.orders.read(NOW)).mode).toBe("enforce");
    });
  });

  describe("what operators have added", () => {
    const caller = (name: string) => ({ name, role: "detector" });
    const secrets = (digit: string) => ({ secrets: [{ sha256: digit.repeat(64) }] });
    const add = async (tableName: string, part: "settings" | "tokens", sk: string, item: object) =>
      writeAdditions(table.dynamo, { tableName }, [
        { partition: partition[part](table.list), sk, item: item as Record<string, unknown> },
      ]);
    const live = async (part: "settings" | "tokens") => {
      const of = createAdditions(table.dynamo, { tableName: TABLE }, partition[part](table.list));
      const items = (await of.items()).map(({ sk, list: _, ...item }) => [sk, item] as const);
      return { version: await of.version(), items: Object.fromEntries(items) };
    };

    test("comes back with its token, and the functions see that it has changed", async () => {
      await add(COPY, "settings", "caller#zeek", { caller: caller("zeek") });
      await add(COPY, "tokens", "token#zeek", secrets("a"));
      await add(COPY, "settings", "never-block#192.0.2.0/24", { why: "office" });
      const of = await run("settings");
      expect(of("callers")).toEqual({ ...none, copied: 1 });
      expect(of("never-block ranges")).toEqual({ ...none, copied: 1 });
      expect(await live("settings")).toEqual({
        version: 1_000_004, // past whatever an instance may remember
        items: {
          "caller#zeek": { caller: caller("zeek") },
          "never-block#192.0.2.0/24": { why: "office" },
        },
      });
      expect((await live("tokens")).items).toEqual({ "token#zeek": secrets("a") });
      const repeated = await run("settings");
      expect(repeated("callers")).toEqual({ ...none, known: 1 });
      expect((await live("settings")).version).toBe(1_000_004);
    });

    test("a token that has been rotated since, and a caller that has been revoked, stay so", async () => {
      for (const name of ["rotated", "revoked"]) {
        await add(COPY, "settings", `caller#${name}`, { caller: caller(name) });
        await add(COPY, "tokens", `token#${name}`, secrets("a"));
      }
      await add(TABLE, "tokens", "token#rotated", secrets("b"));
      await add(TABLE, "settings", "caller#revoked", { caller: null });
      await run("settings");
      expect((await live("tokens")).items).toEqual({ "token#rotated": secrets("b") });
      expect((await live("settings")).items).toEqual({
        "caller#revoked": { caller: null },
        "caller#rotated": { caller: caller("rotated") },
      });
    });

    test("what the functions could not read stays behind", async () => {
      await add(COPY, "settings", "caller#zeek", { caller: { name: "zeek" } });
      await add(COPY, "settings", "never-block#office", { why: "" });
      const of = await run("settings");
      expect(of("callers")).toEqual({ ...none, unreadable: 1 });
      expect(of("never-block ranges")).toEqual({ ...none, unreadable: 1 });
      expect((await live("settings")).items).toEqual({});
    });

    test("by the hundred", async () => {
      const ranges = Array.from({ length: 120 }, (_, n) => `never-block#198.18.${n}.0/24`);
      const of = partition.settings(table.list);
      await writeAdditions(
        table.dynamo,
        { tableName: COPY },
        ranges.map((sk) => ({ partition: of, sk, item: { why: "" } })),
      );
      expect((await run("settings"))("never-block ranges")).toEqual({ ...none, copied: 120 });
      expect(Object.keys((await live("settings")).items)).toHaveLength(120);
    });
  });

  describe("entries of a target", () => {
    const deny = (RuleNumber: number, CidrBlock: string, change: object = {}) => ({
      ...{ RuleNumber, CidrBlock, RuleAction: "deny", Protocol: "-1", Egress: false },
      ...change,
    });
    const slots = (of: Record<number, string>) =>
      Object.fromEntries(
        Object.entries(of).map(([n, text]) => [n, { cidr: parseCidr(text), confirmedAt: SEEN_AT }]),
      );
    const record = (ingress: Record<number, string>) =>
      aclRecord.stored({ slots: { ingress: slots(ingress), egress: {} }, learntLimits: {} });
    const oursNow = async () => {
      const { record: now } = await table.states.read(ACL, "networkAcl");
      const { slots } = now as { slots: { ingress: Record<string, { cidr: string }> } };
      return Object.fromEntries(Object.entries(slots.ingress).map(([n, { cidr }]) => [n, cidr]));
    };
    const WHAT = `entries of ${ACL}`;
    const remember = (
      states: ReturnType<typeof createTargetStates>,
      ingress: Record<number, string>,
    ) => states.write(ACL, { ...newTargetState("networkAcl"), record: record(ingress) });

    test("are ours again where EC2 shows what the copy says, and nowhere else", async () => {
      await remember(old().states, { 1: A, 2: B, 3: "203.0.113.3/32", 4: "203.0.113.4/32" });
      entries = [
        deny(1, A),
        deny(2, "198.51.100.7/32"), // a person's by now
        deny(3, "203.0.113.3/32", { Protocol: "6" }), // a person's, too
        deny(5, "203.0.113.5/32"), // never ours
      ];
      expect((await run("targets"))(WHAT)).toEqual({ ...none, copied: 1, over: 3 });
      expect(await oursNow()).toEqual({ 1: A });
      expect((await run("targets"))(WHAT)).toEqual({ ...none, known: 1, over: 3 });
    });

    test("what the enforcer has recorded since stays", async () => {
      await remember(old().states, { 1: A, 2: B });
      await remember(table.states, { 2: "198.51.100.9/32", 7: A });
      entries = [deny(1, A), deny(2, B), deny(7, A)];
      expect((await run("targets"))(WHAT)).toMatchObject({ copied: 1 });
      expect(await oursNow()).toEqual({ 1: A, 2: "198.51.100.9/32", 7: A });
    });

    test("a target that cannot be read is named, and keeps nothing else from being restored", async () => {
      await remember(old().states, { 1: A });
      await writeOld(blockOf(A, { reportedAt: SEEN_AT, seconds: 3_600 }));
      const broken = {
        send: async () => {
          throw new Error("You are not authorized.");
        },
      } as unknown as EC2Client;
      const all = await restore(restoring({ stage: { ...restoring().stage, ec2: broken } }));
      expect(all.filter(({ problem }) => problem)).toEqual([
        { what: WHAT, ...none, problem: "You are not authorized." },
      ]);
      expect((await table.knownOf(A)).block).toBeDefined();
    });
  });

  test("copies no count, budget, network or other state", async () => {
    const { dynamo } = table;
    const kept = [
      [partition.budgets(table.list), "budget#zeek#1"],
      [partition.outstanding(table.list), "caller#zeek"],
      [partition.callers(table.list), "source#192.0.2.1"],
      [partition.targets(table.list), "network#account"],
      [partition.targets(table.list), "never-block"],
      [partition.memory(table.list), `suspect#${A}`],
    ];
    for (const [list, sk] of kept)
      await dynamo.send(new PutCommand({ TableName: COPY, Item: { list, sk } }));
    await writeOld(endedOf(B));
    await run();
    for (const [list, sk] of kept) {
      const { Item } = await dynamo.send(new GetCommand({ TableName: TABLE, Key: { list, sk } }));
      expect(Item).toBeUndefined();
    }
  });

  test("stopped, it ends after what is under way; repeated, it goes on", async () => {
    const cidrs = Array.from({ length: 60 }, (_, n) => `198.51.100.${n}/32`);
    await writeOld(...cidrs.map((cidr) => blockOf(cidr, { reportedAt: SEEN_AT, seconds: 3_600 })));
    const controller = stopping();
    const watch = { signal: controller.signal, onProgress: () => controller.abort() };
    const [first] = await restore(restoring({ watch }), ["blocks"]);
    expect(first).toMatchObject({ copied: 20 });
    expect((await run("blocks"))("blocks")).toEqual({ ...none, copied: 40, known: 20 });
    expect(textsOf(await createBlocksOf(table).readBlocks(cidrs, NOW))).toHaveLength(60);
  });

  describe("is refused", () => {
    test.each([
      ["from the live table itself", TABLE, "blacklist_ip is the live table itself."],
      ["from a table that is not there", "none-such", "There is no table none-such in"],
      ["from one that holds nothing of the stage", COPY, "holds nothing of list-"],
    ])("%s", async (_what, tableName, sentence) => {
      const from = { tableName, list: table.list };
      await expect(restore(restoring({ from }))).rejects.toThrow(sentence);
    });
  });
});

const createBlocksOf = ({ dynamo, list }: ReturnType<typeof useTable>) =>
  createBlocks(dynamo, { tableName: TABLE, list });
