import { writeFileSync } from "node:fs";
import { join } from "node:path";
import pc from "picocolors";
import { messageOf } from "../../infra/local/errors.ts";
import { writeJson } from "../../infra/local/files.ts";
import { PROJECT_ROOT } from "../../infra/local/package.ts";
import { within } from "../../infra/local/waiting.ts";
import { acceptRatio } from "./accept.ts";
import { acceptManyRatio } from "./acceptMany.ts";
import { attemptsStopped } from "./attack/attemptsStopped.ts";
import { drawCharts } from "./charts.ts";
import { coldStart } from "./coldStart.ts";
import { compression } from "./compression.ts";
import { convergeRatio, convergeRatioWaf } from "./convergeRatio.ts";
import { ec2CallsPerChange } from "./ec2Calls.ts";
import { ended } from "./ended.ts";
import { endings } from "./endings.ts";
import type { Figure, Measurement } from "./figure.ts";
import { flood } from "./flood.ts";
import { hostile } from "./hostile.ts";
import { planTime } from "./planTime.ts";
import { machine, machineText, markdownTableOf, tableOf } from "./report.ts";
import { type Stage, startStage } from "./stage.ts";
import { storm } from "./storm.ts";

// npm run bench: each figure against its own floor, both measured in this run on this machine.
// Arguments: the names of the measurements to run; without any, all of them, and they are written to
// .local/bench.json and, as a table and as charts for the README, to docs/bench.

const MINUTE = 60_000;
const WHOLE_RUN_MS = (process.env.ENDED ? 100 : 25) * MINUTE;

// The cloud that a measurement starts is ended when this process exits, not when it is killed.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(130));

const begin = performance.now();
const measurements: readonly Measurement[] = [
  { name: "converge", limitMs: 3 * MINUTE, measureOn: convergeRatio },
  { name: "waf", limitMs: 3 * MINUTE, measureOn: convergeRatioWaf },
  {
    name: "ended",
    limitMs: process.env.ENDED ? 90 * MINUTE : 5 * MINUTE,
    measureOn: ended,
  },
  { name: "ec2", limitMs: MINUTE, measureOn: ec2CallsPerChange },
  { name: "compression", limitMs: MINUTE, measure: compression },
  { name: "plan", limitMs: MINUTE, measure: planTime },
  { name: "attempts", limitMs: 2 * MINUTE, measure: attemptsStopped },
  { name: "accept", limitMs: 2 * MINUTE, measureOn: acceptRatio },
  { name: "acceptMany", limitMs: 3 * MINUTE, measureOn: acceptManyRatio },
  { name: "hostile", limitMs: MINUTE, measure: hostile },
  { name: "storm", limitMs: 3 * MINUTE, measure: storm },
  { name: "endings", limitMs: 4 * MINUTE, measure: endings },
  { name: "flood", limitMs: 8 * MINUTE, measure: flood },
  { name: "coldStart", limitMs: 2 * MINUTE, measureOn: coldStart },
];

const asked = process.argv.slice(2);
const figures: Figure[] = [];
let stage: Stage | undefined;
for (const one of measurements) {
  const { name, limitMs } = one;
  if (asked.length > 0 && !asked.includes(name)) continue;
  process.stderr.write(pc.dim(`Measuring ${name} … `));
  const startedAt = performance.now();
  const leftMs = Math.max(0, WHOLE_RUN_MS - (startedAt - begin));
  const measured = await within(Math.min(limitMs, leftMs), run(one).catch(failed(name)));
  const seconds = (performance.now() - startedAt) / 1000;
  process.stderr.write(pc.dim(`${seconds.toFixed(0)} s\n`));
  if (measured) figures.push(...measured);
  else failed(name)(new Error("it took too long"));
  // One that was given up goes on; without its engines not for long.
  await stage?.stop();
  stage = undefined;
}
const seconds = Math.round((performance.now() - begin) / 1000);
console.log(tableOf(figures));
console.log(pc.dim(`Measured in ${seconds} s: ${machineText()}.`));
if (asked.length === 0) {
  const date = new Date().toISOString();
  const bench = { date, seconds, machine: machine(), figures };
  writeJson(join(PROJECT_ROOT, ".local", "bench.json"), bench);
  if (process.exitCode === undefined) {
    drawCharts(bench);
    const title = `# All figures of \`npm run bench\`\n\n${date.slice(0, 10)}, ${machineText()}.\n\n`;
    const file = join(PROJECT_ROOT, "docs", "bench", "figures.md");
    writeFileSync(file, title + markdownTableOf(figures));
  }
}
// What a measurement that was given up still has open must not keep the process.
process.exit();

async function run(one: Measurement): Promise<readonly Figure[]> {
  if ("measure" in one) return one.measure();
  stage = await startStage(one.name);
  return one.measureOn(stage);
}

function failed(name: string) {
  return (error: unknown): Figure[] => {
    process.exitCode = 1;
    console.error(pc.red(`${name} could not be measured: ${messageOf(error)}`));
    return [];
  };
}
