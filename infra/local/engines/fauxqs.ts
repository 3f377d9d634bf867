import type { BuildAppOptions } from "fauxqs";

type Stores = NonNullable<BuildAppOptions["stores"]>;
type Persistence = NonNullable<Stores["sqsStore"]["persistence"]>;
type Queue = ReturnType<Stores["sqsStore"]["createQueue"]>;

/** The parts of the queue and of its persistence that are corrected here, private ones included. */
type FifoQueue = Pick<
  Queue,
  "fifoMessages" | "fifoLockedGroups" | "inflightMessages" | "processTimers" | "changeVisibility"
> & { dequeueFifo(max: number, ...rest: unknown[]): unknown[] };
type Sqlite = {
  exec(sql: string): void;
  prepare(sql: string): { run(...values: string[]): void };
};

/**
 * Opens fauxqs's stores on a folder. Its own start function would do so too, but listens on every
 * interface of the machine, and its queues part from SQS in ways that matter here.
 */
export async function openPersistentStore(
  dataDir: string,
): Promise<{ stores: Stores; close(): void }> {
  const { SqsStore, SqsQueue } = await part<{
    SqsStore: new () => Stores["sqsStore"];
    SqsQueue: { prototype: FifoQueue };
  }>("sqs/sqsStore.js");
  const { SnsStore } = await part<{ SnsStore: new () => Stores["snsStore"] }>("sns/snsStore.js");
  const { S3Store } = await part<{ S3Store: new () => Stores["s3Store"] }>("s3/s3Store.js");
  const { PersistenceManager } = await part<{
    PersistenceManager: new (dataDir: string) => Persistence;
  }>("persistence.js");

  followSqs(SqsQueue.prototype);
  const stores = { sqsStore: new SqsStore(), snsStore: new SnsStore(), s3Store: new S3Store() };
  // Without a host of its own, a queue's URL has the host that it was created through.
  stores.sqsStore.host = "";
  const persistence = new PersistenceManager(dataDir);
  followSqlite(persistence);
  persistence.load(stores.sqsStore, stores.snsStore, stores.s3Store);
  stores.sqsStore.persistence = persistence;
  for (const queue of stores.sqsStore.allQueues()) queue.persistence = persistence;
  return { stores, close: () => persistence.close() };
}

/** A module of fauxqs that its package does not export. */
const part = async <T>(path: string): Promise<T> =>
  (await import(new URL(path, import.meta.resolve("fauxqs")).href)) as T;

function followSqs(queue: FifoQueue): void {
  const { dequeueFifo: takeOnePerGroup, processTimers, changeVisibility } = queue;

  // SQS returns as many messages of one group as fit into the answer; fauxqs returns one.
  queue.dequeueFifo = function (max, ...rest) {
    const { fifoMessages: all, fifoLockedGroups: locks } = this;
    const taken: unknown[] = [];
    // Once, and on all groups: fauxqs does so before each message, and would see one group only.
    this.processTimers();
    for (const [group, messages] of [...all]) {
      if (locks.has(group)) continue;
      const noLocks = new Map<string, number>();
      const one: FifoQueue = Object.create(this, {
        fifoMessages: { value: new Map([[group, messages]]) },
        fifoLockedGroups: { value: noLocks },
        processTimers: { value: () => undefined },
      });
      const before = taken.length;
      while (taken.length < Math.min(max, 10)) {
        noLocks.clear();
        const next = takeOnePerGroup.call(one, 1, ...rest);
        if (next.length === 0) break;
        taken.push(...next);
      }
      if (taken.length > before) locks.set(group, taken.length - before);
      if (messages.length === 0) all.delete(group);
    }
    return taken;
  };

  // What comes back into its group takes its old place; fauxqs puts each before the last.
  queue.processTimers = function () {
    const { size } = this.inflightMessages;
    processTimers.call(this);
    if (this.inflightMessages.size < size) inOrder(this);
  };
  queue.changeVisibility = function (...args) {
    changeVisibility.apply(this, args);
    inOrder(this);
  };
}

function inOrder({ fifoMessages }: FifoQueue): void {
  for (const messages of fifoMessages.values()) {
    if (messages.length > 1) messages.sort((a, b) => (orderOf(a) < orderOf(b) ? -1 : 1));
  }
}

const orderOf = ({ sequenceNumber }: { sequenceNumber?: string }): string => sequenceNumber ?? "";

function followSqlite(persistence: Persistence): void {
  const { db } = persistence as unknown as { db: Sqlite };
  // A killed process must lose nothing; a power cut may.
  db.exec("PRAGMA synchronous = OFF");
  // fauxqs writes NULL into a NOT NULL column, so that ChangeMessageVisibility to 0 fails.
  const ready = db.prepare(
    "UPDATE sqs_messages SET receipt_handle = NULL, visibility_deadline = NULL WHERE message_id = ?",
  );
  persistence.updateMessageReady = (messageId) => ready.run(messageId);
}
