import Table from "cli-table3";
import fc from "fast-check";
import logUpdate from "log-update";
import { request } from "./grammar.ts";
import { startOracle } from "./oracle.ts";

// npm run fuzz: many requests that are nearly right. Arguments: how many, and the seed of an earlier run.

const count = Number(process.argv[2] ?? 100_000);
const seed = Number(process.argv[3] ?? Date.now() % 2 ** 31);
const kinds = new Map<string, number>();
const oracle = startOracle();
let done = 0;
let failure: string | undefined;
process.on("unhandledRejection", (error) => {
  failure = `Unhandled: ${error}`;
});

const begin = performance.now();
const property = fc.asyncProperty(request, async (event) => {
  const kind = await oracle.ask(event);
  if (failure) throw new Error(failure);
  kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  if (++done % 1_000 === 0 && process.stderr.isTTY) logUpdate(`${done} of ${count} requests …`);
});
const details = await fc.check(property, { numRuns: count, seed });
const seconds = Math.round((performance.now() - begin) / 1000);

const table = new Table({ head: ["answer", "requests"], style: { head: [], compact: true } });
table.push(...[...kinds].sort().map(([kind, times]) => [kind, times.toLocaleString("en")]));
console.log(table.toString());
console.log(`${done.toLocaleString("en")} requests in ${seconds} s, seed ${seed}.`);
if (details.failed) {
  console.error(details.errorInstance, fc.defaultReportMessage(details));
  process.exitCode = 1;
}
