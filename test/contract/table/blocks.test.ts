import { BatchWriteCommand } from "@aws-sdk/lib-dynamodb";
import { describe, expect, test } from "@jest/globals";
import { ConflictError } from "../../../shared/aws/table/items.ts";
import type { Block } from "../../../shared/domain/block.ts";
import type { Family } from "../../../shared/domain/cidr.ts";
import { rankOf } from "../../../shared/domain/rank.ts";
import {
  A,
  again,
  blockOf,
  brokenItem,
  describeWithTable,
  endedOf,
  given,
  NOW,
  TABLE,
  textsOf,
  useTable,
} from "./table.ts";

describeWithTable("the blocks of a list", () => {
  const table = useTable();
  const write = (...blocks: Block[]) => Promise.all(blocks.map((block) => table.writeBlock(block)));
  /** Many at once. */
  const load = async (blocks: readonly Block[]) => {
    for (let start = 0; start < blocks.length; start += 25) {
      const puts = blocks.slice(start, start + 25).map((block) => {
        const { text } = block.cidr;
        const key = { list: table.list, sk: `block#${text}`, rank: rankOf(block) };
        return { PutRequest: { Item: { ...key, ...written(block), cidr: text } } };
      });
      await table.dynamo.send(new BatchWriteCommand({ RequestItems: { [TABLE]: puts } }));
    }
  };
  /** As it is read once it has been written. */
  const written = (block: Block): Block => ({ ...block, version: 1 });
  /** Calls with what DynamoDB answers, before who has asked hears of it. @returns what ends that */
  const watch = (see: (answer: unknown) => unknown) => {
    const { send } = table.dynamo;
    const sendAs = send as (command: unknown) => Promise<unknown>;
    const watching = async (command: unknown) => {
      const answer = await sendAs.call(table.dynamo, command);
      await see(answer);
      return answer;
    };
    table.dynamo.send = watching as unknown as typeof send;
    return () => {
      table.dynamo.send = send;
    };
  };
  /** That many ended blocks of a severity, the weakest first. */
  const endedIn = (severity: number, count: number) =>
    Array.from({ length: count }, (_, i) =>
      endedOf(`198.${severity}.${i >> 8}.${i & 255}/32`, {
        severity,
        reportedAt: NOW - 120_000 + i,
        seconds: 30,
      }),
    );
  const sweep = async (ranks: readonly string[]) => {
    let removed = 0;
    for (const from of ranks) {
      for (let next: string | undefined = from; next !== undefined; ) {
        const page = await table.blocks.removeExpired(next, NOW);
        removed += page.removed;
        next = page.next;
      }
    }
    return removed;
  };
  const blockIn = async (cidr: string) => (await table.knownOf(cidr)).block;

  describe("remove", () => {
    test("shows as REMOVE, with the block that it was", async () => {
      const block = blockOf(A);
      await write(block);
      await table.blocks.remove(written(block));
      expect(await blockIn(A)).toBeUndefined();
      const [, removal] = await table.streamed(2);
      expect(removal).toMatchObject({ eventName: "REMOVE", image: { cidr: { S: A } } });
    });

    test("refuses to remove a block that was extended meanwhile", async () => {
      const block = written(blockOf(A));
      await write(block);
      await table.writeBlock(again(block), block);
      await expect(table.blocks.remove(block)).rejects.toThrow(ConflictError);
      expect(await blockIn(A)).toMatchObject({ hits: 2, version: 2 });
    });

    test("of what is gone already is done", async () => {
      await table.blocks.remove(blockOf(A));
    });

    test("refuses to remove a newer block than the one that was read", async () => {
      const newer = blockOf(A, { reportedAt: NOW + 5 });
      await write(newer);
      await expect(table.blocks.remove(blockOf(A))).rejects.toThrow(ConflictError);
      expect(await blockIn(A)).toEqual(written(newer));
    });
  });

  describe("reading by rank", () => {
    const strongest = async (family: Family, count: number, now = NOW) =>
      textsOf((await table.blocks.readStrongest(family, { count }, now)).strongest);
    const expiredFrom = async (family: Family, count: number) =>
      (await table.blocks.readStrongest(family, { count }, NOW)).expiredFrom;
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
        blockOf("203.0.113.2/32", { severity: 2 }),
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

    test("readStrongest leaves the less severe out, and costs no read for them", async () => {
      await write(
        ...Array.from({ length: 10 }, (_, i) =>
          blockOf(`203.0.113.${i + 1}/32`, { severity: i + 1 }),
        ),
        blockOf("2001:db8::/48", { severity: 10 }),
        endedOf("198.51.100.1/32", { severity: 1 }),
      );
      const from = async (leastSeverity: number, count = 20) =>
        (await table.blocks.readStrongest(4, { count, leastSeverity }, NOW)).strongest;
      expect(textsOf(await from(8))).toEqual([
        "203.0.113.10/32",
        "203.0.113.9/32",
        "203.0.113.8/32",
      ]);
      expect(textsOf(await from(10))).toEqual(["203.0.113.10/32"]);
      expect(textsOf(await from(8, 2))).toEqual(["203.0.113.10/32", "203.0.113.9/32"]);
      expect(await from(1)).toHaveLength(10);
      const want = { count: 4, leastSeverity: 8 };
      expect((await table.blocks.readStrongest(4, want, NOW)).expiredFrom).toEqual([]);
    });

    test("among blocks as severe, the higher score is the stronger", async () => {
      await write(
        blockOf("203.0.113.1/32", { count: 1 }),
        blockOf("203.0.113.2/32", { count: 8 }),
        blockOf("203.0.113.3/32", { count: 1, reportedAt: NOW + 1_000 }),
      );
      expect(await strongest(4, 10)).toEqual([
        "203.0.113.2/32",
        "203.0.113.3/32",
        "203.0.113.1/32",
      ]);
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
        const page = await table.blocks.readPage(4, 3, next);
        expect(page.blocks.length).toBeLessThanOrEqual(3);
        seen.push(...page.blocks);
        next = page.next;
      } while (next !== undefined && ++pages < 10);
      const sorted = blocks.toSorted((a, b) => (rankOf(a) < rankOf(b) ? 1 : -1));
      expect(seen).toEqual(sorted.map(written));
    });

    test("readPage goes on where the block that the last page ended with is gone", async () => {
      const blocks = many(8).toReversed();
      await write(...blocks);
      const first = await table.blocks.readPage(4, 3, undefined);
      await table.blocks.remove(given(first.blocks.at(-1)));
      const second = await table.blocks.readPage(4, 3, first.next);
      expect(second.blocks).toEqual(blocks.slice(3, 6).map(written));
      const third = await table.blocks.readPage(4, 3, second.next);
      expect(third.blocks).toEqual(blocks.slice(6).map(written));
    });

    test("readStrongest leaves no operator's block out, and gives it first", async () => {
      await write(
        blockOf("203.0.113.1/32", { severity: 10 }),
        blockOf("203.0.113.2/32", { severity: 1, byOperator: true }),
        blockOf("203.0.113.3/32", { severity: 7 }),
      );
      const want = { count: 9, leastSeverity: 8 };
      const { strongest } = await table.blocks.readStrongest(4, want, NOW);
      expect(textsOf(strongest)).toEqual(["203.0.113.2/32", "203.0.113.1/32"]);
    });

    test("readStrongest tells from where on the ended are, once they cost a further read", async () => {
      await write(...endedIn(10, 3), ...endedIn(1, 1), ...many(4));
      expect(await expiredFrom(4, 9)).toEqual([]); // one read shows all
      const from = await expiredFrom(4, 7);
      expect(from).toHaveLength(1);
      expect(await sweep(from)).toBe(4);
      expect(await expiredFrom(4, 4)).toEqual([]);
      expect(await strongest(4, 4)).toHaveLength(4);
    });

    test("readStrongest tells of none where those before the live ones leave room for all asked", async () => {
      await write(...many(4), endedOf("198.51.100.9/32", { severity: 1 }));
      expect(await expiredFrom(4, 4)).toEqual([]);
    });

    describe("past more ended blocks of a level than are worth reading", () => {
      const read = (count: number) => table.blocks.readStrongest(4, { count }, NOW);
      /** Scored lower than whatever has ended since. */
      const hidden = (severity: number) =>
        blockOf(`203.0.113.${severity}/32`, {
          severity,
          reportedAt: NOW - 600_000,
          seconds: 3_600,
        });

      test("goes on with the next level, and says that it has not seen all", async () => {
        await load([...endedIn(10, 150), ...endedIn(9, 150)]);
        await write(hidden(10), hidden(9), hidden(8));
        const { strongest, isPartial, expiredFrom } = await read(5);
        expect([textsOf(strongest), isPartial]).toEqual([["203.0.113.8/32"], true]);
        expect(expiredFrom).toEqual(["4$", "4#10"]);
        expect(await sweep(expiredFrom)).toBe(300);
        const all = await read(5);
        expect(textsOf(all.strongest)).toEqual([10, 9, 8].map((n) => `203.0.113.${n}/32`));
        expect([all.isPartial, all.expiredFrom]).toEqual([false, []]);
      });

      test("also down to the least level that there is, or that is asked for", async () => {
        await load([...endedIn(1, 150), hidden(1), hidden(2)]);
        expect(textsOf((await read(5)).strongest)).toEqual(["203.0.113.2/32"]);
        const want = { count: 5, leastSeverity: 2 };
        const { isPartial } = await table.blocks.readStrongest(4, want, NOW);
        expect(isPartial).toBe(false);
      });

      test("costs a bounded number of reads, however many there are", async () => {
        await load([...endedIn(10, 300), ...endedIn(5, 300)]);
        let looked = 0;
        const restore = watch((answer) => {
          looked += (answer as { ScannedCount?: number }).ScannedCount ?? 0;
        });
        expect((await read(10)).isPartial).toBe(true);
        restore();
        expect(looked).toBeLessThanOrEqual(10 + 2 * 2 * 100);
      });
    });

    describe("removeExpired", () => {
      test("removes the ended of a page from a rank on, and nothing before it, live or of the other family", async () => {
        const [above, ...below] = endedIn(7, 4).toReversed();
        const six = endedOf("2001:db8::/48", { severity: 7 });
        await write(given(above), ...below, six, ...many(4));
        const { removed, next } = await table.blocks.removeExpired(rankOf(given(below[0])), NOW);
        expect([removed, next]).toEqual([3, undefined]);
        const left = [...(await table.blocks.readPage(4, 10, undefined)).blocks];
        expect(left).toHaveLength(5);
        expect(textsOf(left)).toContain(given(above).cidr.text);
        expect((await table.blocks.readPage(6, 10, undefined)).blocks).toEqual([written(six)]);
      });

      test("shows as REMOVE, as a deletion by TTL does, but by nobody else", async () => {
        await write(endedOf(A));
        expect(await sweep(["4$"])).toBe(1);
        const [, removal] = await table.streamed(2);
        expect(removal).toMatchObject({ eventName: "REMOVE", image: { cidr: { S: A } } });
      });

      test("spares a block that the worker has begun anew meanwhile", async () => {
        await write(endedOf(A), endedOf("203.0.113.2/32"));
        const restore = watch(async () => {
          restore();
          await table.writeBlock(blockOf(A), written(endedOf(A)));
        });
        const { removed } = await table.blocks.removeExpired("4$", NOW);
        expect(removed).toBe(1);
        expect(await blockIn(A)).toEqual(written(blockOf(A)));
      });

      test("goes on below where a page ends, until one holds none", async () => {
        await load(endedIn(10, 600));
        let [pages, removed] = [0, 0];
        for (let next: string | undefined = "4$"; next !== undefined; pages++) {
          const page = await table.blocks.removeExpired(next, NOW);
          removed += page.removed;
          next = page.next;
        }
        expect([removed, pages]).toEqual([600, 2]);
      });
    });

    test("readPage goes on where it meets nothing but items that nobody can read", async () => {
      const blocks = many(2);
      await write(...blocks);
      for (const i of [1, 2, 3]) await table.put(brokenItem(`198.51.100.${i}/32`, `4#99#00${i}`));
      const seen: Block[] = [];
      let next: string | undefined;
      do {
        const page = await table.blocks.readPage(4, 2, next);
        seen.push(...page.blocks);
        next = page.next;
      } while (next !== undefined);
      expect(seen).toEqual(blocks.toReversed().map(written));
    });
  });

  describe("readBlocks", () => {
    test("gives the live blocks among the ranges, and leaves the rest out", async () => {
      const wide = blockOf("203.0.113.0/24");
      await write(wide, endedOf("203.0.0.0/16"), blockOf(A));
      const found = await table.blocks.readBlocks(
        ["203.0.113.0/24", "203.0.0.0/16", "203.0.112.0/23"],
        NOW,
      );
      expect(found).toEqual([written(wide)]);
    });

    test("takes all the ranges that an IPv6 address may lie in", async () => {
      const ranges = Array.from({ length: 96 }, (_, i) => `2001:db8::/${32 + i}`);
      await write(blockOf("2001:db8::/32"), blockOf("2001:db8::/127"));
      expect(await table.blocks.readBlocks(ranges, NOW)).toHaveLength(2);
    });
  });

  test("an item that nobody can read is left out of all lists, and the log says which", async () => {
    const B = "203.0.113.2/32";
    await table.put(brokenItem(B, "4#99"));
    await write(blockOf(A));
    const { blocks, errors } = table;
    expect((await blocks.readStrongest(4, { count: 10 }, NOW)).strongest).toEqual([
      written(blockOf(A)),
    ]);
    expect((await blocks.readPage(4, 10, undefined)).blocks).toEqual([written(blockOf(A))]);
    expect(await blocks.readBlocks([A, B], NOW)).toEqual([written(blockOf(A))]);
    expect(errors).toHaveLength(3);
    expect(errors[0]).toMatchObject({ sk: `block#${B}`, at: expect.stringMatching(/./) });
  });
});
