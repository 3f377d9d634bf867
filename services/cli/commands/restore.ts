import { type Command, Option } from "commander";
import logUpdate from "log-update";
import { createOrderBook } from "../../../shared/aws/table/orders.ts";
import { FailedError } from "../errors.ts";
import { isWatched, numberOf, onStage, type StageOptions, show } from "../output.ts";
import { PARTS, type Part, restore } from "../restore/restore.ts";
import type { Restored } from "../restore/restoring.ts";
import { openStage } from "../stage.ts";

type RestoreOptions = StageOptions & {
  readonly fromTable: string;
  readonly only?: readonly Part[];
};

/** The way back from a copy of the table, as point-in-time recovery makes one. */
export function addRestore(program: Command): void {
  onStage(
    program
      .command("restore")
      .description("copies what is lost from a recovered table into the live one; safe to repeat"),
  )
    .requiredOption("--from-table <name>", "the recovered table")
    .addOption(new Option("--only <part...>", "only these parts").choices(PARTS))
    .action(async (options: RestoreOptions) => {
      const stage = openStage(options);
      const deployment = await stage.deployment();
      const stopping = new AbortController();
      process.once("SIGINT", () => stopping.abort());
      process.once("SIGTERM", () => stopping.abort());
      const onProgress = ({ what, copied }: Restored) => {
        if (isWatched(options)) logUpdate(`Restoring ${what}: ${copied} …`);
      };
      const from = { tableName: options.fromTable, list: deployment.list };
      const watch = { signal: stopping.signal, onProgress };
      const all = await restore({ stage, deployment, from, watch, clock: Date.now }, options.only);
      if (isWatched(options)) logUpdate.clear();
      const interrupted = stopping.signal.aborted;
      if (interrupted) process.exitCode = 130;

      const rows = all.map(({ what, copied, known, over, unreadable }) =>
        [what, copied, known, over, unreadable].map(String),
      );
      const head = ["what", "restored", "there already", "over", "unreadable"];
      show(options, { restored: all, interrupted }, head, rows);
      const failed = all.filter(({ problem }) => problem !== undefined);
      if (failed.length > 0) {
        const why = failed.map(({ what, problem }) => `${what}: ${problem}`).join("; ");
        throw new FailedError(`Not restored: ${why}. Mend it and repeat: what is there stays.`);
      }
      const unreadable = all.reduce((sum, one) => sum + one.unreadable, 0);
      if (unreadable > 0)
        throw new FailedError(
          `${numberOf(unreadable, "item")} could not be read, and stayed behind.`,
        );
      if (options.json) return;
      if (interrupted) console.log("Stopped. Repeat it to go on: what is there stays.");
      const { mode } = await createOrderBook(stage.dynamo, deployment).read(Date.now());
      if (mode) console.log(`The mode ${mode} is ordered. Back: portcullis mode default.`);
    });
}
