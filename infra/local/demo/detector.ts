import { failureIn, parseLine, secondsBetween } from "./sshd.ts";

/** An address that attacks. */
export type Detection = {
  readonly address: string;
  /** `04:12:07`, by the log. */
  readonly clock: string;
  /** How often it has failed since this attack began. */
  readonly failures: number;
  /** 1 (weak) to 10. */
  readonly severity: number;
};

/** What counts as an attack. */
export type Rule = {
  readonly threshold: number;
  readonly windowSeconds: number;
  /** An address that keeps attacking is reported again, but not sooner than this. */
  readonly realertSeconds: number;
  /** Beyond this many, the addresses that have been quiet for longest are forgotten. */
  readonly maxAddresses: number;
};

export const DEFAULT_RULE: Rule = {
  threshold: 5,
  windowSeconds: 60,
  realertSeconds: 30,
  maxAddresses: 10_000,
};

/** What is remembered of an address; its size is bounded. */
type Attack = {
  /** When it failed: the last times, at most as many as the threshold. */
  readonly recent: readonly number[];
  readonly failures: number;
  readonly reportedAt: number | undefined;
};

/** Of an attack that just meets the threshold; each doubling is one more. */
const BASE_SEVERITY = 5;
const MAX_SEVERITY = 10;

/**
 * A detector in the manner of ElastAlert's rule type `frequency`: an address attacks that fails to
 * log in `threshold` times in less than `windowSeconds`. Time is the log's, so that a replay finds
 * the same at any speed.
 *
 * @example
 * const detect = createDetector();
 * for (const line of lines) {
 *   const detection = detect(line);
 *   if (detection) await block(detection.address);
 * }
 */
export function createDetector(rule: Partial<Rule> = {}): (line: string) => Detection | undefined {
  const { threshold, windowSeconds, realertSeconds, maxAddresses } = { ...DEFAULT_RULE, ...rule };
  /** In the order of their last failures. */
  const attacks = new Map<string, Attack>();

  return (line) => {
    const parsed = parseLine(line);
    const failure = parsed && failureIn(parsed.message);
    if (!failure) return undefined;
    const { at, clock } = parsed;
    const { address, times } = failure;
    const isWithin = (seconds: number, then: number | undefined) =>
      then !== undefined && secondsBetween(then, at) < seconds;

    for (const [quiet, { recent }] of attacks) {
      if (isWithin(windowSeconds, recent.at(-1))) break;
      attacks.delete(quiet);
    }
    const before = attacks.get(address) ?? { recent: [], failures: 0, reportedAt: undefined };
    const now = Array<number>(Math.min(times, threshold)).fill(at);
    const recent = [...before.recent, ...now].slice(-threshold);
    const failures = before.failures + times;

    const isAttack = recent.length === threshold && isWithin(windowSeconds, recent[0]);
    const isNews = isAttack && !isWithin(realertSeconds, before.reportedAt);
    attacks.delete(address);
    attacks.set(address, { recent, failures, reportedAt: isNews ? at : before.reportedAt });
    for (const quietest of attacks.keys()) {
      if (attacks.size <= maxAddresses) break;
      attacks.delete(quietest);
    }
    if (!isNews) return undefined;
    return { address, clock, failures, severity: severityOf(failures / threshold) };
  };
}

function severityOf(excess: number): number {
  return Math.min(MAX_SEVERITY, BASE_SEVERITY + Math.floor(Math.log2(excess)));
}
