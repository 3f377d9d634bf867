import Table from "cli-table3";
import { Command } from "commander";
import logUpdate from "log-update";
import pc from "picocolors";
import { type Choice, listDeadLetters, replayDeadLetters } from "./deadLetters.ts";
import { countMessages, type Watch } from "./messages.ts";
import { openStage } from "./stage.ts";
import { listStreamFailures, replayStreamFailures } from "./streamFailures.ts";

// npm run dead-letters and npm run stream-failures: what failed, and its replay.

type Options = { readonly stage?: string; readonly json?: true };

const cli = new Command()
  .name("npm run")
  .configureOutput({ outputError: (text, write) => write(pc.red(text)) });

const deadLetters = cli.command("dead-letters").description("messages that could not be processed");
onStage(deadLetters.command("list").description("with their reasons, oldest first")).action(
  async (options: Options) => {
    const stage = openStage(options.stage);
    const { deadLetters: items, total } = await listDeadLetters(
      stage.sqs,
      await stage.queueUrl("dead letters"),
    );
    const rows = items
      .toSorted((a, b) => a.since.localeCompare(b.since))
      .map(({ since, reason, detail, body, id }) => [since, reason, detail, subjectOf(body), id]);
    show(options, items, ["since", "reason", "detail", "message", "id"], rows, total);
  },
);
onStage(deadLetters.command("replay").description("puts them back into the queue"))
  .option("--reason <code>", "only those with this reason")
  .option("--id <id>", "only this one")
  .option("--body <json>", "with --id: sends this instead, a mended message")
  .action(async (options: Options & Choice) => {
    const { reason, id, body } = options;
    if (body !== undefined && id === undefined) deadLetters.error("--body needs --id.");
    const stage = openStage(options.stage);
    const urls = {
      deadLetters: await stage.queueUrl("dead letters"),
      queue: await stage.queueUrl("queue"),
    };
    await replay(
      options,
      "dead letter",
      (watch) => replayDeadLetters(stage.sqs, urls, { reason, id, body }, watch),
      () => countMessages(stage.sqs, urls.deadLetters),
    );
  });

const streamFailures = cli
  .command("stream-failures")
  .description("changes of the table that the enforcer could not take");
onStage(streamFailures.command("list").description("why, and since when")).action(
  async (options: Options) => {
    const { failures, total } = await listStreamFailures(openStage(options.stage));
    const rows = failures.map(({ since, reason, attempts, records, id }) =>
      [since, reason, attempts, records, id].map(String),
    );
    show(options, failures, ["since", "reason", "attempts", "records", "id"], rows, total);
  },
);
onStage(
  streamFailures.command("replay").description("hands them to the enforcer again, which converges"),
).action(async (options: Options) => {
  const stage = openStage(options.stage);
  await replay(
    options,
    "stream failure",
    (watch) => replayStreamFailures(stage, watch),
    async () => countMessages(stage.sqs, await stage.queueUrl("stream failures")),
  );
});

try {
  await cli.parseAsync();
} catch (error) {
  console.error(pc.red(error instanceof Error ? error.message || error.name : String(error)));
  process.exitCode = 1;
}

function onStage(command: Command): Command {
  return command
    .option("--stage <name>", "a deployed stage; otherwise the local cloud of this folder")
    .option("--json", "for programs");
}

function show(
  { json }: Options,
  items: readonly object[],
  head: string[],
  rows: string[][],
  total: number,
): void {
  if (json) {
    console.log(JSON.stringify({ total, items }, undefined, 2));
    return;
  }
  if (items.length === 0) {
    console.log("None.");
    return;
  }
  const table = new Table({ head, style: { head: [], border: [], compact: true } });
  // A message is anybody's text, and a terminal obeys control characters.
  table.push(...rows.map((row) => row.map((cell) => cell.replace(/\p{C}/gu, "·"))));
  console.log(table.toString());
  const hidden = total - items.length;
  if (hidden > 0) {
    console.log(`${hidden} more: SQS shows ten of a message group at a time; a replay takes all.`);
  }
}

/** What a message is about: its address, or its beginning where it has none. */
function subjectOf(body: string): string {
  const cidr = /"cidr"\s*:\s*"([^"]{1,64})"/.exec(body)?.[1];
  return cidr ?? (body.length > 40 ? `${body.slice(0, 39)}…` : body);
}

/** Shows the progress, and how many are left; Ctrl-C ends the replay after what is under way. */
async function replay(
  { json }: Options,
  what: string,
  work: (watch: Watch) => Promise<number>,
  count: () => Promise<number>,
): Promise<void> {
  const stopping = new AbortController();
  process.once("SIGINT", () => stopping.abort());
  process.once("SIGTERM", () => stopping.abort());
  const isShown = process.stdout.isTTY && !json;
  const onProgress = (done: number) => {
    if (isShown) logUpdate(`Replaying: ${done} …`);
  };
  const replayed = await work({ signal: stopping.signal, onProgress });
  if (isShown) logUpdate.clear();
  const left = await count();
  const interrupted = stopping.signal.aborted;
  if (interrupted) process.exitCode = 130;
  if (json) {
    console.log(JSON.stringify({ replayed, left, interrupted }));
    return;
  }
  console.log(`Replayed ${numberOf(replayed, what)}${interrupted ? ", then stopped" : ""}.`);
  if (left > 0) {
    const why = "not chosen, failed again, or looked at by somebody and hidden for a minute";
    console.log(`${numberOf(left, what)} left: ${why}.`);
  }
}

function numberOf(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}
