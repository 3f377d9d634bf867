import { type Block, deadlineOf, type Ledger, type Timing } from "./ledger.ts";

/** What a replay of the log must lead to. Addresses that are not named must be left alone. */
export type Expected = {
  /** Address → how many times it must be blocked. */
  readonly blocked: Readonly<Record<string, number>>;
  /** Attackers that are on the never-block list. */
  readonly ignored: readonly string[];
};

/** What did not go as expected, one sentence each; none when all is well. */
export function problemsIn(
  { blocks, strange }: Pick<Ledger, "blocks" | "strange">,
  expected: Expected,
  timing: Timing,
): string[] {
  const problems = blocks.flatMap((block) => problemsOf(block, timing));
  for (const [address, times] of Object.entries(expected.blocked)) {
    const own = blocks.filter((block) => block.address === address && !block.ignored);
    if (own.length !== times) {
      problems.push(`${address} should have been blocked ${times} times, not ${own.length}.`);
    }
  }
  for (const address of expected.ignored) {
    if (!blocks.some((block) => block.address === address && block.ignored)) {
      problems.push(`${address} is on the never-block list and was not ignored.`);
    }
  }
  const known = new Set([...Object.keys(expected.blocked), ...expected.ignored]);
  for (const { address } of blocks) {
    if (!known.has(address)) problems.push(`${address} was reported and is no attacker.`);
  }
  return [...problems, ...[...strange].map((what) => `In the ACL, ${what}.`)];
}

function problemsOf(block: Block, timing: Timing): string[] {
  const { address, detectedAt, blockedAt, expiresAt, unblockedAt, ignored, failed } = block;
  if (failed !== undefined) return [`${address} could not be reported: ${failed}.`];
  if (ignored !== undefined) {
    return blockedAt === undefined ? [] : [`${address} was blocked, though it was ignored.`];
  }
  if (blockedAt === undefined || expiresAt === undefined) {
    return [`${address} was not blocked within ${timing.blockWithin / 1000} s.`];
  }
  const problems: string[] = [];
  const late = blockedAt - detectedAt;
  if (late > timing.blockWithin) problems.push(`${address} was blocked only after ${late} ms.`);
  if (unblockedAt === undefined) {
    problems.push(`${address} is still blocked ${timing.unblockWithin / 1000} s after its expiry.`);
  } else if (unblockedAt < expiresAt) {
    problems.push(`${address} was unblocked ${expiresAt - unblockedAt} ms before its expiry.`);
  } else if (unblockedAt > deadlineOf(block, timing)) {
    problems.push(`${address} was unblocked only ${unblockedAt - expiresAt} ms after its expiry.`);
  }
  return problems;
}
