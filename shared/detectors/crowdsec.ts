import * as v from "valibot";
import type { Seconds } from "../domain/time.ts";
import {
  type Finding,
  type Misunderstanding,
  NotUnderstoodError,
  ofEach,
  understand,
} from "./detector.ts";
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

/** A duration as Go writes it (`4h`, `23h59m57.2s`, `-775.358383ms`), in seconds; negative if it is over. */
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

/** CrowdSec's decisions: only bans of addresses and ranges, no captchas and no countries or networks. */
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
  // Both are always there: without them it is some other server's answer, not an empty list.
  new: v.nullable(v.array(v.unknown())),
  deleted: v.nullable(v.array(v.unknown())),
});

const streamed = v.object({ ...banning.entries, origin: v.string() });

/** A ban in the stream. */
export type StreamedBan = {
  /** As CrowdSec wrote it. */
  readonly ip: unknown;
  /** How much longer it lasts; more than 0. */
  readonly seconds: Seconds;
  /** Who decided it: `crowdsec`, `cscli`, `lists`, `CAPI` … */
  readonly origin: string;
  readonly reason: string;
};

/** The content of one answer of `/v1/decisions/stream`. */
export type Streamed = {
  readonly bans: readonly StreamedBan[];
  /** Addresses whose last ban has ended or was deleted, as CrowdSec wrote them. */
  readonly ended: readonly unknown[];
  /** Why decisions were skipped, one sentence each. */
  readonly notUnderstood: readonly string[];
};

/**
 * Parses an answer of `/v1/decisions/stream`. One bad decision does not cost the others.
 *
 * @throws NotUnderstoodError if it is no such answer
 */
export function streamedDecisions(document: unknown): Streamed {
  const { new: added, deleted } = understand(answer, document);
  const notUnderstood: string[] = [];
  const bansOf = <T>(
    decisions: readonly unknown[] | null,
    path: string,
    read: (one: unknown, ip: unknown, place: string) => readonly T[],
  ) =>
    (decisions ?? []).flatMap((one, index) => {
      const place = `${path}.${index}`;
      try {
        const { value: ip, ...about } = understand(decision, one, place);
        return isBan(about) ? read(one, ip, place) : [];
      } catch (error) {
        if (!(error instanceof NotUnderstoodError)) throw error;
        notUnderstood.push(error.message);
        return [];
      }
    });
  return {
    bans: bansOf(added, "new", (one, ip, place) => {
      const { duration, scenario, origin } = understand(streamed, one, place);
      if (duration <= 0) return [];
      const seconds = atLeastASecond(duration);
      return [{ ip, seconds, origin, reason: `CrowdSec ${scenario}` }];
    }),
    ended: bansOf(deleted, "deleted", (_, ip) => [ip]),
    notUnderstood,
  };
}

function isBan({ scope, type, simulated }: Omit<v.InferOutput<typeof decision>, "value">): boolean {
  return (
    ["ip", "range"].includes(scope.toLowerCase()) &&
    type.toLowerCase() === "ban" &&
    simulated !== true
  );
}
