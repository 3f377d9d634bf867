import type { Wanted } from "../../../../shared/domain/rank.ts";
import {
  familyOf,
  plan,
  type SetChange,
  type ShownSets,
  settle,
} from "../../../../shared/targets/wafIpSet/plan.ts";
import type { WafRecord } from "../../../../shared/targets/wafIpSet/record.ts";
import { cidrOf } from "../../../support/ranges.ts";
import { NOW } from "../../../support/reports.ts";

export type Input = Parameters<typeof plan>[0];

/** A pair of sets that holds these. */
export const setsOf = (texts: Iterable<string>): ShownSets => {
  const cidrs = Array.from(texts, cidrOf);
  return {
    4: cidrs.filter(({ family }) => family === 4),
    6: cidrs.filter(({ family }) => family === 6),
  };
};

export const textsIn = (sets: ShownSets): string[] =>
  [...sets[4], ...sets[6]].map(({ text }) => text);

/** What is ours, all of it confirmed but what comes second. */
export const recordOf = (
  confirmed: readonly string[],
  unconfirmed: readonly string[] = [],
): WafRecord => ({
  ours: new Set([...confirmed, ...unconfirmed]),
  confirmed: new Set(confirmed),
});

/** Wanted for another minute, strongest first. */
export const wantedOf = (texts: readonly string[]): Wanted[] =>
  texts.map((text) => ({
    cidr: cidrOf(text),
    byOperator: false,
    leastPrefix: 16,
    severity: 5,
    score: NOW,
    expiresAt: NOW / 1000 + 60,
  }));

/** The sets once WAF has taken the replacements. */
export const replaced = (sets: ShownSets, changes: readonly SetChange[]): ShownSets => {
  const { 4: four, 6: six } = sets;
  return setsOf([
    ...(changes.find(({ family }) => family === 4)?.addresses ?? four.map(({ text }) => text)),
    ...(changes.find(({ family }) => family === 6)?.addresses ?? six.map(({ text }) => text)),
  ]);
};

/** What became of the replacement of a set: in the last two cases nobody answered. */
export type Fate = "done" | "not done" | "lost, done" | "lost, not done";

/** Plans, applies as fate has it, and settles. */
export function converge(input: Input, fate: Readonly<Record<4 | 6, Fate>>) {
  const planned = plan(input);
  const having = (...fates: Fate[]) =>
    planned.changes.filter(({ family }) => fates.includes(fate[family]));
  const applied = {
    done: having("done"),
    notDone: having("not done"),
    quotasMet: new Set<string>(),
  };
  return {
    planned,
    sets: replaced(input.actual, having("done", "lost, done")),
    record: settle(planned.record, input.record, applied),
  };
}

export const allDone = { 4: "done", 6: "done" } as const;

/** A set may hold addresses of its own family only. */
export const isOfItsFamily = ({ family, addresses }: SetChange) =>
  addresses.every((text) => familyOf(text) === family);
