import { GetQueueAttributesCommand } from "@aws-sdk/client-sqs";
import { listDeadLetters } from "../../services/cli/replay/deadLetters.ts";
import { parseCidr } from "../../shared/domain/cidr.ts";
import { ACL_IDS, IP_SETS, type Lane, PERSONS, PERSONS_ADDRESSES, RULE_LIMIT } from "./lane.ts";
import type { Promised } from "./storm.ts";

/** Of equal reports within a tenth of the block's time the first one counts: see fold.ts. */
const FOLD_SECONDS = 60;

const FAMILIES = [4, 6] as const;

/** A block as the operator's list shows it. */
type Listed = {
  cidr: string;
  state: string;
  severity: number;
  expiresAt: number;
  targets: Record<string, { state: string }>;
};

/** What is wrong now. `lost`: promised, and found nowhere. */
export type Verdict = { readonly lost: string[]; readonly wrong: string[] };

/**
 * Every block that was accepted is wanted, has expired, was unblocked, or is a dead letter with its
 * reason. Each ACL denies as many of the wanted blocks as it has room for, none of them less severe than
 * one that waits; the IP sets deny all of them; nothing denies anything else, the list says of each
 * target what it holds, and what persons have put there is as it was. Nothing is under way.
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

  const live = [...wanted.values()].filter(({ expiresAt }) => expiresAt > nowSeconds);
  const queued = await queueLength(lane);
  return {
    lost,
    wrong: [
      ...[...promised.unblocked]
        .filter((cidr) => wanted.has(cidr))
        .map((cidr) => `unblocked, and wanted: ${cidr}`),
      ...(await Promise.all(ACL_IDS.map((id) => examineAcl(lane, id, live)))).flat(),
      ...(await examineSets(lane, live)),
      // The sets have room for all.
      ...live
        .filter(({ state }) => state !== "enforced")
        .map(({ cidr, state }) => `listed as ${state}: ${cidr}`),
      ...(queued > 0 ? [`${queued} messages in the queue`] : []),
    ],
  };
}

async function examineAcl(lane: Lane, id: string, live: readonly Listed[]): Promise<string[]> {
  const entries = await lane.entries(id);
  const ours = entries.filter(({ RuleNumber }) =>
    PERSONS.every((one) => one.RuleNumber !== RuleNumber),
  );
  const denied = ours.map(({ CidrBlock, Ipv6CidrBlock }) => String(CidrBlock ?? Ipv6CidrBlock));
  const wrong = differenceOfStates(id, live, denied);
  for (const family of FAMILIES) {
    const candidates = live.filter(({ cidr }) => familyOf(cidr) === family);
    const held = candidates.filter(({ cidr }) => denied.includes(cidr));
    const count = denied.filter((cidr) => familyOf(cidr) === family).length;
    const due = Math.min(RULE_LIMIT, candidates.length);
    if (count !== due || held.length !== due) {
      wrong.push(`${id} denies ${count} of IPv${family}, ${held.length} wanted ones, not ${due}`);
    }
    const weakest = Math.min(...held.map(({ severity }) => severity));
    const waiting = candidates.filter(({ cidr }) => !denied.includes(cidr));
    wrong.push(
      ...waiting
        .filter(({ severity }) => severity > weakest)
        .map(({ cidr, severity }) => `waits for ${id}: ${cidr} of severity ${severity}`),
    );
  }
  for (const person of PERSONS) {
    const same = entries.find(({ RuleNumber }) => RuleNumber === person.RuleNumber);
    const isSame = same?.CidrBlock === person.CidrBlock && same?.RuleAction === person.RuleAction;
    if (!isSame) wrong.push(`a person's rule ${person.RuleNumber} in ${id}`);
  }
  return wrong;
}

async function examineSets(lane: Lane, live: readonly Listed[]): Promise<string[]> {
  const wrong: string[] = [];
  const denied: string[] = [];
  for (const family of FAMILIES) {
    const there = (await lane.addresses(family)).map(textOf);
    const person = PERSONS_ADDRESSES[family];
    if (!there.includes(person)) wrong.push(`a person's address ${person}`);
    denied.push(...there.filter((cidr) => cidr !== person));
  }
  const due = live.map(({ cidr }) => cidr);
  wrong.push(...difference(`denied by ${IP_SETS}`, denied, due));
  wrong.push(...differenceOfStates(IP_SETS, live, denied));
  return wrong;
}

/** Where the list says of a target something else than what it denies. */
function differenceOfStates(id: string, live: readonly Listed[], denied: readonly string[]) {
  const stateOf = ({ targets }: Listed) => targets[id]?.state ?? "nothing";
  const enforced = live.filter((one) => stateOf(one) === "enforced").map(({ cidr }) => cidr);
  return [
    ...difference(`listed as enforced by ${id}`, enforced, denied),
    ...live
      .filter((one) => !/^(enforced|waiting)$/.test(stateOf(one)))
      .map((one) => `listed as ${stateOf(one)} for ${id}: ${one.cidr}`),
  ];
}

/** A range as the list spells it; WAF spells IPv6 out in full. */
export const textOf = (range: string): string => parseCidr(range).text;

const familyOf = (cidr: string) => (cidr.includes(":") ? 6 : 4);

/** All wanted blocks. */
async function list(lane: Lane): Promise<Map<string, Listed>> {
  const { stack, call } = lane.cloud();
  const found = new Map<string, Listed>();
  for (let next = ""; ; ) {
    const path = `/blacklist?limit=200${next && `&next=${next}`}`;
    const signal = AbortSignal.timeout(10_000);
    const response = await call(path, { token: stack.operatorToken, signal });
    if (!response.ok) throw new Error(`The list answers ${response.status}.`);
    const page = (await response.json()) as { blocks: Listed[]; next: string | null };
    for (const block of page.blocks) found.set(block.cidr, block);
    if (page.next === null) return found;
    next = page.next;
  }
}

/** The addresses of dead letters that have a reason. */
async function deadAddresses({ clients, queues }: Lane): Promise<Set<string>> {
  const { deadLetters } = await listDeadLetters(clients.sqs, queues().dead);
  return new Set(
    deadLetters.flatMap(({ body, reason }) => {
      const cidr = /"cidr":"([^"]+)"/.exec(body)?.[1];
      return cidr && reason ? [cidr] : [];
    }),
  );
}

/** Messages in the main queue; the enforcer's wake-ups have one of their own, and always wait. */
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
