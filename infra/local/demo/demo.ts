import { readFileSync } from "node:fs";
import { join } from "node:path";
import pc from "picocolors";
import type { Stack } from "../cloud.ts";
import { SetupError } from "../errors.ts";
import { PROJECT_ROOT } from "../package.ts";
import { pause } from "../waiting.ts";
import { createAclReader } from "./acl.ts";
import { createDetector } from "./detector.ts";
import { type Block, createLedger, type Entry, type Ledger, type Timing } from "./ledger.ts";
import { paced, report } from "./replay.ts";
import { createScreen } from "./screen.ts";
import { parseLine } from "./sshd.ts";
import { startStack } from "./stack.ts";
import { type Expected, problemsIn } from "./verdict.ts";
import { eventLine, liveTable, seconds, summary } from "./view.ts";

// The demo: the log of an SSH server under attack goes through a detector into the product, while
// the network ACL is watched from outside.

/** How much faster the log is replayed than it was written. */
const SPEED = 10;
const EXPIRY_SECONDS = 8;
const RECONCILE_SECONDS = 5;
const TIMING: Timing = {
  expiry: EXPIRY_SECONDS * 1000,
  repeatFactor: 2,
  blockWithin: 10_000,
  unblockWithin: (RECONCILE_SECONDS + 5) * 1000,
};
/** EC2 grants 20 describes a second, and the product needs some of them. */
const POLL_MS = 200;

const DIR = join(PROJECT_ROOT, ".local", "demo");
const ENVIRONMENT = {
  PORT: "0",
  EXPIRY_TIME: String(EXPIRY_SECONDS),
  RECONCILE_SECONDS: String(RECONCILE_SECONDS),
  REPEAT_PERCENT: String(TIMING.repeatFactor * 100),
  // The rest is what the expectation relies on, whatever the shell has set.
  DIRECTIONS: "ingress",
  MODE: "enforce",
  NEVER_BLOCK: "",
  RULE_LIMIT: "18",
};

class Interruption extends Error {}

const startedAt = Date.now();
const elapsed = () => seconds(Date.now() - startedAt);
const lines = read("sshd.log").trimEnd().split("\n");
const expected = JSON.parse(read("expected.json")) as Expected;

const screen = createScreen(process.stdout);
const stopping = new AbortController();
const { signal } = stopping;
stopOnSignals();
try {
  process.exit((await demo()) ? 0 : 1);
} catch (error) {
  screen.end();
  const reason = signal.aborted ? signal.reason : error;
  if (reason instanceof Interruption) process.exit(130);
  if (!(reason instanceof SetupError)) throw reason;
  console.error(pc.red(reason.message));
  process.exit(1);
}

/** Runs the demo. @returns whether everything went as expected */
async function demo(): Promise<boolean> {
  screen.tell("Starting the local cloud …");
  screen.draw(() => `Starting the local cloud … ${elapsed()}`);
  const running = await startStack(DIR, ENVIRONMENT, signal);
  running.ended.then(() =>
    stopping.abort(new SetupError(`The local cloud ended by itself: see ${DIR}/logs.`)),
  );
  try {
    const { stack } = running;
    const readAcl = createAclReader(stack);
    const ledger = createLedger(TIMING, await readAcl());
    screen.print(`The local cloud is up after ${elapsed()}.`);
    screen.print(`${lines.length} lines of an SSH server's log follow, ${SPEED} times as fast.`);
    screen.print(`The network ACL ${stack.aclId} is read every ${POLL_MS} ms.`);
    screen.print(
      `A block lasts ${EXPIRY_SECONDS} s, the next one of that address twice as long.\n`,
    );

    const replayed = replay(stack, ledger);
    await Promise.all([replayed, watch(readAcl, ledger, replayed)]);

    screen.end();
    const problems = problemsIn(ledger, expected, TIMING);
    screen.print(`\n${summary(ledger.blocks, lines)}\n`);
    for (const problem of problems) screen.print(pc.red(`✖ ${problem}`));
    if (problems.length > 0) return false;
    screen.print(
      pc.green(
        `✔ All attackers, and nobody else, were blocked, and unblocked in time (${elapsed()}).`,
      ),
    );
    return true;
  } finally {
    await running.stop();
  }
}

/** Replays the log through the detector into the endpoint, until every report is answered. */
async function replay(stack: Stack, ledger: Ledger): Promise<void> {
  let now = "";
  screen.draw(() => `${liveTable(ledger.blocks, Date.now())}\n\n${pc.dim(now)}`);
  const detect = createDetector();
  const reports: Promise<void>[] = [];
  for await (const [index, line] of paced(lines, SPEED, signal)) {
    now = `${parseLine(line)?.clock}, line ${index + 1} of ${lines.length}`;
    const detection = detect(line);
    if (!detection) continue;
    const note = ledger.detected(detection, Date.now());
    reports.push(
      report(detection, stack, EXPIRY_SECONDS).then((answer) => {
        const block = note(answer);
        if (answer.status === "ignored") tell(block);
      }),
    );
  }
  now = "The log is over; the last blocks run out.";
  await Promise.all(reports);
}

/** Watches the network ACL until everything that the replay began is over, or overdue. */
async function watch(
  readAcl: () => Promise<Entry[]>,
  ledger: Ledger,
  replayed: Promise<void>,
): Promise<void> {
  let isReplayed = false;
  const end = () => {
    isReplayed = true;
  };
  replayed.then(end, end);
  while (!isReplayed || !ledger.isSettled(Date.now())) {
    await pause(POLL_MS, signal);
    signal.throwIfAborted();
    const entries = await readAcl();
    for (const block of ledger.observed(entries, Date.now())) tell(block);
  }
}

function tell(block: Block): void {
  screen.tell(`${elapsed().padStart(7)}  ${eventLine(block)}`);
}

/** Ctrl-C stops everything, and so does a reader that ends; a second Ctrl-C does not wait. */
function stopOnSignals(): void {
  process.stdout.on("error", () => stopping.abort(new Interruption()));
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(name, () => {
      if (signal.aborted) process.exit(130);
      stopping.abort(new Interruption());
      screen.end();
      screen.print("Stopping …");
    });
  }
}

function read(name: string): string {
  return readFileSync(new URL(name, import.meta.url), "utf8");
}
