// fauxqs as a process that ends with the runner. Argument: the folder of its database.
import { buildApp } from "fauxqs";
import { openPersistentStore } from "./fauxqs.ts";

const dataDir = process.argv[2];
if (dataDir === undefined) throw new Error("Argument missing: the folder of the database");
const { stores, close } = await openPersistentStore(dataDir);

// fauxqs's own start function listens on every interface; its application need not.
const app = buildApp({ logger: false, stores });
const url = await app.listen({ host: "127.0.0.1", port: 0 });
// Queues of an earlier run were created through another port.
for (const queue of stores.sqsStore.allQueues()) {
  Object.assign(queue, { url: new URL(new URL(queue.url).pathname, url).href });
}

const stop = async () => {
  stores.sqsStore.shutdown();
  await app.close();
  close();
  process.exit(0);
};
process.once("SIGTERM", stop);
process.stdin.once("close", stop).resume();
console.log(JSON.stringify({ url }));
