import { readFileSync } from "node:fs";
import { userInfo } from "node:os";
import type { Command } from "commander";
import { UsageError } from "../errors.ts";
import { createNeverBlockList } from "../neverBlockList.ts";
import { numberOf, onStage, type StageOptions, say, show } from "../output.ts";
import { openStage } from "../stage.ts";

// The ranges that are never blocked, and the prefix lists of such ranges.

const IN_FORCE = "In force within ten seconds; entries that deny any of them leave.";

type AddOptions = StageOptions & {
  readonly why?: string;
  readonly by?: string;
  readonly file?: string;
};

export function addNeverBlock(program: Command): void {
  const neverBlock = program
    .command("never-block")
    .description("addresses and ranges that are never blocked");

  onStage(
    neverBlock
      .command("add [cidr...]")
      .description("puts ranges, or prefix lists (pl-…), on the list"),
  )
    .option("--file <path>", "one range a line as well; - for the standard input")
    .option("--why <text>", "a note for whoever reads the list", "")
    .option("--by <name>", "who adds it; otherwise this machine's user")
    .action(async (cidrs: string[], options: AddOptions) => {
      const texts = [...cidrs, ...(options.file ? linesOf(options.file) : [])];
      if (texts.length === 0) throw new UsageError("Which ranges?");
      const note = { why: options.why ?? "", addedBy: options.by ?? userInfo().username };
      const added = await (await openList(options)).add(texts, note, Date.now());
      say(options, { added }, `Added ${numberOf(added, "item")}. ${IN_FORCE}`);
    });

  onStage(neverBlock.command("list").description("the owner's part of it")).action(
    async (options: StageOptions) => {
      const ranges = await (await openList(options)).list();
      const rows = ranges.map(({ cidr, addedBy, since, why, state }) => [
        ...[cidr, addedBy, since, why, state],
      ]);
      show(options, ranges, ["range", "added by", "since", "why", "state"], rows);
    },
  );

  onStage(neverBlock.command("remove <cidr...>").description("takes them off the list")).action(
    async (cidrs: string[], options: StageOptions) => {
      const removed = await (await openList(options)).remove(cidrs);
      say(options, { removed }, `Removed ${numberOf(removed, "item")}.`);
    },
  );
}

async function openList(options: StageOptions) {
  const stage = openStage(options);
  return createNeverBlockList(stage, await stage.deployment());
}

/** The lines of a file, without anything after a `#`. */
function linesOf(path: string): string[] {
  const text = readFileSync(path === "-" ? 0 : path, "utf8");
  return text.split("\n").flatMap((line) => line.replace(/#.*/, "").trim() || []);
}
