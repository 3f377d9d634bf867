import { createAddresses } from "../../../shared/aws/table/addresses.ts";
import { createBlocks } from "../../../shared/aws/table/blocks.ts";
import { ConflictError } from "../../../shared/aws/table/items.ts";
import { createOffenders } from "../../../shared/aws/table/offenders.ts";
import { createOrderBook } from "../../../shared/aws/table/orders.ts";
import { type Block, withdrawn } from "../../../shared/domain/block.ts";
import { type Known, NOTHING_KNOWN, obey } from "../../../shared/domain/decide.ts";
import type { Orders } from "../../../shared/domain/orders.ts";
import { isExpired, toEpochSeconds } from "../../../shared/domain/time.ts";
import { counting, type Restored, type Restoring } from "./restoring.ts";

/** Blocks per write: as many as are read at once. */
const PAGE = 20;

/**
 * Copies the blocks that are still wanted. What the live table knows about an address takes precedence: its
 * block stays, and reports that have since been withdrawn, undone or unblocked do not come back.
 */
export async function restoreBlocks({
  stage,
  deployment,
  from,
  watch,
  clock,
}: Restoring): Promise<Restored> {
  const counted = counting("blocks");
  const { dynamo } = stage;
  const addresses = createAddresses(dynamo, deployment);
  const orderBook = createOrderBook(dynamo, deployment);
  const offenders = createOffenders(dynamo, deployment);
  const old = createBlocks(dynamo, from, { error: () => void counted.unreadable++ });
  const corroboration = { threshold: deployment.corroborationThreshold };

  async function copy(block: Block, live: Known, orders: Orders): Promise<boolean> {
    const obeyed = obey({ ...live, block }, { orders, corroboration }).block;
    const wanted = obeyed && withdrawnSince(obeyed, live);
    if (!wanted) {
      counted.over++;
    } else if (isExpired(wanted, clock())) {
      // As the enforcer would have done when the block ended.
      await offenders.remember(wanted, deployment.repeatMemory);
      counted.over++;
    } else if (live.block && (isSame(live.block, block) || !isExpired(live.block, clock()))) {
      counted.known++;
    } else {
      try {
        await addresses.write(block.cidr, live, { ...live, block: { ...wanted, wake: false } });
        counted.copied++;
        return true;
      } catch (error) {
        if (!(error instanceof ConflictError)) throw error;
        counted.known++; // somebody has just blocked it
      }
    }
    return false;
  }

  function withdrawnSince(block: Block, { withdrawals }: Known): Block {
    return Object.entries(withdrawals?.at ?? {}).reduce(
      (rest, [detector, withdrawnAt]) =>
        withdrawn(
          rest,
          detector,
          { withdrawnAt, until: toEpochSeconds(withdrawnAt) },
          corroboration,
        ),
      block,
    );
  }

  /** An operator may have unblocked an address after it was read: then the block is removed again. */
  async function settle(cidrs: readonly string[]): Promise<void> {
    const orders = await orderBook.read(clock());
    const known = await addresses.read(cidrs, clock());
    for (const before of known.values()) {
      const after = obey(before, { orders, corroboration });
      if (!before.block || after === before) continue;
      await addresses.write(before.block.cidr, before, after).catch((error) => {
        if (!(error instanceof ConflictError)) throw error;
      });
    }
  }

  let after: string | undefined;
  do {
    const page = await old.readAfter(after, PAGE);
    const texts = page.blocks.map(({ cidr }) => cidr.text);
    // Orders first: an unblock that is written after this read is also counted after it.
    const orders = await orderBook.read(clock());
    const known = await addresses.read(texts, clock());
    const copied = await Promise.all(
      page.blocks.map((block) => copy(block, known.get(block.cidr.text) ?? NOTHING_KNOWN, orders)),
    );
    const written = texts.filter((_, index) => copied[index]);
    if (written.length > 0 && (await orderBook.readCount()) !== orders.unblocks)
      await settle(written);
    watch.onProgress(counted);
    after = page.next;
  } while (after !== undefined && !watch.signal.aborted);
  return counted;
}

/** Whether both are the same block, then and now. */
const isSame = (a: Block, b: Block) => a.requestId === b.requestId;
