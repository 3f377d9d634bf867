import { GetQueueAttributesCommand } from "@aws-sdk/client-sqs";
import { listDeadLetters } from "../../infra/replay/deadLetters.ts";
import { type Lane, PERSONS, RULE_LIMIT } from "./lane.ts";
import type { Promised } from "./storm.ts";

/** Of equal reports within a tenth of the block's time the first one counts: see fold.ts. */
const FOLD_SECONDS = 60;

type Standing = { cidr: string; state: string; expiresAt: number };

/** What is wrong now. `lost`: promised, and found nowhere. */
export type Verdict = { readonly lost: string[]; readonly wrong: string[] };

/**
 * Every block that was accepted is enforced or waiting, has expired, was unblocked, or is a dead letter
 * with its reason; the ACL denies the strongest, and nothing else; a person's rules are as they were;
 * nothing is under way.
 */
export async function examine(lane: Lane, promised: Promised): Promise<Verdict> {
  const wanted = await list(lane);
  const nowSeconds = Date.now() / 1000;
  const missing = [...promised.blocks]
    .filter(([, expiresAt]) => expiresAt > nowSeconds)
    .filter(([cidr, expiresAt]) => (wanted.get(cidr)?.expiresAt ?? 0) < expiresAt - FOLD_SECONDS)
    .map(([cidr]) => cidr);
  const dead = missing.length > 0 ? await deadAddresses(lane) : new Set();
  const lost = missing.filter((cidr) => !dead.has(cidr));

  const wrong = [...promised.unblocked].filter((cidr) => wanted.has(cidr));
  const entries = await lane.entries();
  const ours = entries.filter(({ RuleNumber }) =>
    PERSONS.every((one) => one.RuleNumber !== RuleNumber),
  );
  const denied = ours.map(({ CidrBlock, Ipv6CidrBlock }) => String(CidrBlock ?? Ipv6CidrBlock));
  const live = [...wanted.values()].filter(({ expiresAt }) => expiresAt > nowSeconds);
  const strongest = [4, 6].flatMap((family) =>
    live.filter(({ cidr }) => cidr.includes(":") === (family === 6)).slice(0, RULE_LIMIT),
  );
  wrong.push(
    ...difference(
      "denied",
      denied,
      strongest.map(({ cidr }) => cidr),
    ),
  );
  const enforced = live.filter(({ state }) => state === "enforced").map(({ cidr }) => cidr);
  wrong.push(...difference("told as enforced", enforced, denied));
  for (const person of PERSONS) {
    const same = entries.find(({ RuleNumber }) => RuleNumber === person.RuleNumber);
    const isSame = same?.CidrBlock === person.CidrBlock && same?.RuleAction === person.RuleAction;
    if (!isSame) wrong.push(`a person's rule ${person.RuleNumber}`);
  }
  const queued = await queueLength(lane);
  if (queued > 0) wrong.push(`${queued} messages in the queue`);
  return { lost, wrong };
}

/** All wanted blocks, strongest first in each family. */
async function list(lane: Lane): Promise<Map<string, Standing>> {
  const { stack, call } = lane.cloud();
  const found = new Map<string, Standing>();
  for (let next = ""; ; ) {
    const path = `/blacklist?limit=200${next && `&next=${next}`}`;
    const signal = AbortSignal.timeout(10_000);
    const response = await call(path, { token: stack.operatorToken, signal });
    if (!response.ok) throw new Error(`The list answers ${response.status}.`);
    const page = (await response.json()) as { blocks: Standing[]; next: string | null };
    for (const block of page.blocks) found.set(block.cidr, block);
    if (page.next === null) return found;
    next = page.next;
  }
}

/** The addresses of dead letters that have a reason. */
async function deadAddresses({ clients, queues }: Lane): Promise<Set<string>> {
  const { letters } = await listDeadLetters(clients.sqs, queues().dead);
  return new Set(
    letters.flatMap(({ body, reason }) => {
      const cidr = /"cidr":"([^"]+)"/.exec(body)?.[1];
      return cidr && reason ? [cidr] : [];
    }),
  );
}

async function queueLength({ clients, queues }: Lane): Promise<number> {
  const { Attributes } = await clients.sqs.send(
    new GetQueueAttributesCommand({
      QueueUrl: queues().main,
      AttributeNames: ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
    }),
  );
  return Object.values(Attributes ?? {}).reduce((sum, value) => sum + Number(value), 0);
}

function difference(what: string, found: readonly string[], due: readonly string[]): string[] {
  const missing = due.filter((cidr) => !found.includes(cidr)).map((cidr) => `not ${what}: ${cidr}`);
  const twice = found.filter((cidr, index) => found.indexOf(cidr) !== index || !due.includes(cidr));
  return [...missing, ...twice.map((cidr) => `wrongly ${what}: ${cidr}`)];
}
