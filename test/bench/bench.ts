import { join } from "node:path";
import pc from "picocolors";
import { messageOf } from "../../infra/local/errors.ts";
import { writeJson } from "../../infra/local/files.ts";
import { PROJECT_ROOT } from "../../infra/local/package.ts";
import { within } from "../../infra/local/waiting.ts";
import { convergeRatio } from "./convergeRatio.ts";
import type { Figure, Measurement } from "./figure.ts";
import { planTime } from "./planTime.ts";
import { machine, tableOf } from "./report.ts";
import { startStage } from "./stage.ts";

// npm run bench: each figure against its own floor, both measured in this run on this machine.
// Arguments: the names of the measurements to run; without any, all of them.

const MINUTE = 60_000;

const begin = performance.now();
const stage = await startStage();
const measurements: readonly Measurement[] = [
  { name: "converge", limitMs: 3 * MINUTE, measure: () => convergeRatio(stage) },
  { name: "plan", limitMs: MINUTE, measure: planTime },
];

const asked = process.argv.slice(2);
const figures: Figure[] = [];
try {
  for (const { name, limitMs, measure } of measurements) {
    if (asked.length > 0 && !asked.includes(name)) continue;
    process.stderr.write(pc.dim(`Measuring ${name} … `));
    const startedAt = performance.now();
    const measured = await within(limitMs, measure().catch(failed(name)));
    const seconds = (performance.now() - startedAt) / 1000;
    process.stderr.write(pc.dim(`${seconds.toFixed(0)} s\n`));
    if (measured) figures.push(...measured);
    else failed(name)(new Error("it took too long"));
  }
} finally {
  await stage.stop();
}
const seconds = Math.round((performance.now() - begin) / 1000);
console.log(tableOf(figures));
console.log(pc.dim(`Measured in ${seconds} s on ${Object.values(machine()).join(", ")}.`));
const date = new Date().toISOString();
writeJson(join(PROJECT_ROOT, ".local", "bench.json"), {
  date,
  seconds,
  machine: machine(),
  figures,
});
// What a measurement that was given up still has open must not keep the process.
process.exit();

function failed(name: string) {
  return (error: unknown): Figure[] => {
    process.exitCode = 1;
    console.error(pc.red(`${name} could not be measured: ${messageOf(error)}`));
    return [];
  };
}
