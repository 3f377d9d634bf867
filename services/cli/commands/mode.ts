import { Argument, type Command } from "commander";
import { createOrderBook } from "../../../shared/aws/table/orders.ts";
import { MODES, type Mode } from "../../../shared/domain/orders.ts";
import { onStage, type StageOptions, say } from "../output.ts";
import { openStage } from "../stage.ts";

/** Shows the mode, or orders one that overrides the deployment's own. */
export function addMode(program: Command): void {
  const wanted = new Argument("[mode]", "what to order; otherwise it is shown").choices([
    ...MODES,
    "default",
  ]);
  onStage(program.command("mode").description("what the targets are made to hold"))
    .addArgument(wanted)
    .action(async (mode: Mode | "default" | undefined, options: StageOptions) => {
      const stage = openStage(options);
      const deployment = await stage.deployment();
      const book = createOrderBook(stage.dynamo, deployment);
      if (mode !== undefined) await book.setMode(mode === "default" ? undefined : mode);
      const { mode: ordered } = await book.read(Date.now());
      const whose = ordered ? "an operator's order" : "the deployment's own";
      const result = { mode: ordered ?? deployment.mode, isOrdered: ordered !== undefined };
      say(options, result, `${result.mode}, ${whose}.`);
    });
}
