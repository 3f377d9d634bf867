import type { Command } from "commander";
import logUpdate from "log-update";
import type { Seconds } from "../../../shared/domain/time.ts";
import { type Drained, drain } from "../drain.ts";
import { FailedError } from "../errors.ts";
import { isWatched, numberOf, onStage, type StageOptions, show } from "../output.ts";
import { openStage } from "../stage.ts";
import { asSeconds } from "./token.ts";

const TIMEOUT: Seconds = 300;

/** Removes our entries, and nobody else's, from every target. */
export function addDrain(program: Command): void {
  onStage(
    program
      .command("drain")
      .description("takes our entries out of every target, and waits until they are out"),
  )
    .option("--timeout <duration>", "how long to wait", asSeconds, TIMEOUT)
    .action(async (options: StageOptions & { timeout: Seconds }) => {
      const stage = openStage(options);
      const onProgress = (targets: readonly Drained[]) => {
        if (isWatched(options)) logUpdate(`Draining: ${entriesIn(targets)} left …`);
      };
      const timeout = options.timeout * 1000;
      const targets = await drain(stage, await stage.deployment(), timeout, onProgress);
      if (isWatched(options)) logUpdate.clear();
      const rows = targets.map(({ id, left, why }) => [id, String(left), why ?? "drained"]);
      show(options, targets, ["target", "left", "state"], rows);
      const undone = targets.filter(({ why }) => why !== undefined);
      if (undone.length > 0) {
        const where = undone.map(({ id }) => id).join(", ");
        throw new FailedError(`Not drained: ${where}, with ${entriesIn(undone)} left.`);
      }
      if (options.json) return;
      console.log("Drained. The mode stays off until it is ordered back: portcullis mode default.");
    });
}

const entriesIn = (targets: readonly Drained[]): string =>
  numberOf(
    targets.reduce((sum, { left }) => sum + left, 0),
    "entry",
  ).replace(/entrys$/, "entries");
