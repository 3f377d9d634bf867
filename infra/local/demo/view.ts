import Table from "cli-table3";
import pc from "picocolors";
import { DEFAULT_RULE } from "./detector.ts";
import type { Block } from "./ledger.ts";
import { failureIn, parseLine } from "./sshd.ts";

/** `2.1 s` */
export const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

const milliseconds = (ms: number): string => `${Math.round(ms)} ms`;

/** From the first report until the expiry, in whole seconds as the endpoint counts. */
const durationOf = ({ beganAt = 0, expiresAt = 0 }: Block): string =>
  `${(expiresAt - beganAt) / 1000} s`;

/** Of the longest address in the log. */
const ADDRESS_WIDTH = 21;

const nameOf = ({ address, strike }: Block): string => (strike > 1 ? `${address} again` : address);

/** The blocks as they stand. */
export function liveTable(blocks: readonly Block[], now: number): string {
  return table(
    ["Detected", "Address", ">Fails", ">Rule", ">Blocked in", "Now"],
    blocks.map((block) => [
      block.clock,
      nameOf(block).padEnd(ADDRESS_WIDTH),
      block.failures,
      block.ruleNumber,
      block.blockedAt && milliseconds(block.blockedAt - block.detectedAt),
      stateOf(block, now),
    ]),
  );
}

function stateOf(block: Block, now: number): string {
  const { ignored, failed, blockedAt, expiresAt = 0, unblockedAt } = block;
  if (failed !== undefined) return pc.red("not reported");
  if (ignored !== undefined) return pc.dim(`ignored: ${ignored}`);
  if (blockedAt === undefined) return pc.yellow("detected");
  if (unblockedAt) return pc.green(`unblocked ${seconds(unblockedAt - expiresAt)} later`);
  if (now < expiresAt) return pc.red(`blocked, ${seconds(expiresAt - now)} to go`);
  return pc.yellow(`expired for ${seconds(now - expiresAt)}`);
}

/** What has just become of a block, in one line. */
export function eventLine(block: Block): string {
  const { ruleNumber, failures, detectedAt, ignored, unblockedAt } = block;
  const { blockedAt = 0, expiresAt = 0 } = block;
  const address = nameOf(block).padEnd(ADDRESS_WIDTH);
  if (ignored !== undefined) return `${address}  ignored: ${ignored}`;
  return unblockedAt === undefined
    ? `${address}  blocked by rule ${ruleNumber}, ${milliseconds(blockedAt - detectedAt)} after ${failures} failures`
    : `${address}  unblocked ${seconds(unblockedAt - expiresAt)} after its ${durationOf(block)} were over`;
}

/** All blocks when everything is over, and what became of everybody else in the log. */
export function summary(blocks: readonly Block[], lines: readonly string[]): string {
  const never = pc.red("never");
  const reported = blocks.filter(({ ignored }) => ignored === undefined);
  const delays = reported.flatMap(({ blockedAt, detectedAt }) =>
    blockedAt === undefined ? [] : [blockedAt - detectedAt],
  );
  const ignored = blocks.filter((block) => block.ignored !== undefined);
  const below = [...failuresIn(lines)].filter(
    ([address]) => !blocks.some((block) => block.address === address),
  );
  return [
    table(
      ["Address", "Detected", ">Reports", ">Blocked in", ">Rule", ">Lasted", ">Unblocked"],
      reported.map((block) => {
        const { clock, reports, detectedAt, blockedAt, ruleNumber, expiresAt, unblockedAt } = block;
        return [
          nameOf(block).padEnd(ADDRESS_WIDTH),
          clock,
          reports,
          blockedAt ? milliseconds(blockedAt - detectedAt) : never,
          ruleNumber,
          expiresAt && durationOf(block),
          unblockedAt && expiresAt ? `${seconds(unblockedAt - expiresAt)} later` : never,
        ];
      }),
    ),
    "",
    pc.bold("From detection to block"),
    `  median ${milliseconds(median(delays))}, at most ${milliseconds(Math.max(0, ...delays))}`,
    pc.bold("On the never-block list"),
    ...ignored.map((block) => `  ${block.address.padEnd(ADDRESS_WIDTH)} ${block.ignored}`),
    pc.bold(`Never ${DEFAULT_RULE.threshold} failures within ${DEFAULT_RULE.windowSeconds} s`),
    ...below.map(([address, failures]) => `  ${address.padEnd(ADDRESS_WIDTH)} ${failures} in all`),
  ].join("\n");
}

/** How often each address failed in the whole log. */
function failuresIn(lines: readonly string[]): Map<string, number> {
  const failures = new Map<string, number>();
  for (const line of lines) {
    const { address, times } = failureIn(parseLine(line)?.message ?? "") ?? {};
    if (address && times) failures.set(address, (failures.get(address) ?? 0) + times);
  }
  return failures;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const [low = 0, high = low] = sorted.slice(Math.ceil(sorted.length / 2) - 1);
  return sorted.length % 2 === 0 ? (low + high) / 2 : low;
}

const BORDERS = [
  ...["top", "top-mid", "top-left", "top-right", "bottom", "bottom-mid", "bottom-left"],
  ...["bottom-right", "left", "left-mid", "mid", "mid-mid", "right", "right-mid"],
];

/** A table without borders. A column whose title begins with `>` is aligned to the right. */
function table(
  titles: readonly string[],
  rows: readonly (string | number | undefined)[][],
): string {
  const drawn = new Table({
    head: titles.map((title) => pc.bold(title.replace(">", ""))),
    colAligns: titles.map((title) => (title.startsWith(">") ? "right" : "left")),
    chars: { ...Object.fromEntries(BORDERS.map((border) => [border, ""])), middle: "  " },
    style: { head: [], border: [], "padding-left": 0, "padding-right": 0 },
  });
  drawn.push(...rows);
  return drawn.toString();
}
