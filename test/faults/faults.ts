import { writeFileSync } from "node:fs";
import { join } from "node:path";
import Table from "cli-table3";
import pc from "picocolors";
import { writeJson } from "../../infra/local/files.ts";
import { PROJECT_ROOT, packageServices } from "../../infra/local/package.ts";
import { machine, machineText, markdownOf } from "../bench/report.ts";
import { judge } from "../iam/judge.ts";
import { startRecording } from "../iam/recording.ts";
import { type Result, run } from "./campaign.ts";
import { type Lane, startLane } from "./lane.ts";
import { SCENARIOS } from "./scenarios.ts";

// npm run faults: every fault at every hop, each in a storm, several storms side by side. Arguments:
// parts of the names of the scenarios to run; without any, all of them, and they are written to
// .local/faults.json.

const LANES = 4;

// The clouds that it starts end when this process exits, not when it is killed.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(130));

const parts = process.argv.slice(2);
const scenarios = SCENARIOS.filter(({ hop, fault }) =>
  parts.every((part) => `${hop} ${fault}`.includes(part)),
);
const recording = startRecording();
const begin = performance.now();
await packageServices(join(PROJECT_ROOT, ".local", "faults", "code"));
const results: Result[] = [];
let next = 0;
await Promise.all(Array.from({ length: Math.min(LANES, scenarios.length) }, work));
const seconds = Math.round((performance.now() - begin) / 1000);

const head = ["fault", "hops", "storms", "accepted", "refused", "lost", "converged within"];
const rows = rowsOf(results);
const table = new Table({ head: head.map((title) => pc.bold(title)), style: { head: [] } });
table.push(...rows);
console.log(table.toString());
for (const { hop, fault, lost, wrong } of results) {
  const failures = [...lost.map((cidr) => `lost: ${cidr}`), ...wrong];
  if (failures.length > 0)
    console.log(pc.red(`${hop}, ${fault}: ${failures.slice(0, 5).join("; ")}`));
}
const failed = results.filter(({ lost, wrong }) => lost.length + wrong.length > 0).length;
console.log(`${results.length} storms, ${failed} failed, in ${seconds} s: ${machineText()}.`);
if (parts.length === 0) {
  const date = new Date().toISOString();
  writeJson(join(PROJECT_ROOT, ".local", "faults.json"), {
    ...{ date, seconds, machine: machine(), results },
  });
  writeFileSync(join(PROJECT_ROOT, ".local", "faults.md"), markdownOf(head, rows));
}
const permissions = await judge(recording, false).catch((error: Error) => error);
recording.stop();
console.log(
  "Permissions:",
  permissions instanceof Error ? pc.red(permissions.message) : permissions,
);
process.exit(failed === 0 && !(permissions instanceof Error) ? 0 : 1);

async function work(): Promise<void> {
  let lane: Lane | undefined;
  let runs = 0;
  while (next < scenarios.length) {
    const number = next++;
    const scenario = scenarios[number];
    if (!scenario) return;
    if (scenario.needsNewLane && runs > 0) {
      await lane?.stop();
      lane = undefined;
    }
    lane ??= await startLane();
    runs++;
    const result = await run(lane, scenario, number);
    results.push(result);
    const isGood = result.lost.length + result.wrong.length === 0;
    const mark = isGood ? pc.green("✓") : pc.red("✗");
    const text = `${mark} ${scenario.hop}, ${scenario.fault}`;
    process.stderr.write(`${text} ${pc.dim(`${(result.convergedMs / 1000).toFixed(1)} s`)}\n`);
    if (!isGood) {
      // What one run broke must not be counted against the next.
      await lane.stop();
      lane = undefined;
    }
  }
  await lane?.stop();
}

/** One row for each fault. */
function rowsOf(all: readonly Result[]): string[][] {
  return [...Map.groupBy(all, ({ fault }) => fault)].map(([fault, runs]) => {
    const sum = (count: (result: Result) => number) =>
      runs.reduce((total, result) => total + count(result), 0).toLocaleString("en");
    return [
      fault,
      String(new Set(runs.map(({ hop }) => hop)).size),
      String(runs.length),
      sum(({ accepted }) => accepted),
      sum(({ refused }) => refused),
      sum(({ lost }) => lost.length),
      `${(Math.max(...runs.map(({ convergedMs }) => convergedMs)) / 1000).toFixed(1)} s`,
    ];
  });
}
