import type { Block } from "../../shared/domain/block.ts";
import { isExpired } from "../../shared/domain/time.ts";
import { blockOf } from "./blocks.ts";
import { callCounts, MUTATING } from "./ec2Counters.ts";
import type { Figure } from "./figure.ts";
import { createRandom, type Random } from "./random.ts";
import type { Stage } from "./stage.ts";
import { type AclSubject, createAclSubject, NUMBERS } from "./subject.ts";

const RULE_LIMIT = 18;
const STEPS = 150;
const MAX_STEP_MS = 20_000;
const LONGEST_BLOCK_SECONDS = 900;

/**
 * Mutating EC2 calls for each rule that changed, over a history of blocks that come, expire, are
 * lifted and replace each other, IPv4 and IPv6, some of them neighbours that merge and split again.
 */
export async function ec2CallsPerChange(stage: Stage): Promise<Figure[]> {
  const subject = await createAclSubject(stage, RULE_LIMIT);
  const random = createRandom(2);
  const alive = new Map<string, Block>();
  const before = await callCounts(stage.endpoints.ec2);
  let changedRules = 0;
  let rules = await rulesOf(subject);
  for (let step = 0; step < STEPS; step++) {
    subject.aheadMs += random.between(0, MAX_STEP_MS);
    await happen(subject, alive, random);
    await subject.converge();
    const now = await rulesOf(subject);
    const numbers = new Set([...rules.keys(), ...now.keys()]);
    changedRules += [...numbers].filter((number) => rules.get(number) !== now.get(number)).length;
    rules = now;
  }
  const after = await callCounts(stage.endpoints.ec2);
  const of = (action: string) => (after[action] ?? 0) - (before[action] ?? 0);
  const calls = MUTATING.reduce((sum, action) => sum + of(action), 0);
  const value = calls / changedRules;
  return [
    {
      name: "ec2CallsPerChange",
      what: `mutating EC2 calls ÷ changed rules, ${STEPS} converges (AWS's own sample: 1.8)`,
      value: { value },
      floor: { what: "changed rules", value: changedRules },
      goal: { text: "= 1.0", isMet: calls === changedRules },
      details: { calls, changedRules, ...Object.fromEntries(MUTATING.map((a) => [a, of(a)])) },
    },
  ];
}

/** Up to four events: mostly new blocks, some unblocks. */
async function happen(
  subject: AclSubject,
  alive: Map<string, Block>,
  random: Random,
): Promise<void> {
  const now = subject.clock();
  for (const [text, block] of alive) if (isExpired(block, now)) alive.delete(text);
  for (let event = random.between(0, 4); event > 0; event--) {
    if (alive.size > 0 && random.next() < 0.2) {
      const block = random.pick([...alive.values()]);
      await subject.blocks.remove(block);
      alive.delete(block.cidr.text);
      continue;
    }
    const block = blockOf(newAddress(random), {
      severity: random.between(1, 10),
      expiresAt: Math.floor(now / 1000) + random.between(30, LONGEST_BLOCK_SECONDS),
      firstSeenAt: now,
    });
    if (alive.has(block.cidr.text)) continue;
    await subject.want(block);
    alive.set(block.cidr.text, block);
  }
}

/** A quarter from one small neighbourhood, whose addresses merge where the slots are full. */
function newAddress(random: Random): string {
  const kind = random.next();
  if (kind < 0.25) return `198.51.100.${random.between(0, 31)}`;
  if (kind < 0.4) return `2001:db8::${random.between(1, 65_535).toString(16)}`;
  return random.address();
}

async function rulesOf({ acl }: AclSubject): Promise<Map<number, string>> {
  const { entries } = await acl.describe();
  return new Map(
    entries.ingress
      .filter(({ ruleNumber }) => ruleNumber <= NUMBERS.last)
      .map(({ ruleNumber, cidr }) => [ruleNumber, cidr.text]),
  );
}
