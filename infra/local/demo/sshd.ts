import { isIP } from "node:net";

/** A line that sshd wrote through syslog. */
export type SshdLine = {
  /** Seconds since the beginning of the year, which syslog does not name. */
  readonly at: number;
  /** `04:12:07` */
  readonly clock: string;
  readonly message: string;
};

/** The failed logins that a line reports. */
export type Failure = { readonly address: string; readonly times: number };

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const LINE =
  /^([A-Z][a-z]{2}) ([ 1-3]\d) (([01]\d|2[0-3]):([0-5]\d):([0-5]\d)) \S+ sshd(?:-session)?\[\d+\]: (.*)$/;

/** A leap year, so that there is no date that it lacks. */
const SOME_YEAR = 2000;
const YEAR_SECONDS = 366 * 86_400;

/** Reads a line of a syslog file; `undefined` when it is not sshd's. */
export function parseLine(line: string): SshdLine | undefined {
  const [, monthName = "", day, clock = "", hours, minutes, seconds, message = ""] =
    LINE.exec(line) ?? [];
  const month = MONTHS.indexOf(monthName);
  if (month < 0) return undefined;
  const ms = Date.UTC(
    SOME_YEAR,
    month,
    Number(day),
    Number(hours),
    Number(minutes),
    Number(seconds),
  );
  return { at: (ms - Date.UTC(SOME_YEAR)) / 1000, clock, message };
}

/** How many seconds lie between two lines, whichever came first; New Year's Eve may lie there too. */
export function secondsBetween(one: number, other: number): number {
  const seconds = Math.abs(one - other);
  return Math.min(seconds, YEAR_SECONDS - seconds);
}

/**
 * A refused password is one line, whatever else sshd and PAM say about it. A refused key is none:
 * clients offer all that they have.
 *
 * The caller chooses the user name and may make it look like the end of the line, so the name is
 * whatever stands before the last `from`, and the line must end where sshd ends it.
 */
const FAILED =
  /^Failed (?:password|keyboard-interactive\/pam) for .* from (\S+) port \d{1,5} ssh2$/;

/** How rsyslog folds a line that comes again and again. */
const REPEATED = /^message repeated (\d{1,6}) times: \[ (.*)\]$/;

/** The failed logins that an sshd message reports. */
export function failureIn(message: string): Failure | undefined {
  const [, times = "1", repeated = message] = REPEATED.exec(message) ?? [];
  const address = FAILED.exec(repeated)?.[1] ?? "";
  // A link-local address with its zone (fe80::1%eth0) is nobody's on the internet.
  if (isIP(address) === 0 || address.includes("%")) return undefined;
  return { address, times: Number(times) };
}
