import { choose } from "../../shared/domain/choose.ts";
import { type Cidr, contains, size, WIDEST_PREFIX } from "../../shared/domain/cidr.ts";
import { SPECIAL_RANGES } from "../../shared/domain/neverBlock.ts";
import { CANDIDATES_PER_SLOT } from "../../shared/targets/networkAcl/target.ts";
import { attackers } from "./attackers.ts";
import type { Figure } from "./figure.ts";
import { createRandom } from "./random.ts";
import { median, timeOf } from "./statistics.ts";

const ADDRESSES = 1_000;
const SLOTS = 18;
const CAPS = [0, 16, 64, 256, 1024, 4096];
const ROUNDS = 5;

/** How many of a thousand attackers the slots of one family hold, by how many innocents may suffer. */
export async function compression(): Promise<Figure[]> {
  const wanted = attackers(ADDRESSES, createRandom(3));
  const enforcedBy = (ranges: readonly Cidr[]) =>
    wanted.filter((cidr) => ranges.some((range) => contains(range, cidr))).length;
  // As a converge does, which reads no more of those that wait.
  const candidates = wanted
    .slice(0, SLOTS * CANDIDATES_PER_SLOT)
    .map((cidr) => ({ cidr, leastPrefix: WIDEST_PREFIX[cidr.family] }));
  const floor = { what: "without merging", value: SLOTS };

  const figures: Figure[] = [];
  for (const cap of CAPS) {
    const merging = { spared: SPECIAL_RANGES.map(({ cidr }) => cidr), maxInnocents: cap };
    const fit = () => choose(candidates, { ranges: SLOTS }, merging);
    const ranges = fit();
    const times: number[] = [];
    for (let round = 0; round < ROUNDS; round++) times.push(await timeOf(fit));
    const enforced = enforcedBy(ranges);
    const covered = ranges.reduce((sum, range) => sum + size(range), 0n);
    const innocents = Number(covered) - enforced;
    const name = cap === 0 ? "compressionLossless" : `compression${cap}`;
    const ms = median(times);
    figures.push({
      name,
      what: `of ${ADDRESSES} clustered attackers enforced in ${SLOTS} slots, at most ${cap} innocents (${innocents}); ${ms.toFixed(1)} ms`,
      value: { value: enforced },
      floor,
      ratio: enforced / SLOTS,
      details: { innocents, ranges: ranges.length, ms },
      goal: { text: `≤ ${cap} innocent`, isMet: innocents <= cap && ranges.length <= SLOTS },
    });
  }
  return figures;
}
