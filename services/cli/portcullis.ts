#!/usr/bin/env node
import { Command, CommanderError } from "commander";
import pc from "picocolors";
import { addDrain } from "./commands/drain.ts";
import { addMode } from "./commands/mode.ts";
import { addNeverBlock } from "./commands/neverBlock.ts";
import { addDeadLetters, addStreamFailures } from "./commands/replay.ts";
import { addRestore } from "./commands/restore.ts";
import { addSmoke } from "./commands/smoke.ts";
import { addToken } from "./commands/token.ts";
import { UsageError } from "./errors.ts";

// npx portcullis: what an operator runs against a stage. Exit codes: 0 done, 1 failed, 2 not understood,
// 130 stopped by a person.

const FAILED = 1;
const USAGE = 2;

const program = new Command()
  .name("portcullis")
  .description("What an operator runs against a stage")
  .configureOutput({ outputError: (text, write) => write(pc.red(text)) })
  .exitOverride();

for (const add of [
  addSmoke,
  addDrain,
  addMode,
  addToken,
  addNeverBlock,
  addRestore,
  addDeadLetters,
  addStreamFailures,
]) {
  add(program);
}

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : USAGE;
  } else {
    console.error(pc.red(error instanceof Error ? error.message || error.name : String(error)));
    process.exitCode = error instanceof UsageError ? USAGE : FAILED;
  }
}
