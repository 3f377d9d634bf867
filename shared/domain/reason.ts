/** Longer reasons are cut: a talkative detector must not lose its block. */
export const MAX_REASON = 256;

/** How much of a reason is read, before runs of blanks collapse into one. */
const LOOKED_AT = 4 * MAX_REASON;

/** A reason on one line, as the log, the list and the table hold it. */
export function inOneLine(reason: string): string {
  return reason
    .slice(0, LOOKED_AT)
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ")
    .trim()
    .slice(0, MAX_REASON)
    .toWellFormed(); // the cut may leave half a character, which no store takes
}
