import Table from "cli-table3";
import type { Command } from "commander";

/** The options of every command. */
export type StageOptions = {
  readonly stage?: string;
  readonly local?: true;
  readonly region?: string;
  readonly json?: true;
};

/** Adds the options that say which stage a command is for. */
export function onStage(command: Command): Command {
  return command
    .option("--stage <name>", "a deployed stage; otherwise the local cloud of this folder")
    .option("--local", "the local cloud, said aloud")
    .option("--region <name>", "where the stage is, if not where its stage file says")
    .option("--json", "for programs");
}

/** Prints rows as a table that people can read, or `result` as JSON. */
export function show(
  { json }: StageOptions,
  result: unknown,
  head: readonly string[],
  rows: readonly (readonly string[])[],
): void {
  if (json) {
    console.log(JSON.stringify(result, undefined, 2));
    return;
  }
  if (rows.length === 0) {
    console.log("None.");
    return;
  }
  const table = new Table({ head: [...head], style: { head: [], border: [], compact: true } });
  table.push(...rows.map((row) => row.map(printable)));
  console.log(table.toString());
}

/** Prints a sentence, or `result` as JSON. */
export function say({ json }: StageOptions, result: unknown, sentence: string): void {
  console.log(json ? JSON.stringify(result) : sentence);
}

/** A message may be anybody's text, and a terminal obeys control characters. */
export const printable = (text: string): string => text.replace(/\p{C}/gu, "·");

export function numberOf(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

/** Whether to show progress: to a person, not to a program. */
export const isWatched = ({ json }: StageOptions): boolean => process.stdout.isTTY && !json;
