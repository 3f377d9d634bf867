import type { Reported } from "../../shared/aws/table/pulls.ts";
import type { Cidr } from "../../shared/domain/cidr.ts";
import type { EpochMillis, EpochSeconds, Seconds } from "../../shared/domain/time.ts";

// plan: what follows from CrowdSec's answer and from what was reported before.
//
//   the address was              and CrowdSec                      → is
//   ──────────────────────────────────────────────────────────────────────────────────
//   –                            decides something new              reported
//   not reported                 wants it, among all it wants       reported
//   reported, perhaps in vain    still wants it                     reported again
//   reported                     wants it for longer                reported
//   reported                     wants it for less                  withdrawn, and reported
//   reported for less, as its    still wants it when that is
//   caller may no longer         about to end                       reported
//   reported                     wants it by nobody we listen to    left alone
//   reported                     wants it no longer                 withdrawn
//   reported                     has seen its time run out          left alone
//
// CrowdSec reports per address, not per decision: of several decisions it names the one that lasts longest,
// and it names an address as deleted once none is left. If a shorter one is left, it says nothing until it
// is asked for all that it wants.

/** A ban, with its address parsed. */
export type Wanted = {
  readonly cidr: Cidr;
  readonly until: EpochSeconds;
  readonly reason: string;
  /** Whether it comes from an origin that we listen to. */
  readonly isHeeded: boolean;
};

/** An answer from CrowdSec, with its addresses parsed. */
export type Answer = {
  /** True for all that it wants; otherwise it is what has changed since the last request. */
  readonly isWhole: boolean;
  readonly wanted: readonly Wanted[];
  readonly ended: readonly Cidr[];
};

export type Plan = {
  /** To be sent before any report. */
  readonly withdrawals: readonly Cidr[];
  /** What an unfinished pull reported: it may never have been queued. */
  readonly again: readonly Wanted[];
  readonly reports: readonly Wanted[];
};

/** Clocks differ, and answers take a while: ends closer together than this count as the same. */
const SAME: Seconds = 10;

/** A block wanted for longer than the caller may report is reported anew this long before it ends. */
const RENEWAL: Seconds = 2 * 3_600;

/** @param unfinishedSince when the first of the latest unfinished pulls began */
export function planOf(
  { isWhole, wanted, ended }: Answer,
  reported: ReadonlyMap<string, Reported>,
  unfinishedSince: EpochMillis | undefined,
  now: EpochMillis,
): Plan {
  const heeded = longest(wanted.filter(({ isHeeded }) => isHeeded));
  const named = new Set(wanted.map(({ cidr }) => cidr.text));
  const isOver = ({ until }: Reported) => until - SAME <= now / 1000;
  const isShorter = (known: Reported) => {
    const until = heeded.get(known.cidr.text)?.until;
    return until !== undefined && until + SAME < known.until;
  };
  const isEnded = isWhole
    ? ({ cidr }: Reported) => !named.has(cidr.text)
    : isIn(new Set(ended.map(({ text }) => text)));

  const withdrawals = [...reported.values()].filter((known) => {
    // A ban that ran out has run out in the list as well, unless its block lasts longer, which it may.
    if (isOver(known)) return false;
    const isLess = isWhole || isEnded(known) ? isShorter(known) : false;
    return isLess || (isEnded(known) && !heeded.has(known.cidr.text));
  });
  const withdrawn = new Set(withdrawals.map(({ cidr }) => cidr.text));
  const isUnsure = ({ reportedAt }: Reported) =>
    unfinishedSince !== undefined && reportedAt >= unfinishedSince;
  const again = [...reported.values()]
    .filter((known) => isUnsure(known) && named.has(known.cidr.text))
    .map(
      ({ cidr, until }) =>
        heeded.get(cidr.text) ?? { cidr, until, reason: "CrowdSec", isHeeded: false },
    );
  const unsure = new Set(again.map(({ cidr }) => cidr.text));
  const isNews = ({ cidr, until }: Wanted) => {
    const known = reported.get(cidr.text);
    if (!known || !isWhole || withdrawn.has(cidr.text)) return true;
    if (known.until + SAME < until) return true;
    return known.expiresAt + SAME < until && known.expiresAt - RENEWAL < now / 1000;
  };
  const reports = [...heeded.values()]
    .filter((one) => !unsure.has(one.cidr.text) && isNews(one))
    .map((one) => {
      const known = withdrawn.has(one.cidr.text) ? undefined : reported.get(one.cidr.text);
      return { ...one, until: Math.max(one.until, known?.until ?? 0) };
    });
  return { withdrawals: withdrawals.map(({ cidr }) => cidr), again, reports };
}

const isIn =
  (texts: ReadonlySet<string>) =>
  ({ cidr }: Reported) =>
    texts.has(cidr.text);

/** The longest ban of each address. */
function longest(wanted: readonly Wanted[]): ReadonlyMap<string, Wanted> {
  const bans = new Map<string, Wanted>();
  for (const one of wanted) {
    const other = bans.get(one.cidr.text);
    if (!other || other.until < one.until) bans.set(one.cidr.text, one);
  }
  return bans;
}
