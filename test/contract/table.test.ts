import {
  DescribeStreamCommand,
  GetRecordsCommand,
  GetShardIteratorCommand,
} from "@aws-sdk/client-dynamodb-streams";
import { DynamoDBDocumentClient, GetCommand, PutCommand } from "@aws-sdk/lib-dynamodb";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { startTestEngines, until } from "../../infra/local/test/support/fixtures.ts";
import {
  ConflictError,
  createTable,
  EMPTY_STATE,
  type State,
  type Table,
} from "../../shared/aws/table.ts";
import { applyReport, type Block } from "../../shared/domain/block.ts";
import type { Family } from "../../shared/domain/cidr.ts";
import { hasJava } from "../support/java.ts";
import { reportOf } from "../support/reports.ts";
import { makeTable } from "../support/resources.ts";

/*
 * The table's adapter on DynamoDB Local, with the table as infra/table.yml defines it. Times lie far
 * ahead, so that DynamoDB's own sweeper leaves the items alone, whenever the tests run.
 */

const NOW = 4_000_000_000_000;
const TABLE = "blacklist_ip";
const A = "203.0.113.1/32";

(hasJava ? describe : describe.skip)("the table on DynamoDB Local", () => {
  let aws: Awaited<ReturnType<typeof startTestEngines>>;
  let dynamo: DynamoDBDocumentClient;
  let streamArn: string;
  beforeAll(async () => {
    aws = await startTestEngines("dynamodb");
    streamArn = await makeTable(aws.clients, TABLE);
    dynamo = DynamoDBDocumentClient.from(aws.clients.dynamodb, {
      marshallOptions: { removeUndefinedValues: true },
    });
  }, 90_000);
  afterAll(() => aws?.stop());

  /** Each test has an ACL, and so a partition, of its own. */
  let aclId: string;
  let table: Table;
  /** What the adapter logged. */
  let errors: unknown[];
  let count = 0;
  beforeEach(() => {
    aclId = `acl-${String(++count).padStart(8, "0")}`;
    errors = [];
    const log = { error: (_what: unknown, detail: unknown) => errors.push(detail) } as never;
    table = createTable(dynamo, { tableName: TABLE, aclId }, log);
  });
  /** A block's item that holds too little of one. */
  const putBroken = (cidr: string, rank: string) =>
    dynamo.send(
      new PutCommand({ TableName: TABLE, Item: { aclId, sk: `block#${cidr}`, cidr, rank } }),
    );

  const blockOf = (cidr: string, change: Parameters<typeof reportOf>[1] = {}): Block =>
    given(
      applyReport(
        undefined,
        reportOf(cidr, { reportedAt: NOW, ...change }),
        0,
        { factor: 1, maxSeconds: 1 },
        change.reportedAt ?? NOW,
      ),
    );
  const again = (block: Block, change: Partial<Block> = {}): Block => ({
    ...block,
    hits: block.hits + 1,
    ...change,
  });
  /** A block whose time was over a minute ago. */
  const endedOf = (cidr: string, change: Parameters<typeof reportOf>[1] = {}): Block =>
    blockOf(cidr, { reportedAt: NOW - 120_000, seconds: 60, ...change });
  const blockIn = async (cidr: string) => (await table.readKnown([cidr], NOW)).get(cidr)?.block;
  const strikesOf = async (cidr: string, now = NOW) =>
    (await table.readKnown([cidr], now)).get(cidr)?.strikes;
  const write = (...blocks: Block[]) =>
    Promise.all(blocks.map((block) => table.writeBlock(block, undefined)));

  /** What the stream shows of this test's ACL, once it has shown so many records. */
  async function streamed(length: number): Promise<{ eventName: string; image: object }[]> {
    return until(async () => {
      const records = await readStream(aws, streamArn);
      const ours = records.filter(({ dynamodb }) => dynamodb?.Keys?.aclId?.S === aclId);
      return (
        ours.length >= length &&
        ours.map(({ eventName = "", dynamodb }) => ({
          eventName,
          image: dynamodb?.NewImage ?? dynamodb?.OldImage ?? {},
        }))
      );
    });
  }
  const eventNames = async (length: number) =>
    (await streamed(length)).map(({ eventName }) => eventName);

  describe("readKnown", () => {
    test("gives back each block as it was written, the ended ones included", async () => {
      const blocks = [
        blockOf(A, { reason: "ü 攻撃 🔥" }),
        blockOf("2001:db8::/48", { reason: "" }),
        endedOf("203.0.113.3/32"),
      ];
      await write(...blocks);
      const known = await table.readKnown(
        blocks.map(({ cidr }) => cidr),
        NOW,
      );
      expect([...known.values()]).toEqual(
        blocks.map((block) => ({ block, strikes: 0, suspect: undefined, unblock: undefined })),
      );
    });

    test("knows nothing of what was never blocked, nor of another ACL's blocks", async () => {
      await createTable(dynamo, { tableName: TABLE, aclId: "acl-another" }).writeBlock(
        blockOf(A),
        undefined,
      );
      expect([...(await table.readKnown([A], NOW))]).toEqual([
        [A, { block: undefined, strikes: 0, suspect: undefined, unblock: undefined }],
      ]);
      expect(await table.readKnown([], NOW)).toEqual(new Map());
    });

    test("reads what a whole batch of twenty-five addresses needs", async () => {
      const cidrs = Array.from({ length: 25 }, (_, i) => `203.0.113.${i}/32`);
      await write(...cidrs.map((cidr) => blockOf(cidr)));
      const known = await table.readKnown(cidrs, NOW);
      expect([...known.values()].filter(({ block }) => block)).toHaveLength(25);
    });
  });

  describe("writeBlock", () => {
    test("of a new block shows as INSERT", async () => {
      await write(blockOf(A));
      expect(await eventNames(1)).toEqual(["INSERT"]);
    });

    test("of an extended block shows as MODIFY, with the mark that may wake", async () => {
      const block = blockOf(A);
      await write(block);
      const extended = again(block, { expiresAt: block.expiresAt + 60, wake: true });
      await table.writeBlock(extended, block);
      const [, modify] = await streamed(2);
      expect(modify).toMatchObject({
        eventName: "MODIFY",
        image: { wake: { BOOL: true }, expiresAt: { N: String(block.expiresAt + 60) } },
      });
      expect(await blockIn(A)).toEqual(extended);
    });

    test("of a new block over one that has ended shows as REMOVE and INSERT: it must wake", async () => {
      const ended = endedOf(A);
      await write(ended);
      const next = { ...blockOf(A), strikes: 2 };
      await table.writeBlock(next, ended);
      expect(await eventNames(3)).toEqual(["INSERT", "REMOVE", "INSERT"]);
      expect(await blockIn(A)).toEqual(next);
    });

    test("of a new block after an unblock in the same batch shows as REMOVE and INSERT too", async () => {
      const block = blockOf(A);
      await write(block);
      await table.writeBlock(blockOf(A, { reportedAt: NOW + 1 }), block);
      expect(await eventNames(3)).toEqual(["INSERT", "REMOVE", "INSERT"]);
    });

    test("goes on where DynamoDB has deleted the ended block meanwhile", async () => {
      await table.writeBlock(blockOf(A), endedOf(A));
      expect(await blockIn(A)).toEqual(blockOf(A));
    });

    test("goes on where an extended block was deleted meanwhile: it is a new item then", async () => {
      const block = blockOf(A);
      await table.writeBlock(again(block), block);
      expect(await eventNames(1)).toEqual(["INSERT"]);
    });

    test("refuses a new block where another writer has written one meanwhile", async () => {
      const first = blockOf(A, { detector: "elastalert" });
      await write(first);
      await expect(table.writeBlock(blockOf(A), undefined)).rejects.toThrow(ConflictError);
      expect(await blockIn(A)).toEqual(first);
    });

    test("refuses to extend what another writer has extended meanwhile", async () => {
      const block = blockOf(A);
      await write(block);
      const first = again(block, { expiresAt: block.expiresAt + 600 });
      await table.writeBlock(first, block);
      await expect(table.writeBlock(again(block), block)).rejects.toThrow(ConflictError);
      expect(await blockIn(A)).toEqual(first);
    });

    test("refuses to extend or to replace a block that has become another", async () => {
      const other = blockOf(A, { reportedAt: NOW + 5 });
      await write(other);
      await expect(table.writeBlock(again(blockOf(A)), blockOf(A))).rejects.toThrow(ConflictError);
      await expect(table.writeBlock(blockOf(A), endedOf(A))).rejects.toThrow(ConflictError);
      expect(await blockIn(A)).toEqual(other);
    });

    test("lets exactly one of several writers extend a block", async () => {
      const block = blockOf(A);
      await write(block);
      const writers = Array.from({ length: 8 }, (_, i) =>
        table.writeBlock(again(block, { expiresAt: block.expiresAt + i }), block),
      );
      const outcomes = await Promise.allSettled(writers);
      expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
      for (const outcome of outcomes) {
        if (outcome.status === "rejected") expect(outcome.reason).toBeInstanceOf(ConflictError);
      }
    });
  });

  describe("removeBlock", () => {
    test("shows as REMOVE, with the block that it was", async () => {
      const block = blockOf(A);
      await write(block);
      await table.removeBlock(block);
      expect(await blockIn(A)).toBeUndefined();
      const [, removal] = await streamed(2);
      expect(removal).toMatchObject({ eventName: "REMOVE", image: { cidr: { S: A } } });
    });

    test("removes a block that was extended meanwhile", async () => {
      const block = blockOf(A);
      await write(block);
      await table.writeBlock(again(block), block);
      await table.removeBlock(block);
      expect(await blockIn(A)).toBeUndefined();
    });

    test("of what is gone already is done", async () => {
      await table.removeBlock(blockOf(A));
    });

    test("refuses to remove a newer block than the one that was read", async () => {
      const newer = blockOf(A, { reportedAt: NOW + 5 });
      await write(newer);
      await expect(table.removeBlock(blockOf(A))).rejects.toThrow(ConflictError);
      expect(await blockIn(A)).toEqual(newer);
    });
  });

  describe("reading by rank", () => {
    const cidrs = (blocks: readonly Block[]) => blocks.map(({ cidr }) => cidr);
    const strongest = async (family: Family, count: number, now = NOW) =>
      cidrs((await table.readStrongest(family, count, now)).strongest);
    const inTheWay = async (family: Family, count: number) =>
      cidrs((await table.readStrongest(family, count, NOW)).inTheWay);
    /** Weakest first, as severities rise with the number. */
    const many = (length: number) =>
      Array.from({ length }, (_, i) =>
        blockOf(`203.0.113.${i}/32`, {
          severity: 1 + Math.floor((i * 10) / length),
          reportedAt: NOW + i,
          seconds: 600,
        }),
      );

    test("readStrongest gives the strongest first, and no more than asked for", async () => {
      await write(
        blockOf("203.0.113.1/32", { severity: 2 }),
        { ...blockOf("203.0.113.2/32", { severity: 2 }) },
        blockOf("203.0.113.3/32", { severity: 10 }),
        blockOf("203.0.113.4/32", { severity: 9, reportedAt: NOW + 1_000 }),
        blockOf("203.0.113.5/32", { severity: 9 }),
      );
      expect(await strongest(4, 10)).toEqual([
        "203.0.113.3/32",
        "203.0.113.4/32",
        "203.0.113.5/32",
        "203.0.113.2/32",
        "203.0.113.1/32",
      ]);
      expect(await strongest(4, 2)).toEqual(["203.0.113.3/32", "203.0.113.4/32"]);
    });

    test("readStrongest keeps the families apart", async () => {
      await write(blockOf(A), blockOf("2001:db8::/48", { severity: 10 }));
      expect(await strongest(4, 10)).toEqual([A]);
      expect(await strongest(6, 10)).toEqual(["2001:db8::/48"]);
    });

    test("readStrongest leaves the ended out, to the second, and fills up from behind them", async () => {
      const stronger = Array.from({ length: 25 }, (_, i) =>
        endedOf(`198.51.100.${i}/32`, { severity: 10 }),
      );
      const live = many(5);
      await write(...stronger, ...live);
      expect(await strongest(4, 3)).toEqual(["203.0.113.4/32", "203.0.113.3/32", "203.0.113.2/32"]);
      const end = given(live[0]).expiresAt * 1_000;
      expect(await strongest(4, 10, end - 1)).toHaveLength(5);
      expect(await strongest(4, 10, end)).toEqual([]);
    });

    test("readPage shows every block once, page by page, in order, the ended included", async () => {
      const blocks = [...many(7), endedOf("198.51.100.1/32", { severity: 10 })];
      await write(...blocks, blockOf("2001:db8::/48"));
      const seen: Block[] = [];
      let next: string | undefined;
      let pages = 0;
      do {
        const page = await table.readPage(4, 3, next);
        expect(page.blocks.length).toBeLessThanOrEqual(3);
        seen.push(...page.blocks);
        next = page.next;
      } while (next !== undefined && ++pages < 10);
      expect(seen).toEqual(blocks.toSorted((a, b) => (a.rank < b.rank ? 1 : -1)));
    });

    test("readPage goes on where the block that the last page ended with is gone", async () => {
      const blocks = many(8).toReversed();
      await write(...blocks);
      const first = await table.readPage(4, 3, undefined);
      await table.removeBlock(given(first.blocks.at(-1)));
      const second = await table.readPage(4, 3, first.next);
      expect(second.blocks).toEqual(blocks.slice(3, 6));
      expect((await table.readPage(4, 3, second.next)).blocks).toEqual(blocks.slice(6));
    });

    test("readStrongest tells of the ended that stand in the way, once they cost a further read", async () => {
      const stronger = Array.from({ length: 3 }, (_, i) =>
        endedOf(`198.51.100.${i}/32`, { severity: 10 }),
      );
      const weaker = endedOf("198.51.100.9/32", { severity: 1 });
      await write(...stronger, weaker, ...many(4));
      expect(await inTheWay(4, 9)).toEqual([]); // one read shows all
      expect((await inTheWay(4, 7)).toSorted()).toEqual(cidrs([...stronger, weaker]));
      for (const block of [...stronger, weaker]) await table.removeBlock(block);
      expect(await inTheWay(4, 4)).toEqual([]);
      expect(await strongest(4, 4)).toHaveLength(4);
    });

    test("readStrongest tells of none where those before the live ones leave room for all asked", async () => {
      await write(...many(4), endedOf("198.51.100.9/32", { severity: 1 }));
      expect(await inTheWay(4, 4)).toEqual([]);
    });

    test("readPage goes on where it meets nothing but items that nobody can read", async () => {
      const blocks = many(2);
      await write(...blocks);
      for (const i of [1, 2, 3]) await putBroken(`198.51.100.${i}/32`, `4#99#00${i}`);
      const seen: Block[] = [];
      let next: string | undefined;
      do {
        const page = await table.readPage(4, 2, next);
        seen.push(...page.blocks);
        next = page.next;
      } while (next !== undefined);
      expect(seen).toEqual(blocks.toReversed());
    });
  });

  describe("readBlocks", () => {
    test("gives the live blocks among the ranges, and leaves the rest out", async () => {
      const wide = blockOf("203.0.113.0/24");
      await write(wide, endedOf("203.0.0.0/16"), blockOf(A));
      const found = await table.readBlocks(
        ["203.0.113.0/24", "203.0.0.0/16", "203.0.112.0/23"],
        NOW,
      );
      expect(found).toEqual([wide]);
    });

    test("takes all the ranges that an IPv6 address may lie in", async () => {
      const ranges = Array.from({ length: 96 }, (_, i) => `2001:db8::/${32 + i}`);
      await write(blockOf("2001:db8::/32"), blockOf("2001:db8::/127"));
      expect(await table.readBlocks(ranges, NOW)).toHaveLength(2);
    });
  });

  describe("what is known besides blocks", () => {
    const SUSPECT = {
      reports: {
        suricata: {
          expiresAt: NOW / 1000 + 60,
          reportedAt: NOW,
          severity: 7,
          reason: "ü 攻撃 🔥",
          requestId: "request-1",
          weight: 0.5,
        },
      },
      expiresAt: NOW / 1000 + 30,
    };
    const knownOf = async (cidr: string, now = NOW) =>
      given((await table.readKnown([cidr], now)).get(cidr));

    test("a suspect is read as it was written, until its time is over or it is removed", async () => {
      await table.writeSuspect(A, SUSPECT);
      expect(await knownOf(A)).toEqual({
        block: undefined,
        strikes: 0,
        suspect: SUSPECT,
        unblock: undefined,
      });
      expect((await knownOf("203.0.113.2/32")).suspect).toBeUndefined();
      expect((await knownOf(A, NOW + 29_999)).suspect).toEqual(SUSPECT);
      expect((await knownOf(A, NOW + 30_000)).suspect).toBeUndefined();
      await table.removeSuspect(A);
      expect((await knownOf(A)).suspect).toBeUndefined();
    });

    test("an unblock is remembered for as long as a message may lie about, and for its hold", async () => {
      const B = "203.0.113.2/32";
      const life = 18 * 86_400;
      const unblock = { requestedAt: NOW, holdUntil: 0 };
      const held = { requestedAt: NOW, holdUntil: NOW / 1000 + 2 * life };
      await table.writeUnblock(A, unblock);
      await table.writeUnblock(B, held);
      expect((await knownOf("203.0.113.3/32")).unblock).toBeUndefined();
      expect((await knownOf(A, NOW + 1000 * life - 1)).unblock).toMatchObject(unblock);
      expect((await knownOf(A, NOW + 1000 * life)).unblock).toBeUndefined();
      expect((await knownOf(B, NOW + 2000 * life - 1)).unblock).toMatchObject(held);
      expect((await knownOf(B, NOW + 2000 * life)).unblock).toBeUndefined();
    });

    test("a later unblock, or a later suspect, takes the place of the one before", async () => {
      await table.writeUnblock(A, { requestedAt: NOW, holdUntil: 0 });
      const later = { requestedAt: NOW + 1, holdUntil: NOW / 1000 + 90 };
      await table.writeUnblock(A, later);
      expect((await knownOf(A)).unblock).toMatchObject(later);
      await table.writeSuspect(A, SUSPECT);
      await table.writeSuspect(A, { ...SUSPECT, reports: {} });
      expect((await knownOf(A)).suspect?.reports).toEqual({});
    });

    test("neither is a block: no list shows them", async () => {
      await table.writeSuspect(A, SUSPECT);
      await table.writeUnblock(A, { requestedAt: NOW, holdUntil: NOW / 1000 + 30 });
      expect(await table.readStrongest(4, 10, NOW)).toEqual({ strongest: [], inTheWay: [] });
      expect((await table.readPage(4, 10, undefined)).blocks).toEqual([]);
      expect(await table.readBlocks([A], NOW)).toEqual([]);
    });
  });

  describe("an item that nobody can read", () => {
    const B = "203.0.113.2/32";

    test("is left out of what is enforced and listed, and the log says which", async () => {
      await putBroken(B, "4#99");
      await write(blockOf(A));
      expect((await table.readStrongest(4, 10, NOW)).strongest).toEqual([blockOf(A)]);
      expect((await table.readPage(4, 10, undefined)).blocks).toEqual([blockOf(A)]);
      expect(await table.readBlocks([A, B], NOW)).toEqual([blockOf(A)]);
      expect(errors).toHaveLength(3);
      expect(errors[0]).toMatchObject({ sk: `block#${B}`, at: expect.stringMatching(/./) });
    });

    test("is removed where it stands in a new block's way", async () => {
      await putBroken(A, "4#99");
      expect(await blockIn(A)).toBeUndefined();
      await table.writeBlock(blockOf(A), undefined);
      expect(await blockIn(A)).toEqual(blockOf(A));
      expect(await eventNames(3)).toEqual(["INSERT", "REMOVE", "INSERT"]);
    });

    test.each(["offender", "suspect", "unblock"])(
      "as %s is as if there were none",
      async (kind) => {
        const item = { aclId, sk: `${kind}#${A}`, expiresAt: "tomorrow" };
        await dynamo.send(new PutCommand({ TableName: TABLE, Item: item }));
        expect([...(await table.readKnown([A], NOW)).values()]).toEqual([
          { block: undefined, strikes: 0, suspect: undefined, unblock: undefined },
        ]);
        expect(errors).toMatchObject([{ sk: `${kind}#${A}` }]);
      },
    );
  });

  describe("the unblocks", () => {
    const count = () => table.readUnblocks(AbortSignal.timeout(5_000));

    test("are counted one by one, for each ACL, however many count at once", async () => {
      expect(await count()).toBe(0);
      await Promise.all(Array.from({ length: 5 }, () => table.countUnblock()));
      expect(await count()).toBe(5);
      const other = createTable(dynamo, { tableName: TABLE, aclId: `${aclId}0` });
      expect(await other.readUnblocks(AbortSignal.timeout(5_000))).toBe(0);
    });

    test("lie where no block does: the endpoint may write that partition only", async () => {
      await table.countUnblock();
      const Key = { aclId: `${aclId}#unblocks`, sk: "unblocks" };
      const { Item } = await dynamo.send(new GetCommand({ TableName: TABLE, Key }));
      expect(Item).toEqual({ ...Key, unblocks: 1 });
    });

    test("are not waited for longer than the caller will", async () => {
      await expect(table.readUnblocks(AbortSignal.abort())).rejects.toThrow();
    });
  });

  describe("the state", () => {
    const STATE: State = {
      version: 0,
      slots: {
        ingress: { 1: { cidr: A, confirmedAt: NOW }, 2: { cidr: null } },
        egress: { 99: { cidr: "2001:db8::/48" } },
      },
      monitored: { ingress: { 7: { cidr: A } }, egress: {} },
      learntLimits: { "ingress/4": { limit: 18, learntAt: NOW } },
      vpcCidrs: ["10.0.0.0/16", "2600:1f18::/56"],
      waiting: 12,
      convergedAt: NOW,
      mode: "monitor",
    };

    test("is empty before it is first written", async () => {
      expect(await table.readState()).toEqual(EMPTY_STATE);
    });

    test("is read as it was written, with its version counted on", async () => {
      expect(await table.writeState(STATE)).toEqual({ ...STATE, version: 1 });
      expect(await table.readState()).toEqual({ ...STATE, version: 1 });
      const written = await table.writeState({ ...(await table.readState()), mode: "enforce" });
      expect(await table.readState()).toEqual(written);
      expect(written).toMatchObject({ version: 2, mode: "enforce" });
    });

    test("halts nobody where only what it tells the operator cannot be read", async () => {
      const { slots } = await table.writeState(STATE);
      const broken = { monitored: [], learntLimits: 7, vpcCidrs: "10.0.0.0/16", waiting: "many" };
      const Item = { aclId, sk: "state", version: 3, slots, ...broken, mode: "drain" };
      await dynamo.send(new PutCommand({ TableName: TABLE, Item }));
      expect(await table.readState()).toEqual({ ...EMPTY_STATE, version: 3, slots });
    });

    test("that does not say which numbers are ours is an error, not an empty one", async () => {
      const Item = { aclId, sk: "state", ...STATE, slots: { ingress: {} } };
      await dynamo.send(new PutCommand({ TableName: TABLE, Item }));
      await expect(table.readState()).rejects.toThrow();
    });

    test("is not written by who has read an older one", async () => {
      const first = await table.writeState(STATE);
      const second = await table.writeState(first);
      await expect(table.writeState(first)).rejects.toThrow(ConflictError);
      await expect(table.writeState(STATE)).rejects.toThrow(ConflictError);
      expect(await table.readState()).toEqual(second);
    });

    test("is not written anew by who has read one that is gone", async () => {
      await expect(table.writeState({ ...STATE, version: 3 })).rejects.toThrow(ConflictError);
    });

    test("lets exactly one of several writers through", async () => {
      const read = await table.writeState(STATE);
      const outcomes = await Promise.allSettled(
        Array.from({ length: 8 }, (_, i) => table.writeState({ ...read, convergedAt: i })),
      );
      expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
      expect((await table.readState()).version).toBe(2);
    });

    test("is no block: it is in no list", async () => {
      await table.writeState(STATE);
      expect((await table.readStrongest(4, 10, NOW)).strongest).toEqual([]);
    });
  });

  describe("rememberOffender", () => {
    const DAY = 86_400;
    const ended = (strikes: number, firstSeenAt: number) => ({
      ...endedOf(A, { reportedAt: firstSeenAt }),
      strikes,
    });

    test("is what the next block begins with", async () => {
      await table.rememberOffender(ended(2, NOW), DAY);
      expect(await strikesOf(A)).toBe(2);
    });

    test("is safe to repeat", async () => {
      await table.rememberOffender(ended(2, NOW), DAY);
      const once = await offenderItem();
      await table.rememberOffender(ended(2, NOW), DAY);
      expect(await offenderItem()).toEqual(once);
    });

    test("follows the newest block, in whatever order their ends are told", async () => {
      await table.rememberOffender(ended(3, NOW), DAY);
      await table.rememberOffender(ended(2, NOW - 500_000), DAY);
      expect(await strikesOf(A)).toBe(3);
      await table.rememberOffender(ended(4, NOW + 500_000), DAY);
      expect(await strikesOf(A)).toBe(4);
    });

    test("begins again where the past was forgotten before the newest block", async () => {
      await table.rememberOffender(ended(9, NOW - 500_000), 1);
      await table.rememberOffender(ended(1, NOW), DAY);
      expect(await strikesOf(A)).toBe(1);
    });

    test("is forgotten after its time, though DynamoDB may still hold it", async () => {
      const last = ended(2, NOW);
      await table.rememberOffender(last, DAY);
      const forgottenAt = (last.expiresAt + DAY) * 1_000;
      expect(await offenderItem()).toMatchObject({ expiresAt: last.expiresAt + DAY });
      expect(await strikesOf(A, forgottenAt - 1)).toBe(2);
      expect(await strikesOf(A, forgottenAt)).toBe(0);
    });

    test("outlives the block", async () => {
      const block = blockOf(A);
      await write(block);
      await table.rememberOffender(ended(2, NOW - 500_000), DAY);
      await table.removeBlock(block);
      expect(await strikesOf(A)).toBe(2);
    });

    const offenderItem = async () =>
      (await dynamo.send(new GetCommand({ TableName: TABLE, Key: { aclId, sk: `offender#${A}` } })))
        .Item;
  });

  test("an overwrite without removal is a MODIFY, which wakes nobody: the trap is real", async () => {
    for (const block of [endedOf(A), blockOf(A)]) {
      await dynamo.send(
        new PutCommand({ TableName: TABLE, Item: { aclId, sk: `block#${A}`, ...block } }),
      );
    }
    expect(await eventNames(2)).toEqual(["INSERT", "MODIFY"]);
  });
});

/** All records of a stream, from its beginning. */
async function readStream(
  { clients: { streams } }: Awaited<ReturnType<typeof startTestEngines>>,
  StreamArn: string,
) {
  const { StreamDescription } = await streams.send(new DescribeStreamCommand({ StreamArn }));
  const shards = (StreamDescription?.Shards ?? []).map(async ({ ShardId }) => {
    let { ShardIterator } = await streams.send(
      new GetShardIteratorCommand({ StreamArn, ShardId, ShardIteratorType: "TRIM_HORIZON" }),
    );
    const records = [];
    while (ShardIterator) {
      const page = await streams.send(new GetRecordsCommand({ ShardIterator }));
      records.push(...(page.Records ?? []));
      // An open shard goes on for ever; an empty page is its end for now.
      ShardIterator = page.Records?.length ? page.NextShardIterator : undefined;
    }
    return records;
  });
  return (await Promise.all(shards)).flat();
}

function given<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("There is none.");
  return value;
}
