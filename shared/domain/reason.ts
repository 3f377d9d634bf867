/** Longer reasons are cut: a talkative detector must not lose its block. */
export const MAX_REASON = 256;

/** What is looked at of a reason, before runs of blanks become one. */
const LOOKED_AT = 4 * MAX_REASON;

/** A reason in one line, as log, list and table hold it. */
export function inOneLine(reason: string): string {
  return reason
    .slice(0, LOOKED_AT)
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ")
    .trim()
    .slice(0, MAX_REASON)
    .toWellFormed(); // the cut may leave half a character, which no store takes
}
