import type { Figure } from "./figure.ts";
import type { PathFloor } from "./pathFloor.ts";
import type { Counts } from "./proxyProtocol.ts";
import { percentile } from "./statistics.ts";

/** What was seen of a storm. */
export type Observed = {
  /** From acceptance to the entry in the ACL, one block at a time. */
  readonly quietMs: readonly number[];
  /** When each address was first accepted in the storm, in epoch milliseconds. */
  readonly acceptedAt: ReadonlyMap<string, number>;
  readonly alerts: number;
  readonly alertsPerSecond: number;
  readonly refused: number;
  readonly counts: Counts;
  /** Of each function, in megabytes. */
  readonly memory: readonly {
    readonly name: string;
    readonly sizeMb: number;
    readonly firstMb: number;
    readonly peakMb: number;
  }[];
  /** The addresses that have a block in the table afterwards. */
  readonly written: ReadonlySet<string>;
  readonly deadLetters: number;
  readonly drainMs: number;
};

/** DynamoDB writes for each address and batch: one, and little for what is raced for. */
const WRITES_GOAL = 1.2;

/** How long a block takes: quietly, and in a storm with and without EC2's throttle. */
export function timeFigures(
  observed: Readonly<Record<"free" | "throttled", Observed>>,
  { callsMs, pollMs, parts }: PathFloor,
): Figure[] {
  const figure = (name: string, what: string, times: readonly number[], p: number): Figure => {
    const value = percentile(times, p);
    // A block comes at any moment between two looks at the stream.
    const floor = callsMs + p * pollMs;
    return {
      name: `timeToBlockMs ${name} p${p * 100}`,
      what: `from acceptance to the entry, ${what} (${times.length})`,
      value: { value, unit: "ms" },
      floor: { what: `bare calls, ${p * 100} % of a poll`, value: floor, unit: "ms" },
      ratio: value / floor,
      ...(p === 0.5 && { details: parts }),
    };
  };
  const { free, throttled } = observed;
  return [0.5, 0.95, 0.99].flatMap((p) => [
    figure("quiet", "one at a time", [...free.quietMs, ...throttled.quietMs], p),
    figure("storm", "storm, all that got a slot, EC2 unthrottled", timesToBlock(free), p),
    figure("throttled", "the same, EC2 throttled as by AWS", timesToBlock(throttled), p),
  ]);
}

export function stormFigures(observed: Observed): Figure[] {
  const { acceptedAt, counts, alerts, written } = observed;
  const lost = [...acceptedAt.keys()].filter((cidr) => !written.has(cidr)).length;
  const calls = (name: string) => counts.calls[name] ?? 0;
  const granted = counts.ruleCalls.filter(({ ok }) => ok);
  const blockWrites = counts.writes.block ?? 0;
  const itemWrites = Object.values(counts.writes).reduce((sum, count) => sum + count, 0);
  const addresses = acceptedAt.size;
  const writesPerBatch = blockWrites / counts.addressesRead;
  const changed = changedRules(granted);
  const callsPerChange = granted.length / changed;

  const memoryFigures = observed.memory.map(
    ({ name, sizeMb, firstMb, peakMb }): Figure => ({
      name: `memoryMb ${name}`,
      what: `most memory in use after an invocation, of ${sizeMb} MB; the function's own, without Node.js`,
      value: { value: peakMb, unit: "MB" },
      floor: { what: "after its first invocation", value: firstMb, unit: "MB" },
      ratio: peakMb / firstMb,
    }),
  );
  return [
    ...memoryFigures,
    {
      name: "lost",
      what: `of ${addresses} addresses accepted in ${alerts.toLocaleString("en")} alerts, ${Math.round(observed.alertsPerSecond)} alerts/s`,
      value: { value: lost + observed.deadLetters },
      goal: { text: "0", isMet: lost + observed.deadLetters === 0 },
      details: {
        alertsPerSecond: observed.alertsPerSecond,
        refusedForNow: observed.refused,
        drainMs: observed.drainMs,
        deadLetters: observed.deadLetters,
      },
    },
    {
      name: "writesPerAddressAndBatch",
      what: "block writes ÷ addresses in the worker's batches",
      value: { value: writesPerBatch },
      floor: { what: "addresses in batches", value: counts.addressesRead },
      goal: { text: `≤ ${WRITES_GOAL}`, isMet: writesPerBatch <= WRITES_GOAL },
    },
    {
      name: "writesPerAddress",
      what: "all DynamoDB item writes ÷ distinct addresses",
      value: { value: itemWrites / addresses },
      floor: { what: "distinct addresses", value: addresses },
      details: counts.writes,
    },
    {
      name: "sqsSendsPerAlert",
      what: "SendMessage calls ÷ alerts",
      value: { value: calls("sqs.SendMessage") / alerts },
      floor: { what: "addresses ÷ alerts", value: addresses / alerts },
      ratio: calls("sqs.SendMessage") / addresses,
    },
    {
      name: "describesPerStorm",
      what: "DescribeNetworkAcls calls, one for each converge",
      value: { value: calls("ec2.DescribeNetworkAcls") },
    },
    {
      name: "ec2CallsPerChange storm",
      what: `EC2 calls that changed a rule ÷ changes (${counts.ruleCalls.length - granted.length} more were throttled)`,
      value: { value: callsPerChange },
      floor: { what: "changes", value: changed },
      goal: { text: "= 1.0", isMet: granted.length === changed },
      details: { granted: granted.length, refused: counts.ruleCalls.length - granted.length },
    },
  ];
}

/** From its first acceptance to its entry, for each address of the storm that got one. */
function timesToBlock({ acceptedAt, counts }: Observed): number[] {
  const enforcedAt = new Map<string, number>();
  for (const { cidr, ok, at } of counts.ruleCalls) {
    if (ok && cidr !== undefined && !enforcedAt.has(cidr)) enforcedAt.set(cidr, at);
  }
  return [...enforcedAt].flatMap(([cidr, at]) => {
    const begin = acceptedAt.get(cidr);
    return begin === undefined ? [] : [at - begin];
  });
}

/** The calls after which a rule was another than before. */
function changedRules(granted: Counts["ruleCalls"]): number {
  const rules = new Map<number, string | undefined>();
  return granted.filter(({ ruleNumber, cidr }) => {
    const isChange = !rules.has(ruleNumber) || rules.get(ruleNumber) !== cidr;
    rules.set(ruleNumber, cidr);
    return isChange;
  }).length;
}
