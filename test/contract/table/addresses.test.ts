import { describe, expect, test } from "@jest/globals";
import { ConflictError } from "../../../shared/aws/table/items.ts";
import type { Block } from "../../../shared/domain/block.ts";
import { parseCidr } from "../../../shared/domain/cidr.ts";
import { corroborate } from "../../../shared/domain/corroboration.ts";
import { type Known, NOTHING_KNOWN } from "../../../shared/domain/decide.ts";
import { reportOf } from "../../support/reports.ts";
import {
  A,
  again,
  blockOf,
  brokenItem,
  describeWithTable,
  endedOf,
  NOW,
  useTable,
} from "./table.ts";

describeWithTable("the addresses of a list", () => {
  const table = useTable();
  const B = "203.0.113.2/32";
  const write = (...blocks: Block[]) => Promise.all(blocks.map((block) => table.writeBlock(block)));
  const blockIn = async (cidr: string) => (await table.knownOf(cidr)).block;
  const eventNames = async (length: number) =>
    (await table.streamed(length)).map(({ eventName }) => eventName);

  describe("read", () => {
    test("gives back each block as it was written, the ended ones included", async () => {
      const blocks = [
        blockOf(A, { reason: "ü 攻撃 🔥", count: 7 }),
        blockOf("2001:db8::/48", { reason: "" }),
        endedOf("203.0.113.3/32"),
      ];
      await write(...blocks);
      const known = await table.addresses.read(
        blocks.map(({ cidr }) => cidr.text),
        NOW,
      );
      expect([...known.values()]).toEqual(blocks.map((block) => ({ ...NOTHING_KNOWN, block })));
    });

    test("knows nothing of what was never blocked, nor of another list's blocks", async () => {
      const block = blockOf(A);
      await table.another().addresses.write(block.cidr, NOTHING_KNOWN, { ...NOTHING_KNOWN, block });
      expect([...(await table.addresses.read([A], NOW))]).toEqual([[A, NOTHING_KNOWN]]);
      expect(await table.addresses.read([], NOW)).toEqual(new Map());
    });

    test("reads what a whole batch of twenty-five addresses needs", async () => {
      const cidrs = Array.from({ length: 25 }, (_, i) => `203.0.113.${i}/32`);
      await write(...cidrs.map((cidr) => blockOf(cidr)));
      const known = await table.addresses.read(cidrs, NOW);
      expect([...known.values()].filter(({ block }) => block)).toHaveLength(25);
    });
  });

  describe("writing a block", () => {
    test("that is new shows as INSERT", async () => {
      await write(blockOf(A));
      expect(await eventNames(1)).toEqual(["INSERT"]);
    });

    test("of an extended block shows as MODIFY, with the mark that may wake", async () => {
      const block = blockOf(A);
      await write(block);
      const extended = again(block, { expiresAt: block.expiresAt + 60, wake: true });
      await table.writeBlock(extended, block);
      const [, modify] = await table.streamed(2);
      expect(modify).toMatchObject({
        eventName: "MODIFY",
        image: { wake: { BOOL: true }, expiresAt: { N: String(block.expiresAt + 60) } },
      });
      expect(await blockIn(A)).toEqual({ ...extended, version: 2 });
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

    test("does not bring back a block that was removed meanwhile", async () => {
      const block = blockOf(A);
      await expect(table.writeBlock(again(block), block)).rejects.toThrow(ConflictError);
      expect(await blockIn(A)).toBeUndefined();
    });

    test("is refused for a new block where another writer has written one meanwhile", async () => {
      const first = blockOf(A, { detector: "elastalert" });
      await write(first);
      await expect(table.writeBlock(blockOf(A))).rejects.toThrow(ConflictError);
      expect(await blockIn(A)).toEqual(first);
    });

    test("refuses to extend what another writer has extended meanwhile", async () => {
      const block = blockOf(A);
      await write(block);
      const first = again(block, { expiresAt: block.expiresAt + 600 });
      await table.writeBlock(first, block);
      await expect(table.writeBlock(again(block), block)).rejects.toThrow(ConflictError);
      expect(await blockIn(A)).toEqual({ ...first, version: 2 });
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

  test("writing what nothing has changed of writes nothing", async () => {
    const block = blockOf(A);
    await write(block);
    const known = await table.knownOf(A);
    await table.addresses.write(block.cidr, known, known);
    await write(blockOf(B));
    expect(await eventNames(2)).toEqual(["INSERT", "INSERT"]);
  });

  test("a score between two milliseconds is kept as it is", async () => {
    const block = { ...blockOf(A), score: NOW + 1 / 3 };
    await write(block);
    expect(await blockIn(A)).toEqual(block);
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
          leastPrefix: 24,
          count: 3,
        },
      },
      expiresAt: NOW / 1000 + 30,
      version: 0,
    };
    /** As it is read, once it has been written. */
    const WRITTEN = { ...SUSPECT, version: 1 };
    const writeKnown = (cidr: string, next: Partial<Known>, before: Partial<Known> = {}) =>
      table.addresses.write(
        parseCidr(cidr),
        { ...NOTHING_KNOWN, ...before },
        { ...NOTHING_KNOWN, ...next },
      );

    test("a suspect is read as it was written, until its time is over or it is removed", async () => {
      await writeKnown(A, { suspect: SUSPECT });
      expect(await table.knownOf(A)).toEqual({ ...NOTHING_KNOWN, suspect: WRITTEN });
      expect((await table.knownOf(B)).suspect).toBeUndefined();
      expect((await table.knownOf(A, NOW + 29_999)).suspect).toEqual(WRITTEN);
      expect((await table.knownOf(A, NOW + 30_000)).suspect?.reports).toEqual({});
      await writeKnown(A, {}, { suspect: SUSPECT });
      expect((await table.knownOf(A)).suspect).toBeUndefined();
    });

    test("a suspect whose time is over takes a new report, though TTL has not removed it yet", async () => {
      await writeKnown(A, { suspect: SUSPECT });
      const later = NOW + 3_600_000;
      const report = reportOf(A, { reportedAt: later, requestId: "r-2" });
      const judged = corroborate((await table.knownOf(A, later)).suspect, report, {
        threshold: 5,
        window: 30,
      });
      if (!("suspect" in judged)) throw new Error("One report is enough.");
      const before = await table.knownOf(A, later);
      await table.addresses.write(parseCidr(A), before, { ...before, suspect: judged.suspect });
      expect((await table.knownOf(A, later)).suspect).toMatchObject({
        reports: { [report.detector]: { requestId: "r-2" } },
        expiresAt: later / 1000 + 30,
      });
    });

    test("withdrawals that are over take a new one, though TTL has not removed them yet", async () => {
      await writeKnown(A, { withdrawals: { at: { fail2ban: NOW }, version: 0 } });
      const later = NOW + 19 * 86_400_000;
      const before = await table.knownOf(A, later);
      expect(before.withdrawals?.at).toEqual({});
      const withdrawals = { at: { crowdsec: later }, version: before.withdrawals?.version ?? 0 };
      await table.addresses.write(parseCidr(A), before, { ...before, withdrawals });
      expect((await table.knownOf(A, later)).withdrawals?.at).toEqual({ crowdsec: later });
    });

    test("a suspect that is blocked is a suspect no longer", async () => {
      await writeKnown(A, { suspect: SUSPECT });
      await writeKnown(A, { block: blockOf(A) }, { suspect: SUSPECT });
      expect(await table.knownOf(A)).toEqual({ ...NOTHING_KNOWN, block: blockOf(A) });
    });

    test("an unblock is remembered for as long as a message may lie about", async () => {
      const life = 18 * 86_400;
      await writeKnown(A, { unblock: { requestedAt: NOW } });
      expect((await table.knownOf("203.0.113.3/32")).unblock).toBeUndefined();
      expect((await table.knownOf(A, NOW + 1000 * life - 1)).unblock?.requestedAt).toBe(NOW);
      expect((await table.knownOf(A, NOW + 1000 * life)).unblock).toBeUndefined();
    });

    test("an unblock takes block and suspect away", async () => {
      const known = { block: blockOf(A), suspect: SUSPECT };
      await writeKnown(A, known);
      await writeKnown(A, { unblock: { requestedAt: NOW } }, known);
      const { unblock, ...rest } = await table.knownOf(A);
      expect(unblock).toMatchObject({ requestedAt: NOW });
      expect(rest).toEqual({ block: undefined, strikes: 0, suspect: undefined });
    });

    test("a later unblock takes the place of the one before, an older one does not", async () => {
      const [first, later] = [{ requestedAt: NOW }, { requestedAt: NOW + 1 }];
      await writeKnown(A, { unblock: first });
      await writeKnown(A, { unblock: later }, { unblock: first });
      expect((await table.knownOf(A)).unblock).toMatchObject(later);
      await expect(writeKnown(A, { unblock: first })).rejects.toThrow(ConflictError);
      expect((await table.knownOf(A)).unblock).toMatchObject(later);
    });

    test("a suspect that another detector has reported meanwhile is not overwritten", async () => {
      await writeKnown(A, { suspect: SUSPECT });
      await expect(writeKnown(A, { suspect: { ...SUSPECT, reports: {} } })).rejects.toThrow(
        ConflictError,
      );
      await writeKnown(A, { suspect: { ...WRITTEN, reports: {} } }, { suspect: WRITTEN });
      expect((await table.knownOf(A)).suspect).toMatchObject({ reports: {}, version: 2 });
    });

    test("neither is a block: no list shows them", async () => {
      await writeKnown(A, { suspect: SUSPECT });
      await writeKnown(A, { unblock: { requestedAt: NOW } });
      const { blocks } = table;
      expect(await blocks.readStrongest(4, { count: 10 }, NOW)).toEqual({
        strongest: [],
        expiredFrom: [],
        isPartial: false,
      });
      expect((await blocks.readPage(4, 10, undefined)).blocks).toEqual([]);
      expect(await blocks.readBlocks([A], NOW)).toEqual([]);
    });
  });

  describe("an item that nobody can read", () => {
    test("is removed where it stands in a new block's way", async () => {
      await table.put(brokenItem(A, "4#99"));
      expect(await blockIn(A)).toBeUndefined();
      await write(blockOf(A));
      expect(await blockIn(A)).toEqual(blockOf(A));
      expect(await eventNames(3)).toEqual(["INSERT", "REMOVE", "INSERT"]);
    });

    test.each(["offender", "suspect", "unblock", "withdrawals"])(
      "as %s is as if there were none, and stands in no new one's way",
      async (kind) => {
        const list = `${table.list}#memory`;
        await table.put({ list, sk: `${kind}#${A}`, expiresAt: "tomorrow" });
        const known = await table.knownOf(A);
        expect(known).toEqual(NOTHING_KNOWN);
        expect(table.errors).toMatchObject([{ sk: `${kind}#${A}` }]);

        await table.offenders.remember({ ...blockOf(A), strikes: 3 }, 86_400);
        const next = {
          suspect: { reports: {}, expiresAt: NOW / 1000 + 30, version: 0 },
          unblock: { requestedAt: NOW },
          withdrawals: { at: { fail2ban: NOW }, version: 0 },
        };
        await table.addresses.write(parseCidr(A), known, { ...known, ...next });
        expect(await table.knownOf(A)).toMatchObject({
          strikes: 3,
          suspect: { version: 1 },
          unblock: next.unblock,
          withdrawals: { at: next.withdrawals.at },
        });
      },
    );
  });

  test("an overwrite without removal is a MODIFY, which wakes nobody: the trap is real", async () => {
    for (const block of [endedOf(A), blockOf(A)]) {
      await table.put({ sk: `block#${A}`, ...block, cidr: A });
    }
    expect(await eventNames(2)).toEqual(["INSERT", "MODIFY"]);
  });
});
