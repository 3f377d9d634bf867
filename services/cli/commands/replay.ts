import type { Command } from "commander";
import logUpdate from "log-update";
import { UsageError } from "../errors.ts";
import { isWatched, numberOf, onStage, type StageOptions, say, show } from "../output.ts";
import { type Choice, listDeadLetters, replayDeadLetters } from "../replay/deadLetters.ts";
import { countMessages, type Watch } from "../replay/messages.ts";
import { listStreamFailures, replayStreamFailures } from "../replay/streamFailures.ts";
import { openStage } from "../stage.ts";

// What failed, and its replay.

export function addDeadLetters(program: Command): void {
  const deadLetters = program
    .command("dead-letters")
    .description("messages that could not be processed");
  onStage(deadLetters.command("list").description("with their reasons, oldest first")).action(
    async (options: StageOptions) => {
      const stage = openStage(options);
      const { deadLetters: items, total } = await listDeadLetters(
        stage.sqs,
        await stage.queueUrl("dead letters"),
      );
      const rows = items
        .toSorted((a, b) => a.since.localeCompare(b.since))
        .map(({ since, reason, detail, body, id }) => [since, reason, detail, subjectOf(body), id]);
      show(options, { total, items }, ["since", "reason", "detail", "message", "id"], rows);
      sayHidden(options, total - items.length);
    },
  );
  onStage(deadLetters.command("replay").description("puts them back into the queue"))
    .option("--reason <code>", "only those with this reason")
    .option("--id <id>", "only this one")
    .option("--body <json>", "with --id: sends this instead, a mended message")
    .action(async (options: StageOptions & Choice) => {
      const { reason, id, body } = options;
      if (body !== undefined && id === undefined) throw new UsageError("--body needs --id.");
      const stage = openStage(options);
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
}

export function addStreamFailures(program: Command): void {
  const streamFailures = program
    .command("stream-failures")
    .description("changes of the table that the enforcer could not take");
  onStage(streamFailures.command("list").description("why, and since when")).action(
    async (options: StageOptions) => {
      const { failures: items, total } = await listStreamFailures(openStage(options));
      const rows = items.map(({ since, reason, attempts, records, id }) =>
        [since, reason, attempts, records, id].map(String),
      );
      show(options, { total, items }, ["since", "reason", "attempts", "records", "id"], rows);
      sayHidden(options, total - items.length);
    },
  );
  onStage(
    streamFailures
      .command("replay")
      .description("hands them to the enforcer again, which converges"),
  ).action(async (options: StageOptions) => {
    const stage = openStage(options);
    await replay(
      options,
      "stream failure",
      (watch) => replayStreamFailures(stage, watch),
      async () => countMessages(stage.sqs, await stage.queueUrl("stream failures")),
    );
  });
}

function sayHidden({ json }: StageOptions, hidden: number): void {
  if (json || hidden <= 0) return;
  console.log(`${hidden} more: SQS shows ten of a message group at a time; a replay takes all.`);
}

/** What a message is about: its address, or its beginning if it has none. */
function subjectOf(body: string): string {
  const cidr = /"cidr"\s*:\s*"([^"]{1,64})"/.exec(body)?.[1];
  return cidr ?? (body.length > 40 ? `${body.slice(0, 39)}…` : body);
}

/** Shows progress, and how many are left; Ctrl-C ends the replay after the messages in progress. */
async function replay(
  options: StageOptions,
  what: string,
  work: (watch: Watch) => Promise<number>,
  count: () => Promise<number>,
): Promise<void> {
  const stopping = new AbortController();
  process.once("SIGINT", () => stopping.abort());
  process.once("SIGTERM", () => stopping.abort());
  const onProgress = (done: number) => {
    if (isWatched(options)) logUpdate(`Replaying: ${done} …`);
  };
  const replayed = await work({ signal: stopping.signal, onProgress });
  if (isWatched(options)) logUpdate.clear();
  const left = await count();
  const interrupted = stopping.signal.aborted;
  if (interrupted) process.exitCode = 130;
  const sentence = `Replayed ${numberOf(replayed, what)}${interrupted ? ", then stopped" : ""}.`;
  say(options, { replayed, left, interrupted }, sentence);
  if (left > 0 && !options.json) {
    const why = "not chosen, failed again, or looked at by somebody and hidden for a minute";
    console.log(`${numberOf(left, what)} left: ${why}.`);
  }
}
