import * as v from "valibot";
import type { Seconds } from "../domain/time.ts";
import { type Finding, type Misunderstanding, ofEach, understand } from "./detector.ts";
import { atLeastASecond } from "./values.ts";

const UNITS: Readonly<Record<string, Seconds>> = {
  h: 3_600,
  m: 60,
  s: 1,
  ms: 1e-3,
  us: 1e-6,
  µs: 1e-6,
  μs: 1e-6,
  ns: 1e-9,
};

const PART = /(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|µs|μs|ns)/g;
const WHOLE = new RegExp(`^[+-]?(?:0|(?:${PART.source})+)$`);

/** A duration as Go writes it (`4h`, `23h59m57.2s`, `-775.358383ms`), in seconds; below 0 it is over. */
export const goDuration = v.pipe(
  v.string(),
  v.check((text) => text.length <= 64 && WHOLE.test(text), "a duration such as 4h or 59m57.2s"),
  v.transform((text): Seconds => {
    const parts = [...text.matchAll(PART)];
    const seconds = parts.reduce(
      (sum, [, count, unit = ""]) => sum + Number(count) * (UNITS[unit] ?? 0),
      0,
    );
    return text.startsWith("-") ? -seconds : seconds;
  }),
);

const decision = v.object({
  value: v.unknown(),
  scope: v.string(),
  type: v.string(),
  simulated: v.optional(v.unknown()),
});

const banning = v.object({ duration: goDuration, scenario: v.optional(v.string(), "") });

/** What CrowdSec has decided: bans of addresses and ranges, no captchas, nothing of countries or networks. */
export function decisionFindings(
  decisions: readonly unknown[],
  path: string,
): readonly (Finding | Misunderstanding)[] {
  return ofEach(decisions, path, v.looseObject({}), (one, place) => {
    const { value: ip, ...about } = understand(decision, one, place);
    if (!isBan(about)) return [];
    const { duration, scenario } = understand(banning, one, place);
    if (duration <= 0) return [];
    return [{ ip, seconds: atLeastASecond(duration), reason: `CrowdSec ${scenario}` }];
  });
}

const answer = v.object({
  new: v.nullish(v.array(v.unknown())),
  deleted: v.nullish(v.array(v.unknown())),
});

/**
 * The answer of `/v1/decisions/stream`: what is new, and what has been deleted, which comes first so that a
 * decision in place of a deleted one stands.
 *
 * @throws NotUnderstoodError
 */
export function streamFindings(document: unknown): readonly (Finding | Misunderstanding)[] {
  const { new: added, deleted } = understand(answer, document);
  const withdrawals = ofEach(deleted ?? [], "deleted", decision, ({ value, ...about }) =>
    isBan(about) ? [{ ip: value, withdraws: true }] : [],
  );
  return [...withdrawals, ...decisionFindings(added ?? [], "new")];
}

function isBan({ scope, type, simulated }: Omit<v.InferOutput<typeof decision>, "value">): boolean {
  return (
    ["ip", "range"].includes(scope.toLowerCase()) &&
    type.toLowerCase() === "ban" &&
    simulated !== true
  );
}
