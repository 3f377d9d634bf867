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
  textsOf,
  useTable,
} from "./table.ts";

describeWithTable("the blocks of a list", () => {
  const table = useTable();
  const write = (...blocks: Block[]) => Promise.all(blocks.map((block) => table.writeBlock(block)));
  const blockIn = async (cidr: string) => (await table.knownOf(cidr)).block;

  describe("remove", () => {
    test("shows as REMOVE, with the block that it was", async () => {
      const block = blockOf(A);
      await write(block);
      await table.blocks.remove(block);
      expect(await blockIn(A)).toBeUndefined();
      const [, removal] = await table.streamed(2);
      expect(removal).toMatchObject({ eventName: "REMOVE", image: { cidr: { S: A } } });
    });

    test("removes a block that was extended meanwhile", async () => {
      const block = blockOf(A);
      await write(block);
      await table.writeBlock(again(block), block);
      await table.blocks.remove(block);
      expect(await blockIn(A)).toBeUndefined();
    });

    test("of what is gone already is done", async () => {
      await table.blocks.remove(blockOf(A));
    });

    test("refuses to remove a newer block than the one that was read", async () => {
      const newer = blockOf(A, { reportedAt: NOW + 5 });
      await write(newer);
      await expect(table.blocks.remove(blockOf(A))).rejects.toThrow(ConflictError);
      expect(await blockIn(A)).toEqual(newer);
    });
  });

  describe("reading by rank", () => {
    const strongest = async (family: Family, count: number, now = NOW) =>
      textsOf((await table.blocks.readStrongest(family, { count }, now)).strongest);
    const inTheWay = async (family: Family, count: number) =>
      textsOf((await table.blocks.readStrongest(family, { count }, NOW)).inTheWay);
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
      expect((await table.blocks.readStrongest(4, want, NOW)).inTheWay).toEqual([]);
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
      expect(seen).toEqual(blocks.toSorted((a, b) => (rankOf(a) < rankOf(b) ? 1 : -1)));
    });

    test("readPage goes on where the block that the last page ended with is gone", async () => {
      const blocks = many(8).toReversed();
      await write(...blocks);
      const first = await table.blocks.readPage(4, 3, undefined);
      await table.blocks.remove(given(first.blocks.at(-1)));
      const second = await table.blocks.readPage(4, 3, first.next);
      expect(second.blocks).toEqual(blocks.slice(3, 6));
      expect((await table.blocks.readPage(4, 3, second.next)).blocks).toEqual(blocks.slice(6));
    });

    test("readStrongest tells of the ended that stand in the way, once they cost a further read", async () => {
      const stronger = Array.from({ length: 3 }, (_, i) =>
        endedOf(`198.51.100.${i}/32`, { severity: 10 }),
      );
      const weaker = endedOf("198.51.100.9/32", { severity: 1 });
      await write(...stronger, weaker, ...many(4));
      expect(await inTheWay(4, 9)).toEqual([]); // one read shows all
      expect((await inTheWay(4, 7)).toSorted()).toEqual(textsOf([...stronger, weaker]));
      for (const block of [...stronger, weaker]) await table.blocks.remove(block);
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
      for (const i of [1, 2, 3]) await table.put(brokenItem(`198.51.100.${i}/32`, `4#99#00${i}`));
      const seen: Block[] = [];
      let next: string | undefined;
      do {
        const page = await table.blocks.readPage(4, 2, next);
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
      const found = await table.blocks.readBlocks(
        ["203.0.113.0/24", "203.0.0.0/16", "203.0.112.0/23"],
        NOW,
      );
      expect(found).toEqual([wide]);
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
    expect((await blocks.readStrongest(4, { count: 10 }, NOW)).strongest).toEqual([blockOf(A)]);
    expect((await blocks.readPage(4, 10, undefined)).blocks).toEqual([blockOf(A)]);
    expect(await blocks.readBlocks([A, B], NOW)).toEqual([blockOf(A)]);
    expect(errors).toHaveLength(3);
    expect(errors[0]).toMatchObject({ sk: `block#${B}`, at: expect.stringMatching(/./) });
  });
});
