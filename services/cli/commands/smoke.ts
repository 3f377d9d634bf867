import type { Command } from "commander";
import logUpdate from "log-update";
import type { Seconds } from "../../../shared/domain/time.ts";
import { type Check, runChecks } from "../checks.ts";
import { FailedError } from "../errors.ts";
import { isWatched, numberOf, onStage, type StageOptions, show } from "../output.ts";
import { type Hop, walk } from "../smoke.ts";
import { openStage } from "../stage.ts";
import { asSeconds } from "./token.ts";

const TIMEOUT: Seconds = 90;

type SmokeOptions = StageOptions & { readonly endpoint?: string; readonly timeout: Seconds };

/** Tests whether a deployment works: sends one address all the way, and checks what that needs. */
export function addSmoke(program: Command): void {
  onStage(
    program
      .command("smoke")
      .description("blocks and unblocks a documentation address, and looks at the deployment"),
  )
    .option("--endpoint <url>", "where the endpoint is, if not where its stack says")
    .option("--timeout <duration>", "how long each hop may take", asSeconds, TIMEOUT)
    .action(async (options: SmokeOptions) => {
      const stage = openStage(options);
      const deployment = await stage.deployment();
      const api = options.endpoint ?? (await stage.api());
      const onHop = ({ what }: Hop) => {
        if (isWatched(options)) logUpdate(`Done: ${what} …`);
      };
      const hops = await walk(stage, deployment, api, options.timeout * 1000, onHop);
      if (isWatched(options)) logUpdate.clear();
      const checks = await runChecks(stage, deployment);
      const late = hops.filter(({ ms }) => ms === undefined);
      const red = checks.filter(({ result }) => result === "failed");
      const isOk = late.length + red.length === 0;
      if (options.json) console.log(JSON.stringify({ ok: isOk, hops, checks }, undefined, 2));
      else print(options, hops, checks);
      if (isOk) return;
      const names = [...late, ...red].map(({ what }) => what).join("; ");
      throw new FailedError(`${numberOf(late.length + red.length, "failure")}: ${names}.`);
    });
}

function print(options: StageOptions, hops: readonly Hop[], checks: readonly Check[]): void {
  const timeOf = ({ ms }: Hop) => (ms === undefined ? "not in time" : `${ms} ms`);
  show(
    options,
    hops,
    ["hop", "took"],
    hops.map((hop) => [hop.what, timeOf(hop)]),
  );
  const rows = checks.map(({ what, result, detail }) => [what, result, detail]);
  show(options, checks, ["check", "result", "detail"], rows);
}
