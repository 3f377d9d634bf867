import { arch, cpus, totalmem } from "node:os";
import Table from "cli-table3";
import pc from "picocolors";
import type { Amount, Figure } from "./figure.ts";

/** The machine that the figures are of; nothing that says whose it is or where. */
export function machine() {
  return {
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    architecture: arch(),
    node: process.version,
  };
}

/** The same in words. */
export function machineText(): string {
  const { cores, memoryGb, architecture, node } = machine();
  return `${cores} cores, ${memoryGb} GB, ${architecture}, Node ${node}`;
}

/** The figures as one table for the terminal. */
export function tableOf(figures: readonly Figure[]): string {
  const table = new Table({
    head: ["figure", "value", "floor", "ratio", "goal", "met"].map((title) => pc.bold(title)),
    colWidths: [56, 15, 30, 9, 12, 5],
    wordWrap: true,
    style: { head: [], border: ["dim"] },
  });
  for (const { name, what, value, floor, ratio, goal } of figures) {
    table.push([
      `${pc.bold(name)}\n${pc.dim(what)}`,
      textOf(value),
      floor ? `${textOf(floor)}\n${pc.dim(floor.what)}` : "",
      ratio === undefined ? "" : textOf({ value: ratio }),
      goal?.text ?? "",
      goal ? (goal.isMet ? pc.green("yes") : pc.red("no")) : "",
    ]);
  }
  return table.toString();
}

/** The figures as a table for the README. */
export function markdownTableOf(figures: readonly Figure[]): string {
  const rows = figures.map(({ name, what, value, floor, ratio, goal }) => [
    `\`${name}\` ${what}`,
    textOf(value),
    floor ? `${textOf(floor)} (${floor.what})` : "",
    ratio === undefined ? "" : textOf({ value: ratio }),
    goal ? `${goal.text}: ${goal.isMet ? "met" : "not met"}` : "",
  ]);
  return markdownOf(["figure", "value", "floor", "ratio", "goal"], rows);
}

function textOf({ value, unit }: Amount): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  const text = Number.isInteger(value)
    ? value.toLocaleString("en")
    : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return unit ? `${text} ${unit}` : text;
}

/** A table in Markdown, for the README. */
export function markdownOf(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line), ""].join("\n");
}
